"""Runs named statements on the pool, and turns what goes wrong into what the caller can do about it.

No wait is without end: a connection that stays silent for longer than the server's own timeouts allow is dropped, which
unlike a cancellation asks nothing of the server.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import asyncpg

from understudy.domain.errors import Invalid, Unreachable
from understudy.persistence.pool import STATEMENT_TIMEOUT_SECONDS, Connection, Database, Record
from understudy.persistence.queries import load_queries

SILENCE_SECONDS = STATEMENT_TIMEOUT_SECONDS + 5
_ATTEMPTS = 5

_UNSTORABLE = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
    UnicodeEncodeError,
)
_UNREACHABLE = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.TargetServerAttributeNotMatched,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.LockNotAvailableError,
    asyncpg.PostgresSystemError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.TransactionRollbackError,
)


class Statements:
    """The statements of `sql/queries`, run by name; each is a transaction of its own.

    Every method raises `Unreachable` when for want of a server nothing happened, or nobody knows whether it did, and
    `Invalid` when the arguments hold something that cannot be stored.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._queries = load_queries()

    async def rows(self, name: str, *arguments: Any) -> list[Record]:
        """All rows of a statement."""
        text = self._queries[name]
        with errors_named():
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    async with self._database.pool.acquire() as connection:
                        with not_silent(connection, SILENCE_SECONDS):
                            return await connection.fetch(text, *arguments)
                except asyncpg.TransactionRollbackError:
                    # The victim of a deadlock; those who won it are done by the next attempt.
                    if attempt == _ATTEMPTS:
                        raise
                except asyncpg.ReadOnlySQLTransactionError:
                    # This server was demoted; the pool must look for the one that can write.
                    await self._database.pool.expire_connections()
                    raise
        raise AssertionError("the loop returns or raises")

    async def row(self, name: str, *arguments: Any) -> Record | None:
        """The first row of a statement."""
        rows = await self.rows(name, *arguments)
        return rows[0] if rows else None

    async def value(self, name: str, *arguments: Any) -> Any:
        """The first column of the first row of a statement."""
        row = await self.row(name, *arguments)
        return None if row is None else row[0]

    async def column(self, name: str, *arguments: Any) -> list[Any]:
        """The first column of all rows of a statement."""
        return [row[0] for row in await self.rows(name, *arguments)]

    async def planned(self, name: str, *arguments: Any) -> list[Record]:
        """All rows of a statement that is planned anew for its arguments, at the price of a round trip."""
        with errors_named():
            async with self._database.pool.acquire() as connection:
                with not_silent(connection, SILENCE_SECONDS):
                    # Its first run is always planned for its arguments; a cached statement's sixth may not be.
                    statement = await cast("Any", connection).prepare(self._queries[name])
                    rows: list[Record] = await statement.fetch(*arguments)
                    return rows


@contextmanager
def errors_named() -> Iterator[None]:
    """Name asyncpg's errors after what the caller can do.

    Raises:
        Invalid: what was to be stored cannot be stored.
        Unreachable: the server does not answer, or cannot serve now.
    """
    try:
        yield
    except _UNSTORABLE as error:
        raise Invalid(f"the database cannot store this: {_reason(error)}") from error
    except _UNREACHABLE as error:
        raise Unreachable(f"PostgreSQL does not answer: {_reason(error)}") from error


@contextmanager
def not_silent(connection: Connection, seconds: float) -> Iterator[None]:
    """Drop the connection when the block lasts for longer than `seconds`; what it waits for then fails."""
    alarm = asyncio.get_running_loop().call_later(seconds, connection.terminate)
    try:
        yield
    finally:
        alarm.cancel()


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".split("\n", 1)[0]
