"""Opens a wait: for a length of time, until a point in time, or for an event."""

from datetime import UTC, datetime, timedelta

from understudy.domain.definition import WaitActivity
from understudy.domain.duration import DurationError, parse_duration
from understudy.domain.expression.budget import Budget
from understudy.domain.instant import InstantError, parse_instant
from understudy.domain.ports import Assignment, ExecutorResult
from understudy.domain.state import AwaitedEvent, Waiting
from understudy.executors.outcome import input_refused, waits


def open_wait(assignment: Assignment) -> ExecutorResult:
    """Work out what is waited for and until when."""
    activity, step, now = assignment.step.activity, assignment.step, assignment.now
    assert isinstance(activity, WaitActivity)
    budget = Budget()
    if activity.event is not None:
        key = None if activity.event.key is None else str(step.templates["event.key"].render(assignment.scope, budget))
        due_at = None if step.timeout is None else now + step.timeout
        return waits(assignment, Waiting("event", now, due_at, AwaitedEvent(activity.event.type, key)))
    field = "for" if activity.for_ is not None else "until"
    text = str(step.templates[field].render(assignment.scope, budget))
    try:
        due_at = now + parse_duration(text) if field == "for" else parse_instant(text).astimezone(UTC)
    except (DurationError, InstantError, OverflowError) as error:
        return input_refused(assignment, f"`{field}` is {text!r:.100}: {error}")
    return waits(assignment, Waiting("timer", now, min(due_at, _FURTHEST)))


_FURTHEST = datetime(9999, 1, 1, tzinfo=UTC) - timedelta(days=1)
"""PostgreSQL and Python agree on times up to here."""
