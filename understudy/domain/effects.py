"""What should be done after a decision: values, performed only when the decision is committed."""

from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import Struct


class RunExecutor(Struct, frozen=True):
    """Perform an attempt of an activity; a repeat sends the same idempotency key, and not before a given time."""

    activity: str
    execution_id: UUID
    attempt: int
    idempotency_key: UUID
    not_before: datetime | None = None


class AbortExecutor(Struct, frozen=True):
    """Stop an attempt in flight; whatever it still yields is ignored."""

    execution_id: UUID


class PublishEvent(Struct, frozen=True):
    """Announce an event: an outbox row of the same commit."""

    event_id: UUID
    type: str
    key: str | None
    data: Any


AnyEffect = RunExecutor | AbortExecutor | PublishEvent
