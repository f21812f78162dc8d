"""A journal on a real database, and the means to set scenes for it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg

from understudy.domain.effects import PublishEvent
from understudy.domain.evolution import evolve
from understudy.domain.facts import ActivityCompleted, ActivityStarted, AnyFact, ProcessCompleted, ProcessStarted
from understudy.domain.identity import TENANT, execution_id, shard_of
from understudy.domain.messages import InboxMessage
from understudy.domain.ports import Change, Claimed, Consumed
from understudy.domain.state import STATE_SCHEMA, State
from understudy.domain.states import ActivityState, ProcessState
from understudy.persistence.journal import PostgresJournal
from understudy.persistence.pool import Database
from understudy.persistence.queries import Queries, Statement, load_queries
from understudy.persistence.rows import inbox_row_of

AT = datetime(2026, 11, 25, 8, 30, 0, 123456, tzinfo=UTC)

_numbers = count(1)


def new_id() -> UUID:
    """Another id each time, the same ones in each run."""
    return UUID(int=next(_numbers) * 2**64 + 7)


class InstantClock:
    """Waits for nothing, and remembers how long it should have."""

    def __init__(self) -> None:
        self.delays: list[float] = []
        self.learned: datetime | None = None

    def now(self) -> datetime:
        return AT

    def learn(self, db_now: datetime) -> None:
        self.learned = db_now

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        self.delays.append(seconds)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.002, turn.set_result, None)
        await turn

    def call_later(self, seconds: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, callback)

    def fraction(self) -> float:
        return 0.5

    def new_id(self, *, ordered: bool = False) -> UUID:
        return new_id()


class Rig:
    """A node's journal, two connections of a superuser, and shorthand for them.

    Of the two, `watcher` sees what the server is doing, which stands still for `admin` within a transaction.
    """

    def __init__(
        self, journal: PostgresJournal, admin: Any, watcher: Any, clock: InstantClock, database: Database
    ) -> None:
        self.journal = journal
        self.admin = admin
        self.watcher = watcher
        self.clock = clock
        self.database = database

    async def session(self, state: str = "alive") -> UUID:
        ident = new_id()
        await self.admin.execute(
            "INSERT INTO node_session (session_id, node, state, max_schema) VALUES ($1, 'n', $2, 1)", ident, state
        )
        return ident

    async def process(self, number: int | None = None) -> UUID:
        ident = new_id() if number is None else UUID(int=number)
        await self.admin.execute(
            """INSERT INTO process (process_id, tenant_id, shard, definition_name, definition_version, key, input,
                                    definition_digest, request_hash, first_status, state_schema, created_at, updated_at)
               VALUES ($1, $2, $3, 'order', 3, 'k', '{"b": 1, "a": [1.0, 1e16]}', '\\x01', '\\x02', 201, $4, $5, $5)""",
            ident,
            TENANT,
            shard_of(ident),
            STATE_SCHEMA,
            AT,
        )
        return ident

    async def inbox(self, process_id: UUID, message: InboxMessage) -> UUID:
        ident = new_id()
        kind, body = inbox_row_of(message)
        await self.admin.execute(
            "INSERT INTO inbox (process_id, msg_id, tenant_id, kind, body) VALUES ($1, $2, $3, $4, $5)",
            process_id,
            ident,
            TENANT,
            kind,
            body.decode(),
        )
        return ident

    async def claim(self, session_id: UUID, *process_ids: UUID) -> list[Claimed]:
        return await self.journal.claim(session_id, {ident: new_id() for ident in process_ids})

    async def owned(self, number: int | None = None, session_id: UUID | None = None) -> Claimed:
        session_id = session_id or await self.session()
        (claimed,) = await self.claim(session_id, await self.process(number))
        return claimed

    async def row(self, process_id: UUID) -> Any:
        return await self.admin.fetchrow("SELECT * FROM process WHERE process_id = $1", process_id)

    async def rows(self, table: str, process_id: UUID) -> list[Any]:
        found: list[Any] = await self.admin.fetch(f"SELECT * FROM {table} WHERE process_id = $1", process_id)
        return found

    async def blocked(self, count: int = 1) -> None:
        """Return when `count` statements of the service wait for a lock."""
        waiting = 0
        while waiting < count:
            waiting = await self.watcher.fetchval(
                "SELECT count(*) FROM pg_stat_activity "
                "WHERE application_name = 'understudy' AND datname = current_database() AND wait_event_type = 'Lock'"
            )

    async def seqs(self, process_id: UUID) -> list[int]:
        return sorted(row["seq"] for row in await self.rows("history", process_id))


@asynccontextmanager
async def rig_on(
    url: str, *, through: str | None = None, queries: Queries | None = None, lanes: int = 2
) -> AsyncIterator[Rig]:
    """A rig on a migrated database; `through` is the address by which the journal reaches it."""
    clock = InstantClock()
    database = Database(through or url)
    await database.start()
    journal = PostgresJournal(database, clock, "node-1", lanes=lanes, queries=queries)
    await journal.start()
    admin, watcher = await asyncpg.connect(url), await asyncpg.connect(url)
    try:
        yield Rig(journal, admin, watcher, clock, database)
    finally:
        await journal.stop()
        await database.stop()
        await admin.close()
        await watcher.close()


def without(name: str, fragment: str, instead: str = "") -> Queries:
    """The statements with one fragment of one of them taken out."""
    queries = load_queries()
    text = queries[name]
    assert text.count(fragment) == 1, f"{name} has to contain {fragment!r} once"
    statements = {each: Statement(queries[each], queries.parameters(each)) for each in queries}
    statements[name] = Statement(text.replace(fragment, instead), queries.parameters(name))
    return Queries(statements)


def change(
    claimed: Claimed,
    *facts: AnyFact,
    version: int | None = None,
    before: State | None = None,
    publish: Sequence[PublishEvent] = (),
    consumed: Sequence[Consumed] = (),
) -> Change:
    """The change that these facts make of a state."""
    before = after = before or claimed.state
    for fact in facts:
        after = evolve(after, fact)
    return Change(
        claimed.tenure,
        claimed.version if version is None else version,
        before,
        after,
        facts,
        tuple(publish),
        tuple(consumed),
    )


def begun(claimed: Claimed, activity: str = "a") -> tuple[AnyFact, ...]:
    """The facts of a beginning, with an activity in flight."""
    return (ProcessStarted(at=AT, origin=ProcessState.CREATED), started(claimed.state, activity))


def started(state: State, activity: str, visit: int = 1, seconds: int = 0, **more: Any) -> ActivityStarted:
    return ActivityStarted(
        at=AT + timedelta(seconds=seconds),
        origin=None,
        activity=activity,
        execution_id=execution_id(state.process_id, activity, visit),
        attempt=1,
        activity_type="http",
        visit=visit,
        **more,
    )


def completed(state: State, activity: str, output: Any, visit: int = 1, seconds: int = 1) -> ActivityCompleted:
    return ActivityCompleted(
        at=AT + timedelta(seconds=seconds),
        origin=ActivityState.RUNNING,
        activity=activity,
        execution_id=execution_id(state.process_id, activity, visit),
        attempt=1,
        output=output,
    )


def ended(output: Any = None) -> ProcessCompleted:
    return ProcessCompleted(at=AT + timedelta(seconds=9), origin=ProcessState.IN_PROGRESS, output=output)


class Proxy:
    """A way to the server that can lose the next answer: the request has arrived by then."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._writers: list[asyncio.StreamWriter] = []
        self.loses_next = False
        self.lost = 0
        self.url = ""

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Proxy"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        user = f"{self._target.username}@" if self._target.username else ""
        self.url = self._target._replace(netloc=f"{user}127.0.0.1:{port}", query="").geturl()
        try:
            yield self
        finally:
            server.close()
            for writer in self._writers:
                writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await self._connect()
        self._writers += [writer, back]
        async with asyncio.TaskGroup() as group:
            group.create_task(self._forward(reader, back))
            group.create_task(self._return(there, writer, back))

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self._target.hostname, self._target.port)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while found := await reader.read(65536):
                writer.write(found)
        except ConnectionError:
            pass
        writer.close()

    async def _return(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, back: asyncio.StreamWriter
    ) -> None:
        try:
            while found := await reader.read(65536):
                if self.loses_next:
                    self.loses_next = False
                    self.lost += 1
                    back.close()
                    break
                writer.write(found)
        except ConnectionError:
            pass
        writer.transport.abort()
