"""Events on their way to the outside, in PostgreSQL."""

from collections.abc import Sequence

from understudy.domain.identity import TENANT
from understudy.domain.views import OutboxRow
from understudy.persistence.pool import Database, Record
from understudy.persistence.rows import value_of
from understudy.persistence.statements import Statements


class Outbox:
    """Implements the port of the same name."""

    def __init__(self, database: Database) -> None:
        self._statements = Statements(database)

    async def pending(self, limit: int) -> list[OutboxRow]:
        """The rows of the processes that have waited for longest, each process from its first row on."""
        return [_outbox_row(row) for row in await self._statements.rows("pending_outbox", TENANT, limit)]

    async def delete(self, rows: Sequence[OutboxRow]) -> None:
        """Forget announced rows."""
        if rows:
            process_ids, versions, indexes = zip(*((row.process_id, row.version, row.idx) for row in rows), strict=True)
            await self._statements.rows("delete_outbox", process_ids, versions, indexes)


def _outbox_row(row: Record) -> OutboxRow:
    return OutboxRow(
        process_id=row["process_id"],
        version=row["version"],
        idx=row["idx"],
        event_id=row["event_id"],
        type=row["topic"],
        key=row["key"],
        data=value_of(row["data"]),
        created_at=row["created_at"],
    )
