"""Idempotency keys of calls that make neither a process nor an inbox row, in PostgreSQL."""

from datetime import timedelta

from understudy.domain.identity import TENANT
from understudy.domain.stores import Retained
from understudy.persistence.pool import Database
from understudy.persistence.statements import Statements

KEEPING = timedelta(hours=24)


class Keys:
    """Implements the port of the same name."""

    def __init__(self, database: Database, *, keeping: timedelta = KEEPING) -> None:
        self._statements = Statements(database)
        self._keeping = keeping

    async def recall(self, scope: str, key: str) -> Retained | None:
        """The call that was answered under this key."""
        row = await self._statements.row("recall_key", TENANT, scope, key, self._keeping)
        return None if row is None else Retained(row["request_hash"], row["first_status"], row["resource"])

    async def remember(self, scope: str, key: str, call: Retained) -> Retained:
        """Keep a call under a key; the one that is kept, which is the first."""
        row = await self._statements.row(
            "remember_key", TENANT, scope, key, call.request_hash, call.first_status, call.resource, self._keeping
        )
        assert row is not None, "the row was inserted or found"
        return Retained(row["request_hash"], row["first_status"], row["resource"])
