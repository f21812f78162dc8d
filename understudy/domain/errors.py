"""The exceptions that callers handle, named after what the caller should do.

UnderstudyError
├── Malformed        the request cannot be read: 400
├── NotFound         nothing has this name or id: 404
├── Conflict         the state does not allow it: 409
├── Stale            somebody else was quicker, read again: 412
├── TooLarge         over a limit: 413
├── Invalid          it breaks the contract, with a fault per place: 422
├── KeyReused        the idempotency key was used for something else: 422
├── Unreachable      a server does not answer: 503, try again later
└── Stopped          this node stops: leave everything as it is
"""

from collections.abc import Sequence

from understudy.domain.fault import Fault


class UnderstudyError(Exception):
    """The root of all errors that callers handle."""


class Malformed(UnderstudyError):
    """The request cannot be read."""


class NotFound(UnderstudyError):
    """Nothing has this name or id."""


class Conflict(UnderstudyError):
    """The state does not allow it."""


class Stale(UnderstudyError):
    """The version that the caller knows is not the current one."""


class TooLarge(UnderstudyError):
    """Something is over a limit."""


class Invalid(UnderstudyError):
    """The request breaks the contract; `faults` name each place."""

    def __init__(self, message: str, faults: Sequence[Fault] = ()) -> None:
        super().__init__(message)
        self.faults = tuple(faults)


class KeyReused(UnderstudyError):
    """The idempotency key was used before for another request."""


class Unreachable(UnderstudyError):
    """A server that is needed does not answer now."""


class Stopped(UnderstudyError):
    """This node stops or has stopped: whether a change was applied is for the next owner to see."""
