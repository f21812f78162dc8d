"""The actor of one live process: decide, commit, adopt, perform.

It handles one message at a time. Nothing it decides is believed before the journal has it: memory follows the journal,
never leads it. Effects start after the commit that announced them; what a child reports is the next message. An actor
whose commit is refused by the fence stops at once and touches nothing: somebody else owns the process.
"""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from enum import Enum
from functools import partial
from uuid import UUID

import structlog
from msgspec import Struct
from msgspec.structs import replace

from understudy.actors.children import Children, is_current
from understudy.actors.gate import Gate
from understudy.actors.loop import ActorDeadError, AsyncActor, AsyncActorRef
from understudy.actors.record import log_facts
from understudy.actors.stretch import Stretch
from understudy.actors.timer import Arm, TimerActor
from understudy.actors.workplace import Ending, Workplace
from understudy.domain.effects import RunExecutor
from understudy.domain.errors import Stopped, Unreachable
from understudy.domain.failure import Category, Failure
from understudy.domain.messages import AnyMessage, Begin, Delivery, ExecutorFailed, Faulted, TimerDue
from understudy.domain.plan import Plan
from understudy.domain.ports import Alarm, Change, Claimed, Consumed, Receipt, Verdict
from understudy.domain.process import Decision, recover
from understudy.domain.state import State, subscriptions_of, timers_of
from understudy.domain.states import ProcessState

log = structlog.get_logger("actor")

RETRY_SECONDS = 1.0
RECORD_SECONDS = 30.0


class Resume(Struct, frozen=True):
    """Take up a process that has just been claimed, with what its inbox held."""

    deliveries: tuple[Delivery, ...]


class Signal(Enum):
    """Messages that say the same however often they are sent: each waits at most once in the inbox."""

    WAKE = "look at the inbox"
    RING = "a timer may be due"
    GO_ON = "pure activities are left from the last stretch"
    IDLE = "nothing has happened for a while"
    RECORD = "the repeat of an attempt has lived for a while"
    GIVE_WAY = "the row is behind: what is in memory was lost"
    RETIRE = "the node drains: finish what is in flight, begin nothing, leave"


