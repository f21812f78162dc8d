"""Waiting for processes to end: one query for all who wait, never one per client."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from uuid import UUID

from understudy.domain.errors import Unreachable
from understudy.domain.ports import Clock, Processes

POLL_SECONDS = 0.25
"""How often processes on other nodes are asked after, all in one query; those of this node announce their end."""


class Completions:
    """Wakes callers when the process they wait for has ended."""

    def __init__(self, processes: Processes, clock: Clock) -> None:
        self._processes = processes
        self._clock = clock
        self._waiters: defaultdict[UUID, set[asyncio.Future[None]]] = defaultdict(set)
        self._wanted = asyncio.Event()

    def announce(self, process_ids: Iterable[UUID]) -> None:
        """Wake whoever waits for these processes."""
        for process_id in process_ids:
            for waiter in self._waiters.get(process_id, ()):
                if not waiter.done():
                    waiter.set_result(None)

    async def wait(self, process_id: UUID, seconds: float) -> bool:
        """Wait until a process has ended; false when the time is over first."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters[process_id].add(waiter)
        self._wanted.set()
        try:
            async with asyncio.timeout(seconds):
                await waiter
        except TimeoutError:
            return False
        finally:
            self._waiters[process_id].discard(waiter)
            if not self._waiters[process_id]:
                del self._waiters[process_id]
        return True

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
