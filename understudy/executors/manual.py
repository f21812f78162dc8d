"""Asks a person: the activity waits for an answer through the API."""

from understudy.domain.definition import ManualActivity
from understudy.domain.expression.budget import Budget
from understudy.domain.ports import Assignment, ExecutorResult
from understudy.domain.state import Waiting
from understudy.executors.outcome import waits


def ask(assignment: Assignment) -> ExecutorResult:
    """Render what the person is shown, and wait."""
    activity, step = assignment.step.activity, assignment.step
    assert isinstance(activity, ManualActivity)
    budget = Budget()
    title, instructions = (
        str(step.templates[field].render(assignment.scope, budget)) if field in step.templates else None
        for field in ("title", "instructions")
    )
    due_at = None if step.timeout is None else assignment.now + step.timeout
    waiting = Waiting("manual", assignment.now, due_at, None, title, instructions, activity.assignee)
    return waits(assignment, waiting)
