"""What is remembered beside PostgreSQL to spare it work, as small protocols.

It is never truth: whatever cannot be remembered or recalled is a miss, and the answers are the same without it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from msgspec import Struct

from understudy.domain.stores import Retained
from understudy.domain.views import ProcessView

VIEW_TTL_SECONDS = 3.0
"""How long a copy of a process, or a version that was told, is held."""


class Views(Protocol):
    """Copies of processes, a few seconds old at most; a version that was told is a floor under what is found."""

    async def find(self, process_id: UUID) -> ProcessView | None:
        """The copy of a process."""
        ...

    async def keep(self, view: ProcessView) -> None:
        """Take a copy, unless a newer one is there or a newer version was told."""
        ...

    async def outdate(self, versions: Mapping[UUID, int]) -> bool:
        """Forget copies that are older than these versions; false when that may not have happened."""
        ...


class Answers(Protocol):
    """Copies of calls that were answered under an idempotency key."""

    async def recall(self, scope: str, key: str) -> Retained | None:
        """The call that was answered under this key."""
        ...

    async def remember(self, scope: str, key: str, call: Retained) -> None:
        """Take a copy of an answered call, which is durable."""
        ...


class Cache(Views, Answers, Protocol):
    """What a gateway remembers."""


class TargetCount(Struct, frozen=True):
    """The HTTP requests to one host: `attempts` in all, `retries` among them, and `failures`.

    `last_error` is the type of the latest failure, `last_at` when the latest attempt began.
    """

    host: str
    attempts: int
    retries: int
    failures: int
    last_error: str | None
    last_at: datetime


class Targets(Protocol):
    """Counters of requests by host, added up over all nodes: statistics, which a crash may cut short."""

    async def add(self, counts: Sequence[TargetCount]) -> None:
        """Add to the counters."""
        ...

    async def latest(self) -> list[TargetCount]:
        """The counters of the hosts that were called last, latest first; raises Unreachable."""
        ...


class NoCache:
    """Remembers nothing: the cache that is off."""

    async def find(self, process_id: UUID) -> ProcessView | None:  # noqa: ARG002 - the port's name
        return None

    async def keep(self, view: ProcessView) -> None:
        """Forget it."""

    async def outdate(self, versions: Mapping[UUID, int]) -> bool:  # noqa: ARG002 - the port's name
        return True

    async def recall(self, scope: str, key: str) -> Retained | None:  # noqa: ARG002 - the port's names
        return None

    async def remember(self, scope: str, key: str, call: Retained) -> None:
        """Forget it."""

    async def add(self, counts: Sequence[TargetCount]) -> None:
        """Forget them."""

    async def latest(self) -> list[TargetCount]:
        return []

    async def stop(self) -> None:
        """There is nothing to drop."""


NO_CACHE = NoCache()
