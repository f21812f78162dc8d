"""A model of PostgreSQL under the real persistence: named statements on shared tables, connections that break.

A statement happens at one moment, somewhere between its sending and its answer. A connection belongs to a life: when
that is killed the server notices and drops the session's lock, but what was sent may still be done.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import UUID

import asyncpg

from tests.simulation.clock import server_time
from tests.simulation.faults import Fate, Weather
from tests.simulation.loop import LIFE, Life, SimLoop
from tests.simulation.tables import Applied, Granted, Record, Table, Undo
from understudy.persistence.queries import load_queries

Statement = Callable[..., list[Record]]

RETRACTABLE_MAX = 200
NOTICE_SECONDS = 5.0
CUT_SECONDS = 0.25
TABLES = (
    "process",
    "execution",
    "history",
    "inbox",
    "timer",
    "outbox",
    "event",
    "subscription",
    "session",
    "definition",
    "content",
    "kept_key",
)


class Postgres:
    """The server. `removed` names the guards that a mutation has taken out of its statements."""

    def __init__(self, loop: SimLoop, weather: Weather, statements: dict[str, Statement]) -> None:
        self.loop = loop
        self.weather = weather
        self.removed: set[str] = set()
        self.undo: list[Undo] = []
        self.tables = {name: Table(self.undo) for name in TABLES}
        self.applied: list[Applied] = []
        self.granted: list[Granted] = []
        self.deaths: dict[UUID, float] = {}
        self.declared: dict[UUID, tuple[float, float]] = {}
        """Sessions that others declared dead: when, and when they had beaten last."""
        self.locks: dict[int, Connection] = {}
        self.connections: dict[Connection, None] = {}
        self.cut: dict[Life, None] = {}
        self.is_up = True
        self.arrivals = 0
        self.retracted = 0
        self.poisoned = 0
        self.started_at = server_time(loop)
        self._statements = statements
        self._names = {text: name for name, text in load_queries().items()}
        self._parameters = {name: load_queries().parameters(name) for name in load_queries()}
        self._transactions: deque[tuple[list[Undo], int, int]] = deque(maxlen=RETRACTABLE_MAX)

    def __getattr__(self, name: str) -> Table:
        try:
            return self.__dict__["tables"][name]
        except KeyError:
            raise AttributeError(name) from None

    @property
    def now(self) -> Any:
        return server_time(self.loop)

    def has(self, guard: str) -> bool:
        """Whether a guard is in its place."""
        return guard not in self.removed

    def name_of(self, text: str) -> str:
        return self._names[text]

    def run(self, connection: "Connection", name: str, arguments: tuple[Any, ...]) -> list[Record]:
        """One statement, which is a transaction."""
        named = dict(zip(self._parameters[name], arguments, strict=True))
        applied, granted = len(self.applied), len(self.granted)
        try:
            rows = self._statements[name](self, connection, **named)
        except asyncpg.PostgresError:
            self._roll_back(self.undo, applied, granted)
            self.undo.clear()
            del self.applied[applied:], self.granted[granted:]
            raise
        if self.undo:
            self._transactions.append((list(self.undo), applied, granted))
            self.undo.clear()
        return rows

    # What the nemesis does

    def stop(self) -> None:
        """Die: every connection breaks, every lock is gone."""
        self.is_up = False
        for connection in list(self.connections):
            connection.break_off()
        self.locks.clear()

    def start(self) -> None:
        self.is_up = True
        self.started_at = self.now

    def travel_back(self, transactions: int) -> None:
        """Fail over to a copy that lags behind: the last transactions never happened."""
        self.stop()
        for _ in range(min(transactions, len(self._transactions))):
            undo, applied, granted = self._transactions.pop()
            self._roll_back(undo, applied, granted)
            self.undo.clear()
            self.retracted += 1
        self.start()

    def keep(self) -> None:
        """What has happened so far can never be lost."""
        self._transactions.clear()

    def _roll_back(self, undo: list[Undo], applied: int, granted: int) -> None:
        for table, key, row in reversed(undo):
            table.set(key, row)
        for lost in (*self.applied[applied:], *self.granted[granted:]):
            lost.was_lost = True

    def hang_up(self, life: Life) -> None:
        """The sockets of a killed node close."""
        for connection in list(self.connections):
            if connection.life is life:
                connection.vanish()


class Connection:
    """What asyncpg's connection looks like to the persistence."""

    def __init__(self, server: Postgres, life: Life | None) -> None:
        self.server = server
        self.life = life
        self.lock: int | None = None
        self._server_life = server.started_at
        self._waiting: asyncio.Future[list[Record]] | None = None
        self._is_closed = False
        self._is_severed = False
        server.connections[self] = None

    def is_closed(self) -> bool:
        return self._is_closed

    async def fetch(self, text: str, *arguments: Any) -> list[Record]:
        if self._is_closed:
            raise asyncpg.InterfaceError("the connection is closed")
        if self._waiting is not None:
            raise asyncpg.InterfaceError("another operation is in progress")
        server, loop = self.server, self.server.loop
        fate = server.weather.fate()
        answer = self._waiting = loop.create_future()
        seconds = server.weather.delay() if fate is Fate.SLOW else server.weather.latency()
        loop.later(seconds, self._arrive, server.name_of(text), arguments, fate, answer)
        try:
            return await answer
        except asyncio.CancelledError:
            self.terminate()
            raise
        finally:
            self._waiting = None

    async def fetchrow(self, text: str, *arguments: Any) -> Record | None:
        rows = await self.fetch(text, *arguments)
        return rows[0] if rows else None

    async def fetchval(self, text: str, *arguments: Any) -> Any:
        row = await self.fetchrow(text, *arguments)
        return None if row is None else row[0]

    async def prepare(self, text: str) -> "Prepared":
        return Prepared(self, text)

    async def close(self) -> None:
        self.terminate()

    def terminate(self) -> None:
        """Drop the connection from this side: the server notices later, and may do what it was asked."""
        if not self._is_closed:
            self._fail(asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"))
            self.server.loop.later(self.server.weather.random.uniform(0, NOTICE_SECONDS), self._forget)

    def vanish(self) -> None:
        """This side is dead; the server reads the end of the stream."""
        self._is_closed = True
        self._forget()

    def break_off(self) -> None:
        """The server's side is gone, and with it what had not arrived."""
        self._is_severed = True
        self._fail(asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"))
        self._forget()

    def _fail(self, error: Exception) -> None:
        self._is_closed = True
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)

    def _forget(self) -> None:
        self.server.connections.pop(self, None)
        if self.lock is not None and self.server.locks.get(self.lock) is self:
            del self.server.locks[self.lock]

    def _arrive(
        self, name: str, arguments: tuple[Any, ...], fate: Fate, answer: "asyncio.Future[list[Record]]"
    ) -> None:
        server = self.server
        server.arrivals += 1
        if self.life in server.cut:
            # The network comes again and again, until it is through or the server has forgotten this connection.
            server.loop.later(CUT_SECONDS, self._arrive, name, arguments, fate, answer)
            return
        if not server.is_up or server.started_at != self._server_life or self._is_severed:
            return
        if fate is Fate.LOST:
            self.break_off()
            return
        if fate is Fate.REFUSED:
            self._reply(answer, self._refusal())
            return
        try:
            result: list[Record] | Exception = server.run(self, name, arguments)
        except asyncpg.PostgresError as error:
            result = error
            server.poisoned += 1
        if self not in server.connections:
            # The end of the stream came right behind: the server has answered nobody, and ends the session.
            self._forget()
        if fate is Fate.UNANSWERED:
            self.break_off()
            return
        server.loop.later(server.weather.latency(), self._reply, answer, result)

    def _refusal(self) -> asyncpg.PostgresError:
        return self.server.weather.random.choice(
            [
                asyncpg.DeadlockDetectedError("deadlock detected"),
                asyncpg.LockNotAvailableError("canceling statement due to lock timeout"),
                asyncpg.QueryCanceledError("canceling statement due to statement timeout"),
                asyncpg.DiskFullError("could not extend file"),
            ]
        )

    def _reply(self, answer: "asyncio.Future[list[Record]]", result: list[Record] | Exception) -> None:
        if self.life in self.server.cut:
            self.server.loop.later(CUT_SECONDS, self._reply, answer, result)
        elif answer.done() or self._is_closed:
            return
        elif isinstance(result, Exception):
            answer.set_exception(result)
        else:
            answer.set_result(result)


class Prepared:
    """A statement that is planned anew."""

    def __init__(self, connection: Connection, text: str) -> None:
        self._connection = connection
        self._text = text

    async def fetch(self, *arguments: Any) -> list[Record]:
        return await self._connection.fetch(self._text, *arguments)


class SimDatabase:
    """Stands for `persistence.pool.Database`: a pool and dedicated connections."""

    def __init__(self, server: Postgres, *, pool_size: int = 8) -> None:
        self._server = server
        self._free: deque[Connection] = deque()
        self._room = asyncio.Semaphore(pool_size)

    @property
    def pool(self) -> "SimDatabase":
        return self

    async def start(self) -> None:
        self._free.append(await self.connect())

    async def stop(self) -> None:
        self.terminate()

    def terminate(self) -> None:
        while self._free:
            self._free.popleft().terminate()

    async def expire_connections(self) -> None:
        self.terminate()

    async def connect(self, **_: str) -> Connection:
        server, life = self._server, LIFE.get()
        made: asyncio.Future[Connection] = server.loop.create_future()

        def arrive() -> None:
            if life in server.cut:
                server.loop.later(CUT_SECONDS, arrive)
            elif made.done():
                return
            elif server.is_up:
                made.set_result(Connection(server, life))
            else:
                made.set_exception(ConnectionRefusedError("connection refused"))

        server.loop.later(server.weather.latency(), arrive)
        return await made

    @contextlib.asynccontextmanager
    async def acquire(self) -> AsyncIterator[Connection]:
        async with self._room:
            connection = await self._borrow()
            try:
                yield connection
            finally:
                if not connection.is_closed():
                    self._free.append(connection)

    async def _borrow(self) -> Connection:
        while self._free:
            connection = self._free.popleft()
            if not connection.is_closed():
                return connection
        async with asyncio.timeout(10):
            return await self.connect()
