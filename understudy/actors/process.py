"""The actor of one live process: decide, commit, adopt, perform.

It handles one message at a time. Nothing it decides is believed before the journal has it: memory follows the journal,
never leads it. Effects start after the commit that announced them; what a child reports is the next message. An actor
whose commit is refused by the fence stops at once and touches nothing: somebody else owns the process.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import structlog
from msgspec import Struct
from msgspec.structs import replace

from understudy.actors.child import Arm, ExecutorActor, Perform, TimerActor
from understudy.actors.loop import AsyncActor, AsyncActorRef
from understudy.actors.stretch import Stretch
from understudy.actors.workplace import Ending, Workplace
from understudy.domain.effects import AnyEffect, RunExecutor
from understudy.domain.errors import Unreachable
from understudy.domain.failure import Category, Failure
from understudy.domain.messages import AnyMessage, Begin, Delivery, ExecutorFailed, Faulted
from understudy.domain.plan import Plan
from understudy.domain.ports import Alarm, Assignment, Change, Claimed, Consumed, Receipt, Verdict
from understudy.domain.process import recover
from understudy.domain.state import State, scope_of, subscriptions_of, timers_of
from understudy.domain.states import ProcessState

log = structlog.get_logger("actor")

RETRY_SECONDS = 1.0


class Resume(Struct, frozen=True):
    """Take up a process that has just been claimed, with what its inbox held."""

    deliveries: tuple[Delivery, ...]


class Wake(Struct, frozen=True):
    """Look at the inbox."""


class Idle(Struct, frozen=True):
    """Nothing has happened for a while."""


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
        self.children: dict[UUID, AsyncActorRef] = {}
        self._workplace = workplace
        self._plan = plan
        self._timers: AsyncActorRef | None = None
        self._armed: tuple[tuple[datetime, str], ...] = ()
        self._idle: Alarm | None = None
        self._has_left = False

    @property
    def process_id(self) -> UUID:
        """The process this actor is."""
        return self.state.process_id

    async def on_receive(self, message: Resume | Wake | Idle | AnyMessage) -> None:
        """Handle one message, unless the process is not this actor's any more."""
        if self._has_left:
            return
        try:
            if isinstance(message, Resume):
                await self._resume(message.deliveries)
            elif isinstance(message, Wake):
                found = await self._workplace.journal.deliveries([self.process_id])
                await self._take_in(found.get(self.process_id, ()))
            elif isinstance(message, Idle):
                await self._passivate()
            else:
                await self._react(message)
        except Unreachable:
            # Only reads raise it, a commit waits for its outcome: look again later, nothing has changed.
            self._workplace.clock.call_later(RETRY_SECONDS, self._tell_wake)
        self._watch_idleness()

    async def on_stop(self) -> None:
        """End the children with the parent: pykka leaves that to us."""
        self._end_children()

    async def on_failure(self, error: BaseException) -> None:
        """A bug, or a server that is gone for good: let the node decide."""
        self._end_children()
        self._workplace.listener.left(self, Ending.FAILED, error)

    # What arrives

    async def _resume(self, deliveries: Sequence[Delivery]) -> None:
        now = self._workplace.clock.now()
        stretch = self._stretch()
        stretch.add(recover(self._plan, self.state, now))
        for delivery in deliveries:
            self._deliver(stretch, delivery)
        if stretch.state.state is ProcessState.CREATED:
            stretch.feed(Begin())
        waits = subscriptions_of(self.state)
        await self._commit(stretch)
        self._arm()
        for execution_id in waits.keys() & subscriptions_of(self.state).keys():
            self._take(execution_id)

    async def _take_in(self, deliveries: Sequence[Delivery]) -> None:
        stretch = self._stretch()
        for delivery in deliveries:
            self._deliver(stretch, delivery)
        await self._commit(stretch)

    def _deliver(self, stretch: Stretch, delivery: Delivery) -> None:
        outcome = stretch.feed(delivery.message)
        stretch.consume(Consumed(delivery.message_id, outcome))

    async def _react(self, message: AnyMessage) -> None:
        if isinstance(message, ExecutorFailed):
            message = replace(message, jitter=self._workplace.clock.fraction())
        stretch = self._stretch()
        stretch.feed(message)
        await self._commit(stretch)

    def _stretch(self) -> Stretch:
        return Stretch(self._plan, self.state, self._workplace)

    # The way of every change

    async def _commit(self, stretch: Stretch) -> None:
        while True:
            rest = stretch.run()
            change = stretch.change(self.tenure, self.version)
            if change is not None:
                receipt = await self._workplace.journal.commit(change)
                if receipt.verdict is Verdict.POISON:
                    await self._give_in(stretch, receipt)
                    return
                if not self._adopt(change, receipt):
                    return
            self._start(stretch.effects)
            if not rest:
                return
            stretch = self._stretch()
            for effect in rest:
                stretch.queue(effect)

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
        self.version = change.version + 1
        self.claim_fails = 0
        self.last_commit_at = receipt.db_now
        self._workplace.listener.committed(change)
        if self.state.state.is_terminal:
            self._leave_stage(Ending.ENDED)
            return False
        self._drop_finished()
        self._arm()
        for execution_id in subscriptions_of(self.state).keys() - subscriptions_of(before).keys():
            self._take(execution_id)
        return True

    async def _give_in(self, stretch: Stretch, receipt: Receipt) -> None:
        """What the stretch holds cannot be stored: the process fails with the reason, its neighbours never notice."""
        last = self._stretch()
        reason = receipt.reason or "it cannot be stored"
        last.feed(Faulted(Failure("limit.storage", Category.EXECUTION, reason)))
        for consumed in stretch.consumed:
            last.consume(consumed)
        change = last.change(self.tenure, self.version)
        assert change is not None
        receipt = await self._workplace.journal.commit(change)
        if receipt.verdict is Verdict.POISON:
            raise PoisonError(reason)
        self._adopt(change, receipt)

    # Effects

    def _start(self, effects: Sequence[AnyEffect]) -> None:
        for effect in effects:
            if isinstance(effect, RunExecutor) and self._is_current(effect):
                scope = scope_of(self.state, self._plan.steps)
                step = self._plan.steps[effect.activity]
                assignment = Assignment(effect, step, scope, self._workplace.clock.now())
                child = ExecutorActor.launch(self._workplace.stage, self.actor_ref, self._workplace, assignment)
                self.children[effect.execution_id] = child
                child.tell(Perform())

    def _is_current(self, effect: RunExecutor) -> bool:
        """Whether the attempt still runs: what follows in the same stretch may have ended it."""
        execution = self.state.executions[effect.activity]
        return execution.execution_id == effect.execution_id and execution.attempt == effect.attempt

    def _drop_finished(self) -> None:
        """Abort or forget the children whose attempt is over."""
        running = {found.execution_id for found in self.state.open_executions() if found.state == "RUNNING"}
        for execution_id in self.children.keys() - running:
            self.children.pop(execution_id).stop()

    def _arm(self) -> None:
        timers = tuple((timer.due_at, timer.timer_id) for timer in timers_of(self.state).values())
        if timers == self._armed:
            return
        self._armed = timers
        if self._timers is None:
            self._timers = TimerActor.launch(self._workplace.stage, self.actor_ref, self._workplace)
        self._timers.tell(Arm(timers))

    def _take(self, execution_id: UUID) -> None:
        awaited = subscriptions_of(self.state).get(execution_id)
        if awaited is not None:
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
                self._tell_wake()
            return

    # Leaving

    def _watch_idleness(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if self._has_left or self.children or self.state.is_ready:
            return
        idle = self._workplace.idle_seconds
        soonest = min((due_at for due_at, _ in self._armed), default=None)
        if soonest is not None and (soonest - self._workplace.clock.now()).total_seconds() < idle:
            return
        self._idle = self._workplace.clock.call_later(idle, self._tell_idle)

    def _tell_idle(self) -> None:
        if not self.actor_stopped.is_set():
            self.actor_ref.tell(Idle())

    def _tell_wake(self) -> None:
        if not self.actor_stopped.is_set():
            self.actor_ref.tell(Wake())

    async def _passivate(self) -> None:
        if self.children or self.state.is_ready:
            return
        if await self._workplace.journal.passivate(self.process_id, self.tenure, self.version):
            self._leave_stage(Ending.PASSIVATED)

    def _leave_stage(self, ending: Ending) -> None:
        self._has_left = True
        self._end_children()
        self._workplace.listener.left(self, ending)
        self.stop()

    def _end_children(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        for child in self.children.values():
            child.stop()
        self.children.clear()
        if self._timers is not None:
            self._timers.stop()


class PoisonError(Exception):
    """Not even the failure of a process could be stored."""
