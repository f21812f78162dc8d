"""The lives of nodes in PostgreSQL (protocol.md, section 5).

A session beats on a connection of its own, which also holds the session's advisory lock: the lock goes with the socket,
so that others see a crash at once.
"""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID

from msgspec import Struct

from understudy.domain.errors import Unreachable
from understudy.domain.state import STATE_SCHEMA
from understudy.domain.views import SessionView
from understudy.persistence.pool import Connection, Database, Record
from understudy.persistence.queries import load_queries
from understudy.persistence.statements import Statements, errors_named, not_silent

IDLE_SECONDS = 5
"""After this silence the server asks whether the machine at the other end is still there."""


class Endpoint(Struct, frozen=True):
    """Where a session's node can be asked about its actors, and the word that opens it."""

    url: str
    token: str

    def __repr__(self) -> str:
        return f"Endpoint(url={self.url!r})"


class Sessions:
    """Implements the port of the same name; no call to the own connection lasts longer than `patience_seconds`.

    `endpoint`, set before `open`, is registered with the session. `on_drain` is called at every beat that finds the
    session asked to drain.
    """

    def __init__(
        self, database: Database, *, patience_seconds: float = 3.0, on_drain: Callable[[], None] | None = None
    ) -> None:
        self.endpoint: Endpoint | None = None
        self._on_drain = on_drain
        self._database = database
        self._statements = Statements(database)
        self._queries = load_queries()
        self._patience_seconds = patience_seconds
        self._session_id: UUID | None = None
        self._connection: Connection | None = None
        self._has_lock = False

    async def open(self, session_id: UUID, node: str, address: str | None) -> None:
        """Register a session and hold its advisory lock; the same call again is safe.

        Raises:
            Unreachable: the server does not answer, or another connection holds the lock of this id.
        """
        self._session_id = session_id
        url, token = (address, None) if self.endpoint is None else (self.endpoint.url, self.endpoint.token)
        await self._own("open_session", session_id, node, url, token, STATE_SCHEMA)
        if not self._has_lock:
            raise Unreachable(f"another connection holds the lock of session {session_id}")

    async def beat(self, *, lease_ok: bool) -> bool:
        """Count one heartbeat up, over a new connection if the old one has gone; false when declared dead.

        Raises:
            Unreachable: the server does not answer; the next beat tries again.
        """
        rows = await self._own("beat_session", self._session_id, lease_ok)
        if rows and rows[0]["state"] == "draining" and self._on_drain is not None:
            self._on_drain()
        return bool(rows)

    async def drain(self, session_id: UUID) -> bool:
        """Ask a session to drain; false when there is none that lives."""
        return bool(await self._statements.rows("drain_session", session_id))

    async def observe(self) -> list[SessionView]:
        """All sessions that are not dead, and dead ones that still own processes, by their start."""
        return [_session(row) for row in await self._statements.rows("observe_sessions")]

    async def declare_dead(self, session_id: UUID, beat_seq: int) -> bool:
        """Declare a session dead if its count has not moved; true for the single winner."""
        return bool(await self._statements.rows("declare_dead", session_id, beat_seq))

    async def disown(self, session_id: UUID, limit: int) -> int:
        """Take up to `limit` processes away from a dead session, raising their epoch; how many."""
        count: int = await self._statements.value("disown_session", session_id, limit)
        return count

    async def close(self) -> None:
        """End this session: its row becomes dead, its lock free; safe twice and unopened.

        Raises:
            Unreachable: the server does not answer; the others will find the session dead by themselves.
        """
        session_id, self._session_id = self._session_id, None
        try:
            if session_id is not None:
                await self._statements.rows("end_session", session_id)
                await self._statements.rows("forget_sessions")
        finally:
            self._drop()

    async def _own(self, name: str, *arguments: Any) -> list[Record]:
        with errors_named():
            connection = await self._connected()
            with not_silent(connection, self._patience_seconds):
                return await connection.fetch(self._queries[name], *arguments)

    async def _connected(self) -> Connection:
        if self._connection is None or self._connection.is_closed():
            self._drop()
            async with asyncio.timeout(self._patience_seconds):
                self._connection = await self._database.connect()
        connection = self._connection
        if not self._has_lock:
            # Held by somebody means by a connection of ours that the server has not missed yet: to others this session
            # looks present, which it is. The next beat tries again.
            with not_silent(connection, self._patience_seconds):
                self._has_lock = bool(
                    await connection.fetchval(self._queries["lock_session"], self._session_id, str(IDLE_SECONDS))
                )
        return connection

    def _drop(self) -> None:
        self._has_lock = False
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()


def _session(row: Record) -> SessionView:
    return SessionView(
        session_id=row["session_id"],
        node=row["node"],
        address=row["address"],
        started_at=row["started_at"],
        beat_seq=row["beat_seq"],
        lease_ok=row["lease_ok"],
        state=row["state"],
        lock_held=row["lock_held"],
        server_started_at=row["server_started_at"],
        admin_token=row["admin_token"],
        beat_age_seconds=row["beat_age_seconds"],
    )
