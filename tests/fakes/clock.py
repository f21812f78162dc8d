"""Time that passes when a test says so."""

import asyncio
import heapq
import itertools
from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

from tests.factories import T0
from understudy.actors.crew import give_way


async def settle() -> None:
    """Let everything run that can run without time passing."""
    loop = asyncio.get_running_loop()
    while loop._ready:  # type: ignore[attr-defined] # the queue of callbacks of asyncio's own loop
        await give_way()


class ManualAlarm:
    """A callback on a manual clock."""

    def __init__(self, due: float, callback: Callable[[], None]) -> None:
        self.due = due
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class ManualClock:
    """A clock whose time is that of the database; `draws` are its random fractions, its ids count up."""

    def __init__(self, draws: tuple[float, ...] = (0.5,)) -> None:
        self.learned: list[datetime] = []
        self._draws = itertools.cycle(draws)
        self._numbers = itertools.count(1)
        self._monotonic = 1_000.0
        self._alarms: list[tuple[float, int, ManualAlarm]] = []

    @property
    def alarms(self) -> list[float]:
        """In how many seconds each alarm rings, soonest first."""
        return sorted(alarm.due - self._monotonic for _, _, alarm in self._alarms if alarm.callback is not None)

    def now(self) -> datetime:
        return T0 + timedelta(seconds=self._monotonic - 1_000.0)

    def learn(self, db_now: datetime) -> None:
        self.learned.append(db_now)

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        alarm = self.call_later(seconds, lambda: None if woken.done() else woken.set_result(None))
        try:
            await woken
        finally:
            alarm.cancel()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> ManualAlarm:
        alarm = ManualAlarm(self._monotonic + seconds, callback)
        heapq.heappush(self._alarms, (alarm.due, next(self._numbers), alarm))
        return alarm

    def fraction(self) -> float:
        return next(self._draws)

    def new_id(self, *, ordered: bool = False) -> UUID:
        return UUID(int=next(self._numbers) << 64 | ordered, version=4)

    def jump(self, seconds: float) -> None:
        """Let time pass while nobody runs: what fell due meanwhile rings at the next `advance`."""
        self._monotonic += seconds

    async def advance(self, seconds: float = 0.0) -> None:
        """Let time pass and everything happen that falls due in it, in order."""
        end = self._monotonic + seconds
        await settle()
        while self._alarms and self._alarms[0][0] <= end:
            due, _, alarm = heapq.heappop(self._alarms)
            callback, alarm.callback = alarm.callback, None
            if callback is not None:
                self._monotonic = max(self._monotonic, due)
                callback()
                await settle()
        self._monotonic = max(self._monotonic, end)
        await settle()
