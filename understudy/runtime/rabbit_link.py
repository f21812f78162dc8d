import asyncio
from collections.abc import Awaitable, Callable

import structlog

from understudy.actors.crew import contained
from understudy.domain.ports import Clock

log = structlog.get_logger("rabbit")

PAUSE_MIN_SECONDS = 0.1
PAUSE_MAX_SECONDS = 10.0
STEADY_SECONDS = 10.0
"""A connection that held as long as this was a good one: the next pause is short again."""


class Link:
    """Keeps one connection in service: when it breaks another is opened, after a pause that grows."""

    def __init__(self, name: str, serve: Callable[[Callable[[], None]], Awaitable[None]], clock: Clock) -> None:
        self.name = name
        self.up = asyncio.Event()
        self.times_up = 0
        self._serve = serve
        self._clock = clock

    async def run(self) -> None:
        """Serve until cancelled; `serve` calls back when it is established and ends only by an error."""
        pause = PAUSE_MIN_SECONDS
        while True:
            began = self._clock.monotonic()
            try:
                await contained(self._serve(self._establish))
            except Exception as error:  # noqa: BLE001 - a broker fails in many ways, and none of them may end the link
                log.warning("broker_lost", link=self.name, was_up=self.up.is_set(), reason=f"{error!r:.300}")
            self.up.clear()
            if _is_cancelled():
                # A library that was cancelled may report a failure of its own instead.
                raise asyncio.CancelledError
            if self._clock.monotonic() - began >= STEADY_SECONDS:
                pause = PAUSE_MIN_SECONDS
            await self._clock.sleep(pause * (0.5 + self._clock.fraction()))
            pause = min(2 * pause, PAUSE_MAX_SECONDS)

    def _establish(self) -> None:
        self.times_up += 1
        self.up.set()
        log.info("broker_connected", link=self.name)


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
