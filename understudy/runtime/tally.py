"""Counting the requests to other hosts, and adding them up over all nodes now and then."""

import asyncio
from datetime import datetime

from msgspec.structs import replace

from understudy.domain.cache import TargetCount, Targets
from understudy.domain.ports import Clock

PAUSE_SECONDS = 1.0
HOSTS_MAX = 1_000
"""Hosts of one round; a definition may make them up from its input."""


class Tally:
    """Counts in memory and hands on once a second; what a crash takes is not counted."""

    def __init__(self, targets: Targets, clock: Clock) -> None:
        self._targets = targets
        self._clock = clock
        self._counts: dict[str, TargetCount] = {}
        self._wanted = asyncio.Event()

    def count(self, host: str, at: datetime, error: str | None, *, is_repeat: bool) -> None:
        """An attempt has ended, with this type of failure if it failed."""
        held = self._counts.get(host)
        if held is None:
            if len(self._counts) >= HOSTS_MAX:
                return
            held = TargetCount(host, 0, 0, 0, None, at)
        self._counts[host] = replace(
            held,
            attempts=held.attempts + 1,
            retries=held.retries + is_repeat,
            failures=held.failures + (error is not None),
            last_error=error or held.last_error,
            last_at=max(at, held.last_at),
        )
        self._wanted.set()

    async def run(self) -> None:
        """Hand on what was counted, many hosts at a time."""
        while True:
            await self._wanted.wait()
            await self._clock.sleep(PAUSE_SECONDS)
            self._wanted.clear()
            counts, self._counts = self._counts, {}
            await self._targets.add(list(counts.values()))
