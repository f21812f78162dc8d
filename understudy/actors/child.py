"""The children of a process actor: one performs an effect, one watches the clock; what they learn they tell it."""

from datetime import datetime

from msgspec import Struct

from understudy.actors.loop import ActorDeadError, AsyncActor, AsyncActorRef
from understudy.actors.workplace import Workplace
from understudy.domain.failure import Category, Failure
from understudy.domain.messages import ExecutorFailed, TimerDue
from understudy.domain.ports import Alarm, Assignment


class Perform(Struct, frozen=True):
    """Begin."""


class ExecutorActor(AsyncActor):
    """Performs one attempt. Stopping it aborts the attempt: its task ends with it."""

    def __init__(self, parent: AsyncActorRef, workplace: Workplace, assignment: Assignment) -> None:
        super().__init__()
        self._parent = parent
        self._workplace = workplace
        self._assignment = assignment

    async def on_receive(self, message: Perform) -> None:
        """Start the attempt beside the mail, so that a stop is heard."""
        assert isinstance(message, Perform)
        self.spawn(self._attempt(), name=f"{self.actor_urn}:perform")

    async def on_failure(self, error: BaseException) -> None:
        """Let an executor that broke fail its attempt: the process must not wait for it for ever."""
        effect = self._assignment.effect
        failure = Failure("executor", Category.EXECUTION, f"the executor broke: {type(error).__name__}")
        self._report(ExecutorFailed(effect.activity, effect.execution_id, effect.attempt, failure, is_unknown=True))

    async def _attempt(self) -> None:
        not_before = self._assignment.effect.not_before
        if not_before is not None:
            await self._workplace.clock.sleep(max(0.0, (not_before - self._workplace.clock.now()).total_seconds()))
        await self._workplace.permit()
        self._report(await self._workplace.executors.perform(self._assignment))
        self.stop()

    def _report(self, result: object) -> None:
        try:
            self._parent.tell(result)
        except ActorDeadError:
            # The parent was fenced or has ended: whoever owns the process now repeats the attempt.
            return


class Arm(Struct, frozen=True):
    """The timers that a process has now."""

    timers: tuple[tuple[datetime, str], ...]


class Ring(Struct, frozen=True):
    """The alarm went off."""


class TimerActor(AsyncActor):
    """Holds the timers of one live process: a single alarm, for the earliest."""

    def __init__(self, parent: AsyncActorRef, workplace: Workplace) -> None:
        super().__init__()
        self._parent = parent
        self._clock = workplace.clock
        self._timers: list[tuple[datetime, str]] = []
        self._alarm: Alarm | None = None

    async def on_receive(self, message: Arm | Ring) -> None:
        """Take over new timers, or tell which are due."""
        if isinstance(message, Arm):
            self._timers = sorted(message.timers)
        else:
            self._alarm = None
            now = self._clock.now()
            due = [timer_id for due_at, timer_id in self._timers if due_at <= now]
            self._timers = self._timers[len(due) :]
            for timer_id in due:
                self._tell_due(timer_id)
        self._set_alarm()

    async def on_stop(self) -> None:
        """Silence the alarm."""
        if self._alarm is not None:
            self._alarm.cancel()

    def _tell_due(self, timer_id: str) -> None:
        try:
            self._parent.tell(TimerDue(timer_id))
        except ActorDeadError:
            # The row of the timer is still there: the scanner finds it.
            return

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._timers:
            seconds = (self._timers[0][0] - self._clock.now()).total_seconds()
            self._alarm = self._clock.call_later(max(0.0, seconds), self._ring)

    def _ring(self) -> None:
        try:
            self.actor_ref.tell(Ring())
        except ActorDeadError:
            return
