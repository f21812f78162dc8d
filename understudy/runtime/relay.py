"""Carries announced events from the outbox to whoever waits for them, at least once and in order per process.

One node relays for all, the eldest; the others tell it when they have committed an event. For a moment two may take
themselves for it, or none: each hands the events of a process on in their order, so that their first arrivals are in
order whoever else does the same, and what was not handed on is found two seconds later.
"""

import asyncio
from uuid import UUID

import structlog

from understudy.domain.errors import Invalid, Unreachable
from understudy.domain.ports import Poke
from understudy.domain.views import NewEvent, OutboxRow
from understudy.runtime.ownership import Ownership
from understudy.runtime.surroundings import NodePorts
from understudy.runtime.takeover import Takeover

log = structlog.get_logger("relay")

ROWS_MAX = 500
IDLE_SECONDS = 2.0

OUTBOX = UUID(int=0)
"""In a poke: not a process, but the outbox is to be looked at."""


class Relay:
    """Takes rows, hands them on, and only then deletes them."""

    def __init__(
        self, ports: NodePorts, ownership: Ownership, takeover: Takeover, poke: Poke, published: asyncio.Event
    ) -> None:
        self._ports = ports
        self._ownership = ownership
        self._poke = poke
        self._published = published
        self._takeover = takeover

    async def run(self) -> None:
        """Relay when told, and look by itself every two seconds."""
        is_told = False
        while True:
            self._published.clear()
            try:
                await self._see_to(is_told=is_told)
            except Unreachable as error:
                log.warning("relay_failed", reason=str(error))
                await self._ports.clock.sleep(IDLE_SECONDS)
            is_told = await self._wait()

    async def _see_to(self, *, is_told: bool) -> None:
        eldest_id = self._takeover.eldest_id
        if eldest_id in {None, self._ownership.session_id}:
            while await self._relay():
                pass
        elif is_told:
            await self._ports.carrier.direct(eldest_id, [OUTBOX])

    async def _wait(self) -> bool:
        """Return when told, or after two seconds; whether it was told."""
        idle: list[bool] = []

        def look() -> None:
            idle.append(True)
            self._published.set()

        alarm = self._ports.clock.call_later(IDLE_SECONDS, look)
        await self._published.wait()
        alarm.cancel()
        return not idle

    async def _relay(self) -> bool:
        rows = await self._ports.outbox.pending(ROWS_MAX)
        done: list[OutboxRow] = []
        stuck: set[UUID] = set()
        for row in rows:
            # Nothing may overtake an event of the same process that the broker has not confirmed.
            if row.process_id not in stuck:
                await self._hand_on(row)
                if await self._ports.carrier.announce(row):
                    done.append(row)
                else:
                    stuck.add(row.process_id)
        if done:
            await self._ports.outbox.delete(done)
        if stuck:
            log.warning("events_not_announced", processes=len(stuck))
        return len(rows) == ROWS_MAX and not stuck

    async def _hand_on(self, row: OutboxRow) -> None:
        # A repeat after a crash finds the event there: its id is the one of the execution that announced it. If it was
        # not handed out then, the sweeper does it: handing it out twice could reach a wait that came later.
        try:
            submitted = await self._ports.events.accept(NewEvent(row.event_id, row.type, row.key, row.data))
        except Invalid:
            # It will never be accepted, and nothing behind it may wait for that.
            log.exception("event_refused", process_id=str(row.process_id), event_id=str(row.event_id))
            return
        if not submitted.is_replay:
            await self._poke(await self._ports.events.deliver(row.event_id))
