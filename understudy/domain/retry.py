"""When an attempt is tried again, and how long after: arithmetic only, the draw for the jitter comes from outside."""

import re
from collections.abc import Iterable
from datetime import timedelta

from msgspec import Struct

RETRY_AFTER_MAX = timedelta(days=1)
"""No server may put an activity off for longer than this."""

_BY_DEFAULT = re.compile(r"http\.(?:connect|timeout|unknown|status\.(?:408|425|429|5\d\d))", re.ASCII)
# They end the activity; nothing could be tried again.
_FINAL = frozenset({"cancelled", "deadline"})


class RetryPolicy(Struct, frozen=True):
    """How often and how fast an activity is tried again; `on` and `never` are globs of error types."""

    max_attempts: int = 3
    initial: timedelta = timedelta(seconds=1)
    factor: float = 2.0
    maximum: timedelta = timedelta(seconds=60)
    jitter: bool = True
    on: tuple[str, ...] = ()
    never: tuple[str, ...] = ()


def matches(globs: Iterable[str], error_type: str) -> bool:
    """Whether one of the globs covers an error type; `*` stands for any text, dots included."""
    return any(_covers(glob, error_type) for glob in globs)


def is_retryable(policy: RetryPolicy, error_type: str) -> bool:
    """Whether an error of this type may be tried again, however many attempts are left; `never` wins over `on`."""
    if error_type in _FINAL or matches(policy.never, error_type):
        return False
    return matches(policy.on, error_type) or _BY_DEFAULT.fullmatch(error_type) is not None


def backoff(policy: RetryPolicy, attempt: int, fraction: float, retry_after: timedelta | None) -> timedelta:
    """How long to wait after attempt number `attempt` (from 1) failed.

    `fraction` in [0, 1) is the draw for full jitter. What the server asked for in `retry_after` wins, up to
    `RETRY_AFTER_MAX`.
    """
    if retry_after is not None:
        return min(max(retry_after, timedelta()), RETRY_AFTER_MAX)
    initial, maximum = policy.initial.total_seconds(), policy.maximum.total_seconds()
    try:
        seconds = min(initial * policy.factor ** (attempt - 1), maximum)
    except OverflowError:
        seconds = maximum if initial else 0.0
    return timedelta(seconds=seconds * fraction if policy.jitter else seconds)


def _covers(glob: str, text: str) -> bool:
    """Match piece by piece from the left: linear, where a regular expression would try every split."""
    first, *pieces = glob.split("*")
    if not pieces:
        return text == first
    last = pieces.pop()
    if not text.startswith(first) or len(text) < len(first) + len(last) or not text.endswith(last):
        return False
    position, end = len(first), len(text) - len(last)
    for piece in pieces:
        found = text.find(piece, position, end)
        if found < 0:
            return False
        position = found + len(piece)
    return True
