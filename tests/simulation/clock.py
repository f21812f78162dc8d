"""Clocks on virtual time: the servers' own, and one for each node, which only knows what the database told it."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from uuid import UUID

from understudy.runtime.clock import SystemClock

EPOCH = datetime(2026, 11, 25, 8, 30, tzinfo=UTC)


def server_time(loop: asyncio.AbstractEventLoop) -> datetime:
    """What the database's clock says."""
    return EPOCH + timedelta(seconds=loop.time())


class SimClock(SystemClock):
    """The real clock's logic over virtual time and a seeded source; `skew` is how wrong this machine is at first."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seed: object, skew: timedelta = timedelta()) -> None:
        self._loop = loop
        self._seeded = random.Random(str(seed))
        self._reading = server_time(loop) + skew
        self._read_at = self.monotonic()
        self._latest = self._reading
        self._is_taught = False

    def monotonic(self) -> float:
        return 1000.0 + self._loop.time()

    def fraction(self) -> float:
        return self._seeded.random()

    def new_id(self, *, ordered: bool = False) -> UUID:
        drawn = UUID(int=self._seeded.getrandbits(128), version=4)
        if not ordered:
            return drawn
        milliseconds = int(server_time(self._loop).timestamp() * 1000)
        return UUID(int=(drawn.int & ((1 << 80) - 1) & ~(0xF << 76)) | milliseconds << 80 | 0x7 << 76)
