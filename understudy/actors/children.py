"""The attempts in flight of one process, each in a child actor."""

from collections.abc import Sequence
from uuid import UUID

from understudy.actors.child import ExecutorActor, Perform
from understudy.actors.loop import AsyncActorRef
from understudy.actors.workplace import Workplace
from understudy.domain.definition import HttpActivity
from understudy.domain.effects import AnyEffect, RunExecutor
from understudy.domain.plan import Plan
from understudy.domain.ports import Assignment
from understudy.domain.state import State, scope_of
from understudy.domain.states import ActivityState


class Children:
    """At most one child for each execution; `state` is always the one that has just been committed."""

    def __init__(self, parent: AsyncActorRef, workplace: Workplace, plan: Plan) -> None:
        self._parent = parent
        self._workplace = workplace
        self._plan = plan
        self._refs: dict[UUID, AsyncActorRef] = {}
        self._is_retiring = False

    def __len__(self) -> int:
        return len(self._refs)

    def start(self, state: State, effects: Sequence[AnyEffect]) -> None:
        """Perform the effects of attempts that still run."""
        for effect in effects:
            if isinstance(effect, RunExecutor) and is_current(state, effect) and not self._may_be_left(effect.activity):
                self._abort(effect.execution_id)
                scope = scope_of(state, self._plan.steps)
                step = self._plan.steps[effect.activity]
                assignment = Assignment(effect, step, scope, self._workplace.clock.now())
                child = ExecutorActor.launch(self._workplace.stage, self._parent, self._workplace, assignment)
                self._refs[effect.execution_id] = child
                child.tell(Perform())

    def drop_finished(self, state: State) -> None:
        """Abort or forget the children whose attempt is over."""
        running = {found.execution_id for found in state.open_executions() if found.state is ActivityState.RUNNING}
        for execution_id in self._refs.keys() - running:
            self._abort(execution_id)

    def begin_nothing(self, state: State) -> None:
        """From now on only what has begun goes on."""
        self._is_retiring = True
        for execution in state.open_executions():
            ref = self._refs.get(execution.execution_id)
            child = None if ref is None else ref.actor
            if isinstance(child, ExecutorActor) and not child.has_begun and self._may_be_left(execution.activity):
                self._abort(execution.execution_id)

    def end(self) -> None:
        """Abort all."""
        for execution_id in list(self._refs):
            self._abort(execution_id)

    def _abort(self, execution_id: UUID) -> None:
        ref = self._refs.pop(execution_id, None)
        child = None if ref is None else ref.actor
        if isinstance(child, ExecutorActor):
            child.abort()

    def _may_be_left(self, activity: str) -> bool:
        """Whether an effect that has not begun is left to the next owner, who sends the very same request.

        It cannot know that nothing was sent: what may be sent at most once would be parked, so that goes out first.
        """
        step = self._plan.steps[activity].activity
        return self._is_retiring and not (isinstance(step, HttpActivity) and step.on_unknown == "park")


def is_current(state: State, effect: RunExecutor) -> bool:
    """Whether the attempt still runs: what followed in the same stretch may have ended it."""
    execution = state.executions[effect.activity]
    return (execution.execution_id, execution.attempt, execution.state) == (
        effect.execution_id,
        effect.attempt,
        ActivityState.RUNNING,
    )
