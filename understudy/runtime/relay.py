"""Carries announced events from the outbox to whoever waits for them, at least once and in order per process."""

import asyncio

import structlog

from understudy.domain.errors import Unreachable
from understudy.domain.ports import Clock, Events, Outbox, Poke
from understudy.domain.views import NewEvent

log = structlog.get_logger("relay")

ROWS_MAX = 500
IDLE_SECONDS = 2.0


class Relay:
    """Takes rows, hands them on, and only then deletes them."""

    def __init__(self, outbox: Outbox, events: Events, clock: Clock, poke: Poke, published: asyncio.Event) -> None:
        self._outbox = outbox
        self._events = events
        self._clock = clock
        self._poke = poke
        self._published = published

    async def run(self) -> None:
        """Relay when told, and look by itself every two seconds."""
        while True:
            try:
                async with asyncio.timeout(IDLE_SECONDS):
                    await self._published.wait()
            except TimeoutError:
                pass
            self._published.clear()
            try:
                while await self._relay():
                    pass
            except Unreachable as error:
                log.warning("relay_failed", reason=str(error))
                await self._clock.sleep(IDLE_SECONDS)

    async def _relay(self) -> bool:
        rows = await self._outbox.pending(ROWS_MAX)
        for row in rows:
            # A repeat after a crash finds the event there: its id is the one of the execution that announced it. If it
            # was not handed out then, the sweeper does it: handing it out twice could reach a wait that came later.
            submitted = await self._events.accept(NewEvent(row.event_id, row.type, row.key, row.data))
            if not submitted.is_replay:
                await self._poke(await self._events.deliver(row.event_id))
        if rows:
            await self._outbox.delete(rows)
        return len(rows) == ROWS_MAX
