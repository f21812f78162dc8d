"""Chooses where the process goes on: the first case that is true."""

from understudy.domain.definition import DecisionActivity
from understudy.domain.expression.budget import Budget
from understudy.domain.failure import Category, Failure
from understudy.domain.ports import Assignment, ExecutorResult
from understudy.executors.outcome import failed, input_refused, succeeded


def choose(assignment: Assignment) -> ExecutorResult:
    """Evaluate the cases in order, under one budget."""
    activity = assignment.step.activity
    assert isinstance(activity, DecisionActivity)
    budget = Budget()
    for number, condition in enumerate(assignment.step.conditions):
        value = condition.evaluate(assignment.scope, budget)
        if not isinstance(value, bool):
            return input_refused(
                assignment, f"case {number}: `when` must be true or false, {condition.source} is neither"
            )
        if value:
            target = activity.cases[number].next
            return succeeded(assignment, {"case": number, "next": target}, target)
    if activity.otherwise is None:
        message = f"no case of {activity.id} is true and it has no `otherwise`"
        return failed(assignment, Failure("decision.no_match", Category.EXECUTION, message))
    return succeeded(assignment, {"case": None, "next": activity.otherwise}, activity.otherwise)
