"""A connection of one's own, opened when it is needed and again after it was lost."""

from typing import Any

from understudy.persistence.pool import STATEMENT_TIMEOUT_SECONDS, Connection, Database, Record
from understudy.persistence.queries import Queries
from understudy.persistence.statements import not_silent

SILENCE_SECONDS = STATEMENT_TIMEOUT_SECONDS + 5
"""How long the server may say nothing: it should have timed the statement out by then."""


class Line:
    """Runs one named statement at a time."""

    def __init__(self, database: Database, queries: Queries) -> None:
        self._database = database
        self._queries = queries
        self._connection: Connection | None = None

    async def rows(self, name: str, *arguments: Any) -> list[Record]:
        """All rows of a statement, which is a transaction of its own; asyncpg's errors pass as they are."""
        connection = self._connection
        # One plan for batches of all sizes: planning the commit takes longer than a small one.
        if connection is None or connection.is_closed():
            connection = self._connection = await self._database.connect(plan_cache_mode="force_generic_plan")
        with not_silent(connection, SILENCE_SECONDS):
            return await connection.fetch(self._queries[name], *arguments)

    def drop(self) -> None:
        """Drop the connection, and with it what it is about to do; the next statement opens another one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()
