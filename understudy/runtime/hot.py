"""Reading processes with a cache in front of PostgreSQL, so that nobody sees a process go back.

A copy is good enough for those who only look (`glance`); whatever decides reads PostgreSQL. Each version that is read
there is told to the cache before anybody sees it, so the next look finds that version or a newer one, through whichever
gateway. Owners tell the versions that they commit (freshness.py): a look is behind by the time that takes.
"""

from collections.abc import Iterable, Sequence
from uuid import UUID

from understudy.domain.cache import Views
from understudy.domain.ports import Clock
from understudy.domain.state import Execution
from understudy.domain.stores import Processes
from understudy.domain.views import NewProcess, ProcessView, Query, RecordedRow, Submitted

SLOW_SECONDS = 1.0
"""What was read longer ago than this may be older than versions that were told and forgotten since."""


class HotProcesses:
    """Implements the port `Processes` over another one."""

    def __init__(self, processes: Processes, views: Views, clock: Clock) -> None:
        self._processes = processes
        self._views = views
        self._clock = clock

    async def glance(self, process_id: UUID) -> ProcessView | None:
        """A process as it was a moment ago, never older than it was shown before."""
        view = await self._views.find(process_id)
        return await self.find(process_id) if view is None else view

    async def find(self, process_id: UUID) -> ProcessView | None:
        """A process with the latest visit of each activity, as it is."""
        began = self._clock.monotonic()
        view = await self._processes.find(process_id)
        if view is None:
            return None
        if self._clock.monotonic() - began > SLOW_SECONDS:
            await self._tell([(process_id, view.version)])
        elif view.version:
            # Nothing is older than a process that was not begun, and most are begun at once.
            await self._views.keep(view)
        return view

    async def start(self, process: NewProcess) -> Submitted:
        """Insert a process, its first history row and, for an inline definition, its content."""
        return await self._processes.start(process)

    async def search(self, query: Query) -> list[ProcessView]:
        """Processes, newest first, without their executions."""
        found = await self._processes.search(query)
        await self._tell((view.process_id, view.version) for view in found)
        return found

    async def history(self, process_id: UUID, after: int, limit: int) -> list[RecordedRow]:
        """History rows with a seq above `after`, in order."""
        rows = await self._processes.history(process_id, after, limit)
        await self._tell((process_id, recorded.version) for recorded in rows[-1:])
        return rows

    async def executions(self, process_id: UUID) -> list[Execution]:
        """Every execution of a process; who shows them tells their version by reading the process afterwards."""
        return await self._processes.executions(process_id)

    async def ended(self, process_ids: Sequence[UUID]) -> list[UUID]:
        """Which of these processes have ended."""
        return await self._processes.ended(process_ids)

    async def _tell(self, shown: Iterable[tuple[UUID, int]]) -> None:
        versions = {process_id: version for process_id, version in shown if version}
        if versions:
            await self._views.outdate(versions)
