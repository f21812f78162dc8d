"""The three ways in which an attempt ends, addressed to the execution it belongs to."""

from typing import Any

from understudy.domain.effects import PublishEvent
from understudy.domain.failure import Category, Failure
from understudy.domain.messages import ExecutorFailed, ExecutorSucceeded, ExecutorWaits
from understudy.domain.ports import Assignment
from understudy.domain.state import Waiting


def succeeded(
    assignment: Assignment, output: Any, target: str | None = None, publish: PublishEvent | None = None
) -> ExecutorSucceeded:
    """The attempt has a result."""
    effect = assignment.effect
    return ExecutorSucceeded(effect.activity, effect.execution_id, effect.attempt, output, target, publish)


def waits(assignment: Assignment, waiting: Waiting) -> ExecutorWaits:
    """The attempt opened a wait."""
    effect = assignment.effect
    return ExecutorWaits(effect.activity, effect.execution_id, effect.attempt, waiting)


def failed(
    assignment: Assignment, failure: Failure, *, retry_after: float | None = None, is_unknown: bool = False
) -> ExecutorFailed:
    """The attempt has an error."""
    effect = assignment.effect
    return ExecutorFailed(
        effect.activity, effect.execution_id, effect.attempt, failure, retry_after=retry_after, is_unknown=is_unknown
    )


def expression_failed(assignment: Assignment, error: Exception) -> ExecutorFailed:
    """A template or an expression has no value."""
    return failed(assignment, Failure("expression", Category.VALIDATION, str(error)))


def input_refused(assignment: Assignment, message: str) -> ExecutorFailed:
    """A template has a value, but not one that fits its place."""
    return failed(assignment, Failure("input", Category.VALIDATION, message))
