"""The gateway's side of the inbox in PostgreSQL."""

from uuid import UUID

from understudy.domain.errors import Unreachable
from understudy.domain.identity import TENANT
from understudy.domain.messages import InboxMessage
from understudy.domain.views import Submitted
from understudy.persistence.pool import Database
from understudy.persistence.rows import inbox_row_of
from understudy.persistence.statements import Statements, errors_named
from understudy.persistence.submission import submitted

_ATTEMPTS = 3


class Inbox:
    """Implements the port of the same name; whether the process exists is the caller's question."""

    def __init__(self, database: Database) -> None:
        self._statements = Statements(database)

    async def submit(
        self, process_id: UUID, message_id: UUID, message: InboxMessage, request_hash: bytes, first_status: int = 202
    ) -> Submitted:
        """Insert an inbox row.

        Raises:
            Invalid: the message cannot be stored.
        """
        with errors_named():
            kind, body = inbox_row_of(message)
        for _ in range(_ATTEMPTS):
            row = await self._statements.row(
                "submit_message", process_id, message_id, TENANT, kind, body, request_hash, first_status
            )
            if row is not None:
                kept = (row["request_hash"], row["first_status"], row["outcome"])
                return submitted(row["is_new"], request_hash, *kept)
        raise Unreachable("a message with this id is being stored and deleted all the time")

    async def recall(self, process_id: UUID, message_id: UUID) -> Submitted | None:
        """What was handed in under this id before, as a replay; comparing hashes is the caller's part."""
        row = await self._statements.row("recall_message", process_id, message_id)
        if row is None:
            return None
        return submitted(row["is_new"], None, row["request_hash"], row["first_status"], row["outcome"])
