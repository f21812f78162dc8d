"""The child of a process actor that watches the clock: one alarm, for the earliest timer of its process."""

from collections.abc import Callable
from datetime import datetime

from msgspec import Struct

from understudy.actors.loop import AsyncActor
from understudy.domain.ports import Alarm, Clock


class Arm(Struct, frozen=True):
    """When the earliest timer is due now; None when there is none."""

    due_at: datetime | None


class TimerActor(AsyncActor):
    """Calls back when the time has come. It holds no timer of its own: which are due the process works out."""

    def __init__(self, clock: Clock, ring: Callable[[], None]) -> None:
        super().__init__()
        self._clock = clock
        self._ring = ring
        self._alarm: Alarm | None = None

    async def on_receive(self, message: Arm) -> None:
        """Replace the alarm."""
        assert isinstance(message, Arm)
        self._silence()
        if message.due_at is not None:
            seconds = (message.due_at - self._clock.now()).total_seconds()
            self._alarm = self._clock.call_later(max(0.0, seconds), self._ring)

    async def on_stop(self) -> None:
        """Leave no alarm behind."""
        self._silence()

    def _silence(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
