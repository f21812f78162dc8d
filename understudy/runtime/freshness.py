"""Telling the cache, after the commit, which version a process has reached."""

import asyncio
from uuid import UUID

from understudy.domain.cache import Views
from understudy.domain.ports import Clock

RETRY_SECONDS = 0.5
UNTOLD_MAX = 100_000
"""Beyond this they are forgotten: copies do not live long enough for anybody to miss them."""


class Freshness:
    """Collects versions while others are on their way; what may not have arrived is told again."""

    def __init__(self, views: Views, clock: Clock) -> None:
        self._views = views
        self._clock = clock
        self._untold: dict[UUID, int] = {}
        self._wanted = asyncio.Event()

    def note(self, process_id: UUID, version: int) -> None:
        """A version has been committed."""
        self._untold[process_id] = version
        self._wanted.set()

    async def run(self) -> None:
        """Tell the cache, many at a time."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            told, self._untold = self._untold, {}
            if await self._views.outdate(told):
                continue
            if len(told) + len(self._untold) <= UNTOLD_MAX:
                self._untold = {**told, **self._untold}
            await self._clock.sleep(RETRY_SECONDS)
            self._wanted.set()
