"""The safety nets in PostgreSQL: what should be poked although no message said so."""

from datetime import timedelta
from uuid import UUID

from understudy.domain.identity import TENANT
from understudy.domain.ports import Wait
from understudy.domain.state import STATE_SCHEMA, AwaitedEvent
from understudy.persistence.pool import Database
from understudy.persistence.statements import Statements


class Lookout:
    """Implements the port of the same name."""

    def __init__(self, database: Database, *, schema_max: int = STATE_SCHEMA) -> None:
        self._statements = Statements(database)
        self._schema_max = schema_max

    async def ready(self, limit: int) -> list[UUID]:
        """Processes that nobody owns and that have work due, oldest first, those that failed their claimants last."""
        return await self._statements.column("ready_processes", self._schema_max, limit)

    async def pending(self, older_than: timedelta, limit: int) -> list[UUID]:
        """Claimable or owned processes with an inbox row that has waited for `older_than`, oldest row first."""
        return await self._statements.column("pending_processes", older_than, limit)

    async def due(self, limit: int) -> list[UUID]:
        """Processes that nobody alive owns and that have a timer due, most overdue first."""
        return await self._statements.column("due_processes", self._schema_max, limit)

    async def unmet(self, limit: int) -> list[Wait]:
        """Waits for which a kept event is there."""
        return [
            Wait(row["process_id"], row["execution_id"], AwaitedEvent(row["type"], row["key"]))
            for row in await self._statements.rows("unmet_waits", TENANT, limit)
        ]

    async def reject_orphans(self, limit: int) -> int:
        """Mark inbox rows of ended processes as rejected; how many."""
        count: int = await self._statements.value("reject_orphans", limit)
        return count
