"""The one place that reads clocks and draws random numbers."""

import asyncio
import os
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

from understudy.domain.ports import Alarm

READING_AGE_MAX_SECONDS = 10.0
"""How long a reading of the database's clock is extended by the local one: they drift by a millisecond meanwhile."""

_BOOT_TIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class SystemClock:
    """The database's time as a lower bound: a reading is old when it arrives, so `now` is never ahead of it."""

    def __init__(self) -> None:
        self._random = random.SystemRandom()
        self._reading = datetime.now(UTC)
        self._read_at = self.monotonic()
        self._latest = self._reading
        self._is_taught = False

    def now(self) -> datetime:
        """The database's time as far as this node knows it; it never goes back."""
        estimate = self._reading + timedelta(seconds=self.monotonic() - self._read_at)
        self._latest = max(self._latest, estimate)
        return self._latest

    def learn(self, db_now: datetime) -> None:
        """Take over a reading of the database's clock that has just arrived."""
        age = self.monotonic() - self._read_at
        estimate = self._reading + timedelta(seconds=age)
        if db_now > estimate or age > READING_AGE_MAX_SECONDS or not self._is_taught:
            self._reading = db_now
            self._read_at = self.monotonic()
        if not self._is_taught:
            self._latest = db_now
            self._is_taught = True

    def monotonic(self) -> float:
        """Seconds that only grow, also through a suspend of the machine."""
        return time.clock_gettime(_BOOT_TIME)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Alarm:
        """Call back once after some seconds, unless cancelled."""
        return asyncio.get_running_loop().call_later(seconds, callback)

    def fraction(self) -> float:
        """A draw from [0, 1)."""
        return self._random.random()

    def new_id(self, *, ordered: bool = False) -> UUID:
        """A random id (version 4), or one that sorts by the time of its making (version 7)."""
        if not ordered:
            return UUID(bytes=os.urandom(16), version=4)
        milliseconds = time.time_ns() // 1_000_000
        value = int.from_bytes(milliseconds.to_bytes(6) + os.urandom(10))
        return UUID(int=(value & ~(0xF << 76) & ~(0x3 << 62)) | 0x7 << 76 | 0x2 << 62)
