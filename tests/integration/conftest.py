"""What integration tests share: the stores' database, and a hand that arranges rows."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from understudy.domain.identity import TENANT, shard_of
from understudy.persistence.pool import Database


class Hand:
    """A connection of the superuser: JSON is text, and anything may be written."""

    def __init__(self, connection: Any, url: str) -> None:
        self.connection = connection
        self.url = url

    async def insert(self, table: str, **columns: Any) -> None:
        places = ", ".join(f"${number}" for number in range(1, len(columns) + 1))
        await self.connection.execute(
            f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})", *columns.values()
        )

    async def process(self, process_id: UUID | None = None, **columns: Any) -> UUID:
        chosen = process_id or uuid4()
        given: dict[str, Any] = {
            "definition_name": "order",
            "definition_digest": b"digest",
            "request_hash": b"hash",
            "first_status": 201,
            "state_schema": 1,
        }
        await self.insert("process", process_id=chosen, tenant_id=TENANT, shard=shard_of(chosen), **(given | columns))
        return chosen

    async def session(self, state: str = "alive", **columns: Any) -> UUID:
        session_id = uuid4()
        await self.insert("node_session", session_id=session_id, node="n", state=state, max_schema=1, **columns)
        return session_id

    async def value(self, query: str, *arguments: Any) -> Any:
        return await self.connection.fetchval(query, *arguments)

    async def rows(self, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self.connection.fetch(query, *arguments)]

    async def run(self, query: str, *arguments: Any) -> None:
        await self.connection.execute(query, *arguments)


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[Database]:
    """The service's pool on a database of this test's own."""
    opened = Database(postgres_url)
    await opened.start()
    yield opened
    await opened.stop()


@pytest.fixture
async def hand(postgres_url: str) -> AsyncIterator[Hand]:
    connection = await asyncpg.connect(postgres_url)
    yield Hand(connection, postgres_url)
    await connection.close()
