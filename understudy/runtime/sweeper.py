"""The safety nets: what no message said, the rows say. Every sweep may run twice at once without harm."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog

from understudy.domain.errors import Unreachable
from understudy.domain.ports import Poke
from understudy.runtime.claims import Claims
from understudy.runtime.ownership import Ownership
from understudy.runtime.surroundings import NodePorts

log = structlog.get_logger("sweeper")

SWEEP_SECONDS = 2.0
SCAN_SECONDS = 1.0
AUDIT_SECONDS = 10.0
PENDING_AGE = timedelta(seconds=3)
PAGE = 500
PAGE_SECONDS = 0.25
TIDY_PAGES_MAX = 20
"""One page a round would not keep up with some hundreds of events a second."""


class Sweeper:
    """Looks for work that nobody was told of."""

    def __init__(
        self, ports: NodePorts, ownership: Ownership, claims: Claims, poke: Poke, inherited: asyncio.Event
    ) -> None:
        self._ports = ports
        self._ownership = ownership
        self._claims = claims
        self._poke = poke
        self._inherited = inherited
        self._behind: dict[UUID, int] = {}
        self.orphans = 0
        self._undelivered_before: frozenset[UUID] = frozenset()

    async def sweep(self) -> None:
        """Again and again: unowned work, old inbox rows, events not handed out, rows that nobody can use up."""
        await self._repeat(SWEEP_SECONDS, self._ready, self._pending, self._undelivered, self._unmet, self._tidy)

    async def inherit(self) -> None:
        """When a node has died: what was in flight there, page by page, so that the others stay responsive."""
        while True:
            await self._inherited.wait()
            self._inherited.clear()
            try:
                while await self._ready() == PAGE:
                    await self._ports.clock.sleep(PAGE_SECONDS)
            except Unreachable as error:
                log.warning("sweep_failed", round="inherit", reason=str(error))

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
            await self._ports.clock.sleep(seconds * (0.75 + self._ports.clock.fraction() / 2))

    async def _ready(self) -> int:
        found = await self._ports.lookout.ready(PAGE)
        self._claims.request(found)
        return len(found)

    async def _pending(self) -> None:
        await self._poke(await self._ports.lookout.pending(PENDING_AGE, PAGE))

    async def _due(self) -> None:
        self._claims.request(await self._ports.lookout.due(PAGE))

    async def _undelivered(self) -> None:
        """Events whose gateway died before it handed them out; what it has just stored it is about to hand out."""
        found = await self._ports.events.undelivered(PAGE)
        left_behind = [event_id for event_id in found if event_id in self._undelivered_before]
        self._undelivered_before = frozenset(found)
        for event_id in left_behind:
            await self._poke(await self._ports.events.deliver(event_id))

    async def _unmet(self) -> None:
        """Waits whose event is kept: their owner died between its commit and its look."""
        for wait in await self._ports.lookout.unmet(PAGE):
            if await self._ports.events.take(wait.process_id, wait.execution_id, wait.awaited):
                await self._poke([wait.process_id])

    async def _tidy(self) -> None:
        for tidy in (self._ports.lookout.reject_orphans, self._ports.events.expire):
            for _ in range(TIDY_PAGES_MAX):
                if await tidy(PAGE) < PAGE:
                    break

    async def _orphans(self) -> None:
        owned = await self._ports.journal.audit(self._ownership.session_id)
        self._compare(owned)
        with self._claims.exclusively(owned) as orphans:
            if orphans:
                self.orphans += len(orphans)
                log.error("orphans_found", processes=[str(process_id) for process_id in orphans], count=len(orphans))
                # Nobody tried them: claims whose answers were lost must not lead to a quarantine.
                await self._ports.journal.spare(self._ownership.session_id, orphans)
                self._claims.request(orphans)

    def _compare(self, owned: Mapping[UUID, int]) -> None:
        """A row that stays behind its actor is on a server that travelled back: nothing would make the actor commit.

        Seen once it says nothing: the actor may have committed since the row was read.
        """
        behind = {
            process_id: version
            for process_id, version in owned.items()
            if (actor := self._claims.find(process_id)) is not None and actor.version > version
        }
        for process_id, version in behind.items():
            actor = self._claims.find(process_id)
            if actor is not None and self._behind.get(process_id) == version:
                log.error("actor_ahead_of_its_row", process_id=str(process_id), version=version)
                actor.give_way()
        self._behind = behind
