"""The cache in memory, with the promises of the one on Redis."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from tests.fakes.clock import ManualClock
from tests.fakes.faults import Faults
from understudy.domain.cache import VIEW_TTL_SECONDS, TargetCount
from understudy.domain.errors import Unreachable
from understudy.domain.stores import Retained
from understudy.domain.views import ProcessView


class FakeCache:
    """Shared by all who are given it; `cache` that raises Unreachable is a miss, and nothing is written."""

    def __init__(self, clock: ManualClock, faults: Faults | None = None) -> None:
        self.views: dict[UUID, tuple[int, ProcessView | None, float]] = {}
        self.answers: dict[tuple[str, str], Retained] = {}
        self.counts: dict[str, TargetCount] = {}
        self.faults = faults or Faults()
        self._clock = clock

    async def find(self, process_id: UUID) -> ProcessView | None:
        return None if await self._is_down() else self._held(process_id)[1]

    async def keep(self, view: ProcessView) -> None:
        if not await self._is_down():
            self._set(view.process_id, view.version, view)

    async def outdate(self, versions: Mapping[UUID, int]) -> bool:
        if await self._is_down():
            return False
        for process_id, version in versions.items():
            self._set(process_id, version, None)
        return True

    async def recall(self, scope: str, key: str) -> Retained | None:
        return None if await self._is_down() else self.answers.get((scope, key))

    async def remember(self, scope: str, key: str, call: Retained) -> None:
        if not await self._is_down():
            self.answers[scope, key] = call

    async def add(self, counts: Sequence[TargetCount]) -> None:
        if not await self._is_down():
            for count in counts:
                held = self.counts.pop(count.host, TargetCount(count.host, 0, 0, 0, None, count.last_at))
                self.counts[count.host] = TargetCount(
                    count.host,
                    held.attempts + count.attempts,
                    held.retries + count.retries,
                    held.failures + count.failures,
                    count.last_error or held.last_error,
                    count.last_at,
                )

    async def latest(self) -> list[TargetCount]:
        if await self._is_down():
            raise Unreachable("Redis does not answer")
        return sorted(self.counts.values(), key=lambda count: count.last_at, reverse=True)

    def _set(self, process_id: UUID, version: int, view: ProcessView | None) -> None:
        held, copy = self._held(process_id)
        if held < version or (held == version and copy is None and view is not None):
            self.views[process_id] = (version, view, self._clock.monotonic() + VIEW_TTL_SECONDS)

    def _held(self, process_id: UUID) -> tuple[int, ProcessView | None]:
        version, view, until = self.views.get(process_id, (-1, None, 0.0))
        return (version, view) if self._clock.monotonic() < until else (-1, None)

    async def _is_down(self) -> bool:
        try:
            await self.faults.visit("cache")
        except Unreachable:
            return True
        return False
