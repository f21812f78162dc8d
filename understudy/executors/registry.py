"""Which executor performs which type of activity."""

from collections.abc import Awaitable, Callable, Mapping

from understudy.domain.expression.errors import ExpressionError
from understudy.domain.ports import Assignment, ExecutorResult
from understudy.executors.decision import choose
from understudy.executors.event_trigger import trigger
from understudy.executors.manual import ask
from understudy.executors.outcome import expression_failed
from understudy.executors.transformation import transform
from understudy.executors.wait import open_wait

InlineExecutor = Callable[[Assignment], ExecutorResult]
EffectExecutor = Callable[[Assignment], Awaitable[ExecutorResult]]

INLINE: Mapping[str, InlineExecutor] = {
    "decision": choose,
    "event": trigger,
    "manual": ask,
    "transform": transform,
    "wait": open_wait,
}


class Registry:
    """The executors of a node: the pure ones, and those with an effect by type."""

    def __init__(self, effects: Mapping[str, EffectExecutor]) -> None:
        self._effects = effects

    def is_inline(self, activity_type: str) -> bool:
        """Whether activities of this type are pure functions of committed state."""
        return activity_type in INLINE

    def perform_inline(self, assignment: Assignment) -> ExecutorResult:
        """Perform a pure activity; an expression without a value fails the attempt."""
        try:
            return INLINE[assignment.step.type](assignment)
        except ExpressionError as error:
            return expression_failed(assignment, error)

    async def perform(self, assignment: Assignment) -> ExecutorResult:
        """Perform an activity that has an effect."""
        return await self._effects[assignment.step.type](assignment)
