"""What can have happened to a process: the rows of its history, in order, never taken back.

`origin` is the state before, the class says the state after. A fact and its history row convert both ways, so
that a recorded history folds to the state it came from.
"""

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from msgspec import Struct, convert, to_builtins

from understudy.domain.failure import Failure
from understudy.domain.state import Waiting
from understudy.domain.states import ActivityState, ProcessState


class Fact(Struct, frozen=True, tag_field="type"):
    """The part that all facts have."""

    target: ClassVar[str | None] = None
    own: ClassVar[tuple[str, ...]] = ()

    at: datetime
    origin: str | None

    def payload(self) -> dict[str, Any]:
        """The fields that only this kind of fact has: the `data` of its history row."""
        return {name: to_builtins(getattr(self, name), builtin_types=(datetime,)) for name in self.own}


class ActivityFact(Fact, frozen=True):
    """A fact about one execution."""

    activity: str
    execution_id: UUID
    attempt: int


class ProcessStarted(Fact, frozen=True, tag="process.started"):
    """The process was begun by its first owner."""

    target = ProcessState.IN_PROGRESS
    own = ("deadline_at",)
    deadline_at: datetime | None = None


class ProcessWaiting(Fact, frozen=True, tag="process.waiting"):
    """Nothing runs and at least one activity waits."""

    target = ProcessState.WAITING


class ProcessContinued(Fact, frozen=True, tag="process.continued"):
    """What the process waited for has come."""

    target = ProcessState.IN_PROGRESS


class ProcessCompleted(Fact, frozen=True, tag="process.completed"):
    """The process reached its end."""

    target = ProcessState.COMPLETED
    own = ("output",)
    output: Any = None


class ProcessFailed(Fact, frozen=True, tag="process.failed"):
    """The process ended with an error that nothing caught."""

    target = ProcessState.FAILED
    own = ("failure",)
    failure: Failure


class ProcessCancelled(Fact, frozen=True, tag="process.cancelled"):
    """Somebody cancelled the process."""

    target = ProcessState.CANCELLED
    own = ("reason",)
    reason: str | None = None


class ActivityStarted(ActivityFact, frozen=True, tag="activity.started"):
    """An attempt begins; the first one of a visit opens the execution."""

    target = ActivityState.RUNNING
    own = ("activity_type", "visit", "generation", "deadline_at")
    activity_type: str
    visit: int
    generation: int = 0
    deadline_at: datetime | None = None


class ActivityRedispatched(ActivityFact, frozen=True, tag="activity.redispatched"):
    """A new owner found the attempt in flight and repeats it under the same key: its outcome is unknown."""

    target = ActivityState.RUNNING


class ActivityWaiting(ActivityFact, frozen=True, tag="activity.waiting"):
    """The execution waits for a person, a time, an event or an operator."""

    target = ActivityState.WAITING
    own = ("waiting", "failure")
    waiting: Waiting
    failure: Failure | None = None


class ActivityRetryScheduled(ActivityFact, frozen=True, tag="activity.retry_scheduled"):
    """An attempt failed and another one is due at `next_attempt_at`."""

    target = ActivityState.PENDING
    own = ("failure", "next_attempt_at", "is_unknown")
    failure: Failure
    next_attempt_at: datetime
    is_unknown: bool = False


class ActivityCompleted(ActivityFact, frozen=True, tag="activity.completed"):
    """The execution ended with a result."""

    target = ActivityState.COMPLETED
    own = ("output",)
    output: Any = None


class ActivityFailed(ActivityFact, frozen=True, tag="activity.failed"):
    """The execution ended with an error."""

    target = ActivityState.FAILED
    own = ("failure",)
    failure: Failure


class EventReceived(ActivityFact, frozen=True, tag="event.received"):
    """An external event reached the execution that waited for it."""

    own = ("event_id", "event", "key")
    event_id: UUID
    event: str
    key: str | None = None


AnyFact = (
    ProcessStarted
    | ProcessWaiting
    | ProcessContinued
    | ProcessCompleted
    | ProcessFailed
    | ProcessCancelled
    | ActivityStarted
    | ActivityRedispatched
    | ActivityWaiting
    | ActivityRetryScheduled
    | ActivityCompleted
    | ActivityFailed
    | EventReceived
)


class HistoryRow(Struct, frozen=True):
    """A fact as it stands in the history, without what the commit adds (seq, node, epoch)."""

    type: str
    at: datetime
    origin: str | None
    target: str | None
    activity: str | None
    execution_id: UUID | None
    attempt: int | None
    data: dict[str, Any]


def row_of(fact: AnyFact) -> HistoryRow:
    """The history row of a fact."""
    kind = str(fact.__struct_config__.tag)
    if isinstance(fact, ActivityFact):
        return HistoryRow(
            kind, fact.at, fact.origin, fact.target, fact.activity, fact.execution_id, fact.attempt, fact.payload()
        )
    return HistoryRow(kind, fact.at, fact.origin, fact.target, None, None, None, fact.payload())


def fact_of(row: HistoryRow) -> AnyFact:
    """The fact that a history row records.

    Raises:
        msgspec.ValidationError: the row is of a kind or shape that this version does not know.
    """
    fields: dict[str, Any] = {"type": row.type, "at": row.at, "origin": row.origin, **row.data}
    if row.activity is not None:
        fields |= {"activity": row.activity, "execution_id": row.execution_id, "attempt": row.attempt}
    fact: AnyFact = convert(fields, AnyFact)
    return fact
