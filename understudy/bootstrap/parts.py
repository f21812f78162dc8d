from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any, Protocol

from understudy.actors.crew import Crew
from understudy.domain.carrier import Carrier

DISMISS_SECONDS = 1.0


class Part(Protocol):
    """What starts and stops; a stop is safe twice and unstarted."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


class Parts:
    """Parts that start in their order and stop in the opposite one; a part of a larger whole itself."""

    def __init__(self, *parts: Part) -> None:
        self._parts = parts
        self._running = AsyncExitStack()

    async def start(self) -> None:
        """Start all; what started is stopped again when something does not.

        Raises:
            Unreachable: PostgreSQL or Redis does not answer.
            CannotListen: an address cannot be listened on.
        """
        async with AsyncExitStack() as stack:
            for part in self._parts:
                stack.push_async_callback(part.stop)
                await part.start()
            self._running = stack.pop_all()

    async def stop(self) -> None:
        """Stop all; safe twice and unstarted."""
        await self._running.aclose()


class Loop:
    """A coroutine that runs from the start to the stop."""

    def __init__(self, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._run = run
        self._crew = Crew()

    async def start(self) -> None:
        self._crew.spawn(self._run(), name=self._run.__qualname__)

    async def stop(self) -> None:
        await self._crew.dismiss(DISMISS_SECONDS)


class Closing:
    """What needs no start."""

    def __init__(self, close: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._close = close

    async def start(self) -> None:
        return

    async def stop(self) -> None:
        await self._close()


class Publishing:
    """A carrier that is published through only."""

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier

    async def start(self) -> None:
        await self._carrier.open()

    async def stop(self) -> None:
        await self._carrier.stop()
