"""Waiting for processes to end: one query for all who wait, never one per client."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from uuid import UUID

from understudy.domain.errors import Unreachable
from understudy.domain.ports import Clock
from understudy.domain.stores import Processes

POLL_SECONDS = 0.25
"""How often processes on other nodes are asked after, all in one query; those of this node announce their end."""

RECENT_SECONDS = 2.0
"""How long an end is remembered: it may come between a caller's look at the process and its wait."""


class Completions:
    """Wakes callers when the process they wait for has ended."""

    def __init__(self, processes: Processes, clock: Clock) -> None:
        self._processes = processes
        self._clock = clock
        self._waiters: defaultdict[UUID, set[asyncio.Future[bool]]] = defaultdict(set)
        self._wanted = asyncio.Event()
        self._recent: dict[UUID, float] = {}

    def announce(self, process_ids: Iterable[UUID]) -> None:
        """Wake whoever waits for these processes."""
        now = self._clock.monotonic()
        for process_id in process_ids:
            self._recent.pop(process_id, None)
            self._recent[process_id] = now
            for waiter in self._waiters.get(process_id, ()):
                _settle(waiter, has_ended=True)
        while self._recent and now - self._recent[oldest := next(iter(self._recent))] > RECENT_SECONDS:
            del self._recent[oldest]

    async def wait(self, process_id: UUID, seconds: float) -> bool:
        """Wait until a process has ended; false when the time is over first."""
        if process_id in self._recent:
            return True
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiters[process_id].add(waiter)
        self._wanted.set()
        alarm = self._clock.call_later(seconds, partial(_settle, waiter, has_ended=False))
        try:
            return await waiter
        finally:
            alarm.cancel()
            self._waiters[process_id].discard(waiter)
            if not self._waiters[process_id]:
                del self._waiters[process_id]

    async def run(self) -> None:
        """Ask after all awaited processes, as long as there are any."""
        while True:
            await self._wanted.wait()
            if not self._waiters:
                self._wanted.clear()
                continue
            # The next round asks again; a caller whose time runs out reads the state itself.
            with suppress(Unreachable):
                self.announce(await self._processes.ended(list(self._waiters)))
            await self._clock.sleep(POLL_SECONDS)


def _settle(waiter: "asyncio.Future[bool]", *, has_ended: bool) -> None:
    if not waiter.done():
        waiter.set_result(has_ended)
