"""What an actor keeps its mail in, sized for a hundred thousand actors that have none."""

from collections import deque
from typing import Generic, TypeVar

E = TypeVar("E")


class InboxFull(Exception):
    """The actor has as much mail waiting as it may have; raised to whoever wanted to send more."""


class AsyncInbox(Generic[E]):
    """Envelopes in the order of arrival; without mail it holds no queue."""

    __slots__ = ("_envelopes", "_size_max")

    def __init__(self, size_max: int) -> None:
        self._size_max = size_max
        self._envelopes: deque[E] | None = None

    def put(self, envelope: E, /, *, is_urgent: bool = False) -> None:
        """Append an envelope; an urgent one is never refused, and waits its turn like the others.

        Raises:
            InboxFull: there is no room.
        """
        if self._envelopes is None:
            self._envelopes = deque((envelope,))
        elif is_urgent or len(self._envelopes) < self._size_max:
            self._envelopes.append(envelope)
        else:
            raise InboxFull(f"{self._size_max} messages wait")

    def get(self) -> E:
        """Take the oldest envelope of an inbox that is not empty."""
        assert self._envelopes is not None
        envelope = self._envelopes.popleft()
        if not self._envelopes:
            # An empty deque still takes 600 bytes.
            self._envelopes = None
        return envelope

    def empty(self) -> bool:
        return self._envelopes is None

    def __len__(self) -> int:
        return 0 if self._envelopes is None else len(self._envelopes)


class StopFlag:
    """Answers like `threading.Event`, of which pykka takes one per actor, without its lock and queue of waiters."""

    __slots__ = ("_is_set",)

    def __init__(self) -> None:
        self._is_set = False

    def set(self) -> None:
        self._is_set = True

    def is_set(self) -> bool:
        return self._is_set
