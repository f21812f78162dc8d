"""Announces an event: it becomes a row of the outbox in the commit that completes the activity."""

from understudy.domain.definition import EventActivity
from understudy.domain.effects import PublishEvent
from understudy.domain.expression.budget import Budget
from understudy.domain.ports import Assignment, ExecutorResult
from understudy.executors.outcome import succeeded


def trigger(assignment: Assignment) -> ExecutorResult:
    """Render the event; its id is that of the execution, so that a repeat announces the same event."""
    activity, templates = assignment.step.activity, assignment.step.templates
    assert isinstance(activity, EventActivity)
    budget = Budget()
    data = templates["data"].render(assignment.scope, budget) if "data" in templates else None
    key = str(templates["key"].render(assignment.scope, budget)) if "key" in templates else None
    event_id = assignment.effect.execution_id
    publish = PublishEvent(event_id, activity.event, key, data)
    return succeeded(assignment, {"event_id": str(event_id)}, publish=publish)
