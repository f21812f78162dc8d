"""Group commit: the transitions that gather while a batch is under way are the next batch.

A process has always the same lane, and a lane one connection and one batch at a time. Whoever waits for a commit may be
cancelled; the batch is not.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol
from uuid import UUID

import structlog

from understudy.domain.errors import Invalid, Stopped
from understudy.domain.ports import Change, Clock, Receipt, Tenure, Verdict
from understudy.persistence.batch import rows_of
from understudy.persistence.lane import Counters, Farewell, Lane, Ticket
from understudy.persistence.pool import Database
from understudy.persistence.queries import Queries

log = structlog.get_logger("journal")


class Runner(Protocol):
    """Something that runs beside the lanes, as long as they do."""

    async def run(self) -> None:
        """Work until cancelled."""
        ...

    def disconnect(self) -> None:
        """Drop the connection, so that nothing that is cancelled waits for the server."""
        ...

    def abandon(self) -> None:
        """Tell everyone who waits that nothing more will come."""
        ...


class Committer:
    """The lanes; every commit and passivation goes through here."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        node: str,
        queries: Queries,
        *,
        lanes: int = 2,
        companions: Sequence[Runner] = (),
    ) -> None:
        self.counters = Counters()
        self._lanes = [Lane(database, clock, node, queries, self.counters) for _ in range(lanes)]
        self._runners: list[Runner] = [*self._lanes, *companions]
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Run the lanes; a second start does nothing."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="committer")

    async def stop(self) -> None:
        """Cut the lanes off; who still waits is told `Stopped`. Safe twice and unstarted."""
        task, self._task = self._task, None
        if task is None:
            return
        for runner in self._runners:
            runner.disconnect()
        task.cancel()
        with suppress(asyncio.CancelledError, ExceptionGroup):  # a bug is in the log
            await task
        for runner in self._runners:
            runner.abandon()

    @property
    def is_running(self) -> bool:
        """Whether commits are taken."""
        return self._task is not None and not self._task.done()

    async def commit(self, change: Change) -> Receipt:
        """Have a change applied by the next batch of its lane.

        Raises:
            Stopped: the committer does not run, or stopped meanwhile.
        """
        try:
            rows = rows_of(change)
        except Exception as error:  # noqa: BLE001 - whatever a value does to its encoder concerns this change alone
            self.counters.poisoned += 1
            reason = str(error) if isinstance(error, Invalid) else f"it cannot be encoded: {type(error).__name__}"
            return Receipt(Verdict.POISON, reason=reason)
        ticket = Ticket(rows, asyncio.get_running_loop().create_future())
        self._lane(rows.process_id).put(ticket)
        return await ticket.receipt

    async def passivate(self, process_id: UUID, tenure: Tenure, version: int) -> bool:
        """Have a process given up after the batch under way; false when an inbox row waits or the tenure is over.

        Raises:
            Stopped: the committer does not run, or stopped meanwhile.
        """
        farewell = Farewell(process_id, tenure, version, asyncio.get_running_loop().create_future())
        self._lane(process_id).put(farewell)
        return await farewell.answered

    def _lane(self, process_id: UUID) -> Lane:
        if not self.is_running:
            raise Stopped
        return self._lanes[hash(process_id) % len(self._lanes)]

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for runner in self._runners:
                    group.create_task(runner.run())
        except Exception:
            log.exception("committer_failed")
            raise
        finally:
            for runner in self._runners:
                runner.abandon()
