"""External events and the waits for them in PostgreSQL (protocol.md, section 2)."""

from datetime import timedelta
from uuid import UUID

from understudy.domain.errors import Unreachable
from understudy.domain.identity import TENANT
from understudy.domain.state import AwaitedEvent
from understudy.domain.views import NewEvent, Submitted
from understudy.persistence.pool import Database
from understudy.persistence.rows import json_or_null
from understudy.persistence.statements import Statements, errors_named
from understudy.persistence.submission import submitted

KEEPING = timedelta(hours=24)
_ACCEPTED = 202
_ATTEMPTS = 3


class Events:
    """Implements the port of the same name.

    Whoever begins to wait must call `take` once its subscription is committed, and again when a process is taken over:
    the owner may have died between the two.
    """

    def __init__(self, database: Database, *, keeping: timedelta = KEEPING) -> None:
        self._statements = Statements(database)
        self._keeping = keeping

    async def accept(self, event: NewEvent) -> Submitted:
        """Store an event and remember its id; a call without a `request_hash` never conflicts.

        Raises:
            Invalid: the event cannot be stored.
        """
        with errors_named():
            content = json_or_null(event.data)
        for _ in range(_ATTEMPTS):
            row = await self._statements.row(
                "accept_event",
                TENANT,
                event.event_id,
                event.process_id,
                event.type,
                event.key,
                content,
                event.request_hash,
                self._keeping,
            )
            if row is not None:
                return submitted(row["is_new"], event.request_hash, row["request_hash"], _ACCEPTED)
        raise Unreachable("an event with this id is being stored and forgotten all the time")

    async def deliver(self, event_id: UUID) -> list[UUID]:
        """Hand an event to every execution that waits for it at this moment; the processes reached.

        Only the first call looks for anybody.
        """
        return await self._statements.column("deliver_event", TENANT, event_id)

    async def take(self, process_id: UUID, execution_id: UUID, awaited: AwaitedEvent) -> bool:
        """Hand the oldest kept event that matches to a wait that has just been committed."""
        taken: bool = await self._statements.value(
            "take_event", TENANT, process_id, execution_id, awaited.type, awaited.key
        )
        return taken

    async def undelivered(self, limit: int) -> list[UUID]:
        """Events that were stored but not yet handed out, oldest first."""
        return await self._statements.column("undelivered_events", TENANT, limit)

    async def expire(self, limit: int) -> int:
        """Forget events past their keeping time; how many."""
        count: int = await self._statements.value("expire_events", TENANT, limit)
        return count
