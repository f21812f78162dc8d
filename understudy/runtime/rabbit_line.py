import asyncio
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

from understudy.actors.crew import Crew

GATHERED_MAX = 10_000
"""How many processes wait for the next round at most."""


class Line:
    """One queue's pokes in rounds: what is said while a round is out gathers and goes with the next one."""

    def __init__(self, name: str, send: Callable[[Sequence[UUID]], Awaitable[None]], crew: Crew) -> None:
        self._name = name
        self._send = send
        self._crew = crew
        self._gathered: dict[UUID, None] = {}
        self._round: asyncio.Future[None] | None = None
        self._is_out = False
        self.dropped = 0

    def say(self, process_ids: Sequence[UUID]) -> asyncio.Future[None]:
        """Gather these processes; the future is done when their round is over, whatever came of it."""
        for process_id in process_ids:
            if len(self._gathered) < GATHERED_MAX or process_id in self._gathered:
                self._gathered[process_id] = None
            else:
                self.dropped += 1
        if self._round is None:
            self._round = asyncio.get_running_loop().create_future()
        if not self._is_out:
            self._is_out = True
            self._crew.spawn(self._run(), name=self._name)
        return self._round

    async def _run(self) -> None:
        try:
            while self._gathered:
                process_ids, self._gathered = tuple(self._gathered), {}
                over, self._round = self._round, None
                try:
                    await self._send(process_ids)
                finally:
                    _end(over)
        finally:
            self._is_out = False
            over, self._round = self._round, None
            _end(over)


def _end(over: asyncio.Future[None] | None) -> None:
    if over is not None and not over.done():
        over.set_result(None)
