"""Connections to PostgreSQL: one pool for reads and inserts, and dedicated ones for who must not wait for the pool.

JSON goes through as it is: a `json` or `jsonb` parameter is the encoded bytes, a column comes back as bytes, so that
each value is encoded and decoded once, by msgspec. `None` is SQL NULL; a JSON null is `b"null"`.

Queries are never cancelled: a cancelled COMMIT may or may not have happened, and a cancel request can hang the release
of a connection. The server's own timeouts bound a statement, and the sockets notice a peer that is gone.
"""

import socket
from contextlib import AbstractAsyncContextManager
from operator import itemgetter
from typing import Any, Protocol

import asyncpg

STATEMENT_TIMEOUT_SECONDS = 30
LOCK_TIMEOUT_SECONDS = 10
PEER_TIMEOUT_SECONDS = 10

_JSONB_FORMAT = b"\x01"
"""The one version of jsonb's binary form: this byte, then the text."""


class Record(Protocol):
    """A row, by position or name of column."""

    def __getitem__(self, column: int | str) -> Any: ...


class Executor(Protocol):
    """Whatever runs statements: a connection, or the pool, which borrows one."""

    async def execute(self, query: str, *args: Any) -> str:
        """Run a statement; the server's command tag."""
        ...

    async def fetch(self, query: str, *args: Any) -> list[Record]:
        """All rows."""
        ...

    async def fetchrow(self, query: str, *args: Any) -> Record | None:
        """The first row."""
        ...

    async def fetchval(self, query: str, *args: Any) -> Any:
        """The first column of the first row."""
        ...


class Connection(Executor, Protocol):
    """What is used of an asyncpg connection, which comes without types."""

    def transaction(self) -> AbstractAsyncContextManager[None]:
        """A transaction for the length of a block."""
        ...

    async def close(self) -> None:
        """Say goodbye to the server."""
        ...

    def terminate(self) -> None:
        """Drop the connection at once."""
        ...

    def is_closed(self) -> bool:
        """Whether the connection has gone."""
        ...


class Pool(Executor, Protocol):
    """What is used of an asyncpg pool."""

    def acquire(self) -> AbstractAsyncContextManager[Connection]:
        """Borrow a connection for the length of a block."""
        ...

    async def expire_connections(self) -> None:
        """Open a fresh connection in place of each one at its next use."""
        ...

    def terminate(self) -> None:
        """Drop all connections at once."""
        ...


class Database:
    """The service's connections, all under its own role; the pool opens at `start`."""

    def __init__(self, url: str, *, pool_size: int = 8, role: str = "understudy_service") -> None:
        self._url = url
        self._pool_size = pool_size
        self._settings = {
            "role": role,
            "application_name": "understudy",
            "jit": "off",
            # All is looked up by an index; a plan made while a table was empty must not scan it when it has grown.
            "enable_seqscan": "off",
            "timezone": "UTC",
            "statement_timeout": f"{STATEMENT_TIMEOUT_SECONDS}s",
            "lock_timeout": f"{LOCK_TIMEOUT_SECONDS}s",
            "idle_in_transaction_session_timeout": f"{STATEMENT_TIMEOUT_SECONDS}s",
        }
        self._pool: Pool | None = None

    @property
    def pool(self) -> Pool:
        """The pool of connections that anyone may borrow for a moment."""
        if self._pool is None:
            raise RuntimeError("the database has not been started")
        return self._pool

    async def start(self) -> None:
        """Open the pool; a second start does nothing."""
        if self._pool is not None:
            return
        self._pool = await asyncpg.create_pool(
            self._url,
            min_size=1,
            max_size=self._pool_size,
            init=_prepare,
            connect=self._connect,
            reset=_keep,
        )

    async def stop(self) -> None:
        """Drop every connection of the pool; safe twice and unstarted."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.terminate()

    async def connect(self, **settings: str) -> Connection:
        """Open a dedicated connection with the pool's settings and some of its own; the caller ends it."""
        connection = await self._connect(self._url, server_settings=self._settings | settings)
        await _prepare(connection)
        return connection

    async def _connect(self, url: str, **options: object) -> Connection:
        connection: Connection = await asyncpg.connect(
            url,
            timeout=PEER_TIMEOUT_SECONDS,
            max_cached_statement_lifetime=0,
            max_cacheable_statement_size=0,
            target_session_attrs="read-write",
            **{"server_settings": self._settings, **options},
        )
        _notice_dead_peers(connection)
        return connection


async def _prepare(connection: Any) -> None:
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", format="binary", encoder=_JSONB_FORMAT.__add__, decoder=itemgetter(slice(1, None))
    )
    await connection.set_type_codec("json", schema="pg_catalog", format="binary", encoder=bytes, decoder=bytes)


async def _keep(_connection: Any) -> None:
    """Skip the reset at release, a round trip: nothing here changes a session's settings."""


def _notice_dead_peers(connection: Any) -> None:
    # asyncpg offers no socket options, and without them a vanished server is waited for without end.
    peer = connection._transport.get_extra_info("socket")  # noqa: SLF001 - there is no public way to it
    if peer is None or peer.family not in (socket.AF_INET, socket.AF_INET6):
        return
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", 5),
        ("TCP_KEEPINTVL", 2),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", PEER_TIMEOUT_SECONDS * 1000),
    ):
        if hasattr(socket, name):
            peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
