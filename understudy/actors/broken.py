"""An executor that raised instead of answering: a bug, which must cost one attempt and never a process its driver."""

from understudy.domain.effects import RunExecutor
from understudy.domain.failure import Category, Failure
from understudy.domain.messages import ExecutorFailed


def broken(effect: RunExecutor, error: BaseException, *, is_unknown: bool) -> ExecutorFailed:
    """The attempt's failure; it names the kind of error only, whose message may repeat values of the process."""
    failure = Failure("executor", Category.EXECUTION, f"the executor broke: {type(error).__name__}")
    return ExecutorFailed(effect.activity, effect.execution_id, effect.attempt, failure, is_unknown=is_unknown)
