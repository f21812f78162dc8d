"""The safety nets: what no message said, the rows say. Every sweep may run twice at once without harm."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import structlog

from understudy.domain.errors import Unreachable
from understudy.domain.ports import Clock, Events, Journal, Lookout, Poke
from understudy.runtime.claims import Claims
from understudy.runtime.directory import Directory
from understudy.runtime.ownership import Ownership

log = structlog.get_logger("sweeper")

SWEEP_SECONDS = 2.0
SCAN_SECONDS = 1.0
AUDIT_SECONDS = 10.0
PENDING_AGE = timedelta(seconds=3)
PAGE = 500


class Sweeper:
    """Looks for work that nobody was told of."""

    def __init__(
        self,
        lookout: Lookout,
        events: Events,
        journal: Journal,
        ownership: Ownership,
        claims: Claims,
        directory: Directory,
        clock: Clock,
        poke: Poke,
    ) -> None:
        self._lookout = lookout
        self._events = events
        self._journal = journal
        self._ownership = ownership
        self._claims = claims
        self._directory = directory
        self._clock = clock
        self._poke = poke

    async def sweep(self) -> None:
        """Again and again: unowned work, old inbox rows, events not handed out, rows that nobody can use up."""
        await self._repeat(SWEEP_SECONDS, self._ready, self._pending, self._undelivered, self._unmet, self._tidy)

    async def scan(self) -> None:
        """Again and again: timers of processes that nobody owns."""
        await self._repeat(SCAN_SECONDS, self._due)

    async def audit(self) -> None:
        """Again and again: processes that this session owns and that have no actor."""
        await self._repeat(AUDIT_SECONDS, self._orphans)

    async def _repeat(self, seconds: float, *rounds: Callable[[], Awaitable[Any]]) -> None:
        while True:
            for search in rounds:
                try:
                    await search()
                except Unreachable as error:
                    log.warning("sweep_failed", round=search.__name__, reason=str(error))
            await self._clock.sleep(seconds * (0.75 + self._clock.fraction() / 2))

    async def _ready(self) -> None:
        await self._poke(await self._lookout.ready(PAGE))

    async def _pending(self) -> None:
        await self._poke(await self._lookout.pending(PENDING_AGE, PAGE))

    async def _due(self) -> None:
        self._claims.request(await self._lookout.due(PAGE))

    async def _undelivered(self) -> None:
        for event_id in await self._events.undelivered(PAGE):
            await self._poke(await self._events.deliver(event_id))

    async def _unmet(self) -> None:
        """Waits whose event is kept: their owner died between its commit and its look."""
        for wait in await self._lookout.unmet(PAGE):
            if await self._events.take(wait.process_id, wait.execution_id, wait.awaited):
                await self._poke([wait.process_id])

    async def _tidy(self) -> None:
        await self._lookout.reject_orphans(PAGE)
        await self._events.expire(PAGE)

    async def _orphans(self) -> None:
        owned = await self._journal.audit(self._ownership.session_id)
        orphans = [
            process_id
            for process_id in owned
            if process_id not in self._directory and not self._claims.is_under_way(process_id)
        ]
        if orphans:
            log.error("orphans_found", processes=[str(process_id) for process_id in orphans[:10]], count=len(orphans))
            await self._journal.relinquish(self._ownership.session_id, orphans)
            self._claims.request(orphans)
