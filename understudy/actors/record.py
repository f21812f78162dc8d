"""What a commit looks like in the log: what began and what ended, with ids, never a value of a process."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

import structlog

from understudy.domain.facts import ActivityFact, AnyFact, ProcessContinued, ProcessWaiting

log = structlog.get_logger("process")


def log_facts(process_id: UUID, facts: Iterable[AnyFact]) -> None:
    """Log facts that have just become durable, under the names they have in the history."""
    for fact in facts:
        write = log.debug if isinstance(fact, ProcessWaiting | ProcessContinued) else log.info
        write(str(fact.__struct_config__.tag), process_id=str(process_id), **_details(fact))


def _details(fact: AnyFact) -> dict[str, Any]:
    details: dict[str, Any] = {}
    if isinstance(fact, ActivityFact):
        details = {"activity": fact.activity, "attempt": fact.attempt}
    failure = getattr(fact, "failure", None)
    if failure is not None:
        details["error"] = failure.type
    return details