class ProcessActor(AsyncActor):
    """One live process."""

    def __init__(self, workplace: Workplace, plan: Plan, claimed: Claimed) -> None:
        super().__init__()
        self.state: State = claimed.state
        self.tenure = claimed.tenure
        self.version = claimed.version
        self.claim_fails = claimed.claim_fails
        self.last_commit_at: datetime | None = None
        self.launched_at: datetime = claimed.db_now
        self.children = Children(self.actor_ref, workplace, plan)
        self.settled = Gate()
        """Open when what the inbox held at the last wake is committed."""
        self._workplace = workplace
        self._plan = plan
        self._signals: set[Signal] = set()
        self._rest: list[RunExecutor] = []
        self._unrecorded: Decision | None = None
        self._armed: datetime | None = None
        self._timers: AsyncActorRef | None = None
        self._idle: Alarm | None = None
        self._retry: Alarm | None = None
        self._record: Alarm | None = None
        self._is_retiring = False
        self._has_left = False

    @property
    def process_id(self) -> UUID:
        """The process this actor is."""
        return self.state.process_id

    def wake(self) -> None:
        """Look at the inbox soon."""
        if not self._has_left and not self.actor_stopped.is_set():
            self.settled.close()
            self._signal(Signal.WAKE)

    def retire(self) -> None:
        """Leave memory as soon as nothing is in flight: the node drains."""
        if not self._is_retiring:
            self._signal(Signal.RETIRE)

    def give_way(self) -> None:
        """Drop what is in memory: the row in PostgreSQL is behind it, and is what counts."""
        self._signal(Signal.GIVE_WAY)

    async def on_receive(self, message: Resume | Signal | AnyMessage) -> None:
        """Handle one message, unless the process is not this actor's any more."""
        if isinstance(message, Signal):
            self._signals.discard(message)
        if self._has_left:
            return
        try:
            await self._handle(message)
            if self._is_retiring and not self._has_left:
                await self._passivate()
        except Stopped:
            self._leave_stage(Ending.STOPPED)
        if not self._has_left:
            self._arm()
            self._watch_idleness()
            if Signal.WAKE not in self._signals and self._retry is None:
                self.settled.open()

    async def on_stop(self) -> None:
        """End the children with the parent: pykka leaves that to us."""
        self._let_go()

    async def on_failure(self, error: BaseException) -> None:
        """A bug, or a server that is gone for good: let the node decide."""
        if not self._has_left:
            self._has_left = True
            self._let_go()
            self._workplace.listener.left(self, Ending.FAILED, error)

    # What arrives

    async def _handle(self, message: Resume | Signal | AnyMessage) -> None:
        match message:
            case Resume():
                await self._resume(message.deliveries)
            case Signal.WAKE:
                await self._look()
            case Signal.RING:
                await self._fire()
            case Signal.GO_ON:
                await self._go_on()
            case Signal.IDLE:
                await self._passivate()
            case Signal.RECORD:
                await self._commit(self._stretch(), is_alive=True)
            case Signal.GIVE_WAY:
                self._leave_stage(Ending.DIVERGED)
            case Signal.RETIRE:
                self._is_retiring = True
                self.children.begin_nothing(self.state)
            case _:
                await self._react(message)

    async def _resume(self, deliveries: Sequence[Delivery]) -> None:
        stretch = self._stretch()
        recovered = recover(self._plan, self.state, self._workplace.clock.now())
        stretch.add(recovered)
        for delivery in deliveries:
            self._deliver(stretch, delivery)
        if stretch.is_repeat:
            self._unrecorded = recovered._replace(effects=())
            self.children.start(self.state, stretch.effects)
            self._record = self._workplace.clock.call_later(RECORD_SECONDS, lambda: self._signal(Signal.RECORD))
            return
        if stretch.state.state is ProcessState.CREATED:
            stretch.feed(Begin())
        waits = subscriptions_of(self.state)
        await self._commit(stretch)
        for execution_id in waits.keys() & subscriptions_of(self.state).keys():
            self._take(execution_id)

    async def _look(self) -> None:
        try:
            found = await self._workplace.journal.deliveries([self.process_id])
        except Unreachable as error:
            self._look_later(error)
            return
        stretch = self._stretch()
        for delivery in found.get(self.process_id, ()):
            self._deliver(stretch, delivery)
        await self._commit(stretch)

    def _deliver(self, stretch: Stretch, delivery: Delivery) -> None:
        outcome = stretch.feed(delivery.message)
        stretch.consume(Consumed(delivery.message_id, outcome))

    async def _fire(self) -> None:
        now = self._workplace.clock.now()
        self._armed = None
        due = sorted((timer.due_at, timer.timer_id) for timer in timers_of(self.state).values() if timer.due_at <= now)
        stretch = self._stretch()
        for _, timer_id in due:
            stretch.feed(TimerDue(timer_id))
        await self._commit(stretch)

    async def _go_on(self) -> None:
        stretch = self._stretch()
        for effect in self._rest:
            if is_current(self.state, effect):
                stretch.queue(effect)
        self._rest.clear()
        await self._commit(stretch)

    async def _react(self, message: AnyMessage) -> None:
        if isinstance(message, ExecutorFailed):
            message = replace(message, jitter=self._workplace.clock.fraction())
        stretch = self._stretch()
        stretch.feed(message)
        await self._commit(stretch)

    def _stretch(self) -> Stretch:
        stretch = Stretch(self._plan, self.state, self._workplace)
        if self._unrecorded is not None:
            stretch.add(self._unrecorded)
        return stretch

    # The way of every change

    async def _commit(self, stretch: Stretch, *, is_alive: bool = False) -> None:
        if stretch.is_repeat and not is_alive:
            # Recorded with what comes of it. A commit now would count as a sign of life: a process that kills its node
            # with this very effect could do so for ever.
            return
        rest = stretch.run()
        change = stretch.change(self.tenure, self.version)
        if change is not None:
            receipt = await self._workplace.journal.commit(change)
            if receipt.verdict is Verdict.POISON:
                await self._give_in(stretch, receipt)
                return
            if not self._adopt(change, receipt):
                return
        self.children.start(self.state, stretch.effects)
        if rest:
            self._rest += rest
            self._signal(Signal.GO_ON)

    def _adopt(self, change: Change, receipt: Receipt) -> bool:
        if receipt.verdict is not Verdict.APPLIED:
            ending = Ending.FENCED if receipt.verdict is Verdict.FENCED else Ending.DIVERGED
            log.warning("commit_refused", process_id=str(self.process_id), verdict=receipt.verdict.value)
            self._leave_stage(ending)
            return False
        if receipt.db_now is not None:
            self._workplace.clock.learn(receipt.db_now)
        before = self.state
        self.state = change.after
        self._unrecorded = None
        self.version = change.version + 1
        self.claim_fails = 0
        self.last_commit_at = receipt.db_now
        log_facts(self.process_id, change.facts)
        self._workplace.listener.committed(change)
        if self.state.state.is_terminal:
            self._leave_stage(Ending.ENDED)
            return False
        self.children.drop_finished(self.state)
        for execution_id in subscriptions_of(self.state).keys() - subscriptions_of(before).keys():
            self._take(execution_id)
        return True

    async def _give_in(self, stretch: Stretch, receipt: Receipt) -> None:
        """What the stretch holds cannot be stored: the process fails with the reason, its neighbours never notice."""
        reason = receipt.reason or "it cannot be stored"
        log.error("commit_poisoned", process_id=str(self.process_id), reason=reason)
        last = self._stretch()
        last.feed(Faulted(Failure("limit.storage", Category.EXECUTION, reason)))
        for consumed in stretch.consumed:
            last.consume(consumed)
        change = last.change(self.tenure, self.version)
        assert change is not None
        receipt = await self._workplace.journal.commit(change)
        if receipt.verdict is Verdict.POISON:
            raise PoisonError(reason)
        self._adopt(change, receipt)

    # Events

    def _take(self, execution_id: UUID) -> None:
        self.spawn(self._take_kept(execution_id), name=f"{self.actor_urn}:take")

    async def _take_kept(self, execution_id: UUID) -> None:
        """Events and waits meet without a lock: the wait is committed, now look whether its event was there before."""
        while (awaited := subscriptions_of(self.state).get(execution_id)) is not None:
            try:
                taken = await self._workplace.events.take(self.process_id, execution_id, awaited)
            except Unreachable:
                await self._workplace.clock.sleep(RETRY_SECONDS)
                continue
            if taken:
                self.wake()
            return

    # Time

    def _arm(self) -> None:
        """Have the timer child ring when the earliest timer is due."""
        earliest = min((timer.due_at for timer in timers_of(self.state).values()), default=None)
        if earliest == self._armed:
            return
        self._armed = earliest
        if self._timers is None:
            ring = partial(self._signal, Signal.RING)
            self._timers = TimerActor.launch(self._workplace.stage, self._workplace.clock, ring)
        # A stage that is being stopped begins with the newest actors: the next owner arms the timers.
        with suppress(ActorDeadError):
            self._timers.tell(Arm(earliest))

    def _look_later(self, error: Unreachable) -> None:
        log.warning("inbox_unreachable", process_id=str(self.process_id), reason=str(error))
        if self._retry is None:
            self._retry = self._workplace.clock.call_later(RETRY_SECONDS, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        self.wake()

    def _signal(self, signal: Signal) -> None:
        if not self.actor_stopped.is_set() and signal not in self._signals:
            self._signals.add(signal)
            self.actor_ref.tell(signal)

    # Leaving

    def _watch_idleness(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if self.children or self.state.is_ready or self._is_retiring:
            return
        idle = self._workplace.idle_seconds
        if self._armed is not None and (self._armed - self._workplace.clock.now()).total_seconds() < idle:
            return
        self._idle = self._workplace.clock.call_later(idle, lambda: self._signal(Signal.IDLE))

    async def _passivate(self) -> None:
        """Leave memory, unless something is in flight or wants something from the process."""
        if self.children or (self.state.is_ready and not self._is_retiring):
            return
        journal = self._workplace.journal
        if await journal.passivate(self.process_id, self.tenure, self.version):
            self._leave_stage(Ending.PASSIVATED)
            return
        try:
            owners = await journal.owners([self.process_id])
        except Unreachable as error:
            self._look_later(error)
            return
        if any(view.owner_claim == self.tenure.claim for view in owners):
            self.wake()
        else:
            # Nothing else would tell an actor that waits for days.
            log.warning("passivation_refused", process_id=str(self.process_id))
            self._leave_stage(Ending.FENCED)

    def _leave_stage(self, ending: Ending) -> None:
        self._has_left = True
        self._let_go()
        self._workplace.listener.left(self, ending)
        self.stop()

    def _let_go(self) -> None:
        self.settled.open()
        for alarm in (self._idle, self._retry, self._record):
            if alarm is not None:
                alarm.cancel()
        if self._timers is not None:
            self._timers.stop()
        self.children.end()


class PoisonError(Exception):
    """Not even the failure of a process could be stored."""
