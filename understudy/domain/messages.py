"""What can arrive at a process: from its children, its timers and its inbox."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from msgspec import Struct

from understudy.domain.effects import PublishEvent
from understudy.domain.failure import Failure
from understudy.domain.state import Waiting


class Begin(Struct, frozen=True, tag_field="kind", tag="begin"):
    """The process was found in state CREATED."""


class ExecutorSucceeded(Struct, frozen=True, tag_field="kind", tag="executor.succeeded"):
    """An executor has a result; `next` is where a decision goes, `publish` what an event trigger announces."""

    activity: str
    execution_id: UUID
    attempt: int
    output: Any
    next: str | None = None
    publish: PublishEvent | None = None


class ExecutorFailed(Struct, frozen=True, tag_field="kind", tag="executor.failed"):
    """An executor has an error. `jitter` is a draw from [0, 1), `retry_after` is in seconds."""

    activity: str
    execution_id: UUID
    attempt: int
    failure: Failure
    jitter: float = 1.0
    retry_after: float | None = None
    is_unknown: bool = False


class ExecutorWaits(Struct, frozen=True, tag_field="kind", tag="executor.waits"):
    """An executor opened a wait."""

    activity: str
    execution_id: UUID
    attempt: int
    waiting: Waiting


class TimerDue(Struct, frozen=True, tag_field="kind", tag="timer.due"):
    """A timer may fire; the decision looks at the time again."""

    timer_id: str


class EventArrived(Struct, frozen=True, tag_field="kind", tag="event"):
    """An external event was delivered to an execution."""

    execution_id: UUID
    event_id: UUID
    type: str
    key: str | None = None
    data: Any = None


class Answered(Struct, frozen=True, tag_field="kind", tag="answer"):
    """A person answered a manual activity."""

    activity: str
    execution_id: UUID
    outcome: Literal["complete", "fail"]
    output: Any = None
    failure: Failure | None = None
    by: str | None = None


class CancelRequested(Struct, frozen=True, tag_field="kind", tag="cancel"):
    """Somebody wants the process to end now."""

    reason: str | None = None
    by: str | None = None


class Faulted(Struct, frozen=True, tag_field="kind", tag="faulted"):
    """The process cannot go on, because what it would store cannot be stored."""

    failure: Failure


InboxMessage = EventArrived | Answered | CancelRequested
"""What comes through a durable inbox row; the tag is the row's kind."""

AnyMessage = Begin | ExecutorSucceeded | ExecutorFailed | ExecutorWaits | TimerDue | Faulted | InboxMessage


class Delivery(Struct, frozen=True):
    """An unconsumed inbox row."""

    message_id: UUID
    message: InboxMessage
    created_at: datetime
