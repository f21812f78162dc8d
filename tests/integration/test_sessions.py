"""The lives of nodes on a real server."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from understudy.domain.errors import Unreachable
from understudy.domain.views import SessionView
from understudy.persistence.journal import PostgresJournal
from understudy.persistence.pool import Connection, Database
from understudy.persistence.sessions import Endpoint, Sessions
from understudy.runtime.clock import SystemClock


@pytest.fixture
async def sessions(database: Database) -> AsyncIterator[Sessions]:
    opened = Sessions(database)
    yield opened
    await opened.close()


async def seen(observer: Sessions, session_id: UUID) -> SessionView | None:
    return next((view for view in await observer.observe() if view.session_id == session_id), None)


async def cut(hand: Any, session_id: UUID) -> None:
    """End the connection that holds a session's lock, as a crash would, and return when the server has noticed."""
    holder = (
        "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"
        " AND (classid::bigint << 32 | objid::bigint)"
        " = ('x' || right(replace($1::uuid::text, '-', ''), 16))::bit(64)::bigint"
    )
    await hand.run(f"SELECT pg_terminate_backend(pid, 5000) FROM ({holder}) h", session_id)


async def test_an_open_session_is_seen_with_its_lock(database: Database, sessions: Sessions) -> None:
    session_id = uuid4()
    await sessions.open(session_id, "node-1", "10.0.0.1:8080")

    view = await seen(Sessions(database), session_id)

    assert view is not None
    assert (view.node, view.address, view.state, view.lock_held, view.beat_seq) == (
        "node-1",
        "10.0.0.1:8080",
        "alive",
        True,
        0,
    )
    assert view.server_started_at < view.started_at


async def test_the_endpoint_of_a_node_is_known_to_others_and_its_token_never_printed(
    database: Database, sessions: Sessions
) -> None:
    session_id = uuid4()
    sessions.endpoint = Endpoint("http://127.0.0.1:4711", "s3cret-token")
    await sessions.open(session_id, "n", None)

    view = await seen(Sessions(database), session_id)

    assert view is not None
    assert (view.address, view.admin_token) == ("http://127.0.0.1:4711", "s3cret-token")
    assert "s3cret-token" not in repr(view) + repr(sessions.endpoint)


async def test_a_session_that_is_asked_to_drain_hears_it_at_its_next_beat(database: Database, hand: Any) -> None:
    heard: list[bool] = []
    sessions, observer, session_id = (
        Sessions(database, on_drain=lambda: heard.append(True)),
        Sessions(database),
        uuid4(),
    )
    await sessions.open(session_id, "n", None)
    assert await sessions.beat(lease_ok=True)
    assert not heard

    assert await observer.drain(session_id)
    assert await observer.drain(session_id)

    view = await seen(observer, session_id)
    assert view is not None
    assert view.state == "draining"
    assert await sessions.beat(lease_ok=True)
    assert heard == [True]
    process_id = await hand.process()
    journal = PostgresJournal(database, SystemClock(), "n")
    await journal.start()
    assert await journal.claim(session_id, {process_id: uuid4()}) == []
    await journal.stop()
    await sessions.close()
    assert not await observer.drain(session_id)
    assert not await observer.drain(uuid4())


async def test_the_age_of_the_last_beat_is_shown(database: Database, sessions: Sessions, hand: Any) -> None:
    session_id = uuid4()
    await sessions.open(session_id, "n", None)
    await hand.run("UPDATE node_session SET beaten_at = beaten_at - interval '1 hour'")
    late = await seen(Sessions(database), session_id)
    assert late is not None
    assert late.beat_age_seconds is not None
    assert 3600 <= late.beat_age_seconds < 3660

    assert await sessions.beat(lease_ok=True)

    view = await seen(Sessions(database), session_id)
    assert view is not None
    assert view.beat_age_seconds is not None
    assert 0 <= view.beat_age_seconds < 60


@pytest.mark.parametrize("session_id", [UUID(int=0), UUID(int=2**128 - 1), UUID(int=2**63), UUID(int=2**32 - 1)])
async def test_every_id_has_a_lock_of_its_own(sessions: Sessions, hand: Any, session_id: UUID) -> None:
    near = UUID(int=session_id.int ^ 1)
    await hand.insert("node_session", session_id=near, node="other", max_schema=1)

    await sessions.open(session_id, "n", None)

    assert {view.session_id: view.lock_held for view in await sessions.observe()} == {session_id: True, near: False}


async def test_the_lock_of_another_database_does_not_count(
    sessions: Sessions, hand: Any, empty_postgres_url: str
) -> None:
    session_id = UUID(int=7)
    await hand.insert("node_session", session_id=session_id, node="other", max_schema=1)
    elsewhere = await asyncpg.connect(empty_postgres_url)
    await elsewhere.fetchval("SELECT pg_advisory_lock(7)")

    view = await seen(sessions, session_id)

    assert view is not None
    assert not view.lock_held
    await elsewhere.close()


async def test_a_beat_counts_up_until_the_session_is_declared_dead(database: Database, sessions: Sessions) -> None:
    observer, session_id = Sessions(database), uuid4()
    await sessions.open(session_id, "n", None)

    assert await sessions.beat(lease_ok=True)
    assert await sessions.beat(lease_ok=False)
    view = await seen(observer, session_id)
    assert view is not None
    assert (view.beat_seq, view.lease_ok) == (2, False)

    assert not await observer.declare_dead(session_id, 1)
    assert await sessions.beat(lease_ok=True)

    assert await observer.declare_dead(session_id, 3)
    assert not await sessions.beat(lease_ok=True)
    assert await seen(observer, session_id) is None


async def test_of_many_observers_one_declares_the_death(database: Database, hand: Any) -> None:
    session_id = await hand.session("draining")

    answers = await asyncio.gather(*(Sessions(database).declare_dead(session_id, 0) for _ in range(8)))

    assert sorted(answers) == [False] * 7 + [True]


async def test_a_crash_frees_the_lock_and_a_reconnect_takes_it_before_it_beats(
    database: Database, sessions: Sessions, hand: Any
) -> None:
    observer, session_id = Sessions(database), uuid4()
    await sessions.open(session_id, "n", None)

    await cut(hand, session_id)

    view = await seen(observer, session_id)
    assert view is not None
    assert not view.lock_held
    async with asyncio.timeout(5):
        while True:
            try:
                assert await sessions.beat(lease_ok=True)
                break
            except Unreachable:
                continue
    view = await seen(observer, session_id)
    assert view is not None
    assert (view.lock_held, view.beat_seq) == (True, 1)


async def test_the_lock_of_a_connection_the_server_has_not_missed_is_taken_later(
    database: Database, sessions: Sessions
) -> None:
    observer, session_id = Sessions(database), uuid4()
    await sessions.open(session_id, "n", None)
    successor = Sessions(database)
    with pytest.raises(Unreachable, match="another connection holds the lock"):
        await successor.open(session_id, "n", None)
    assert await successor.beat(lease_ok=True)

    await sessions.close()

    assert not await successor.beat(lease_ok=True)
    await successor.close()
    assert await seen(observer, session_id) is None


async def test_a_server_that_falls_silent_is_unreachable_in_bounded_time(database: Database, hand: Any) -> None:
    sessions, session_id = Sessions(database, patience_seconds=0.5), uuid4()
    await sessions.open(session_id, "n", None)

    async with hand.connection.transaction():
        await hand.run("SELECT 1 FROM node_session WHERE session_id = $1 FOR UPDATE", session_id)
        with pytest.raises(Unreachable):
            await sessions.beat(lease_ok=True)

    assert await sessions.beat(lease_ok=True)
    await sessions.close()


async def test_no_server_is_unreachable(postgres_url: str) -> None:
    sessions = Sessions(Database(postgres_url.replace("127.0.0.1", "127.0.0.2").replace("localhost", "127.0.0.2")))

    with pytest.raises(Unreachable):
        await sessions.open(uuid4(), "n", None)


async def test_processes_are_taken_from_the_dead_only_in_parts_and_with_a_higher_epoch(
    database: Database, hand: Any
) -> None:
    observer = Sessions(database)
    dead, alive = await hand.session("dead"), await hand.session()
    theirs = {"owner_claim": uuid4(), "owner_epoch": 4, "claim_fails": 1}
    for owner in (dead, dead, dead, alive):
        await hand.process(owner_session=owner, **theirs)
    assert (await seen(observer, dead)) is not None

    assert await observer.disown(alive, 10) == 0
    assert [await observer.disown(dead, 2) for _ in range(3)] == [2, 1, 0]

    assert sorted(
        await hand.rows("SELECT owner_epoch, owner_session IS NULL, owner_claim IS NULL, claim_fails FROM process")
    ) == [(4, False, False, 1), (5, True, True, 1), (5, True, True, 1), (5, True, True, 1)]
    assert await seen(observer, dead) is None


async def test_a_process_that_is_being_committed_is_taken_away_later(database: Database, hand: Any) -> None:
    observer, dead = Sessions(database), await hand.session("dead")
    locked, free = [await hand.process(owner_session=dead) for _ in range(2)]

    async with hand.connection.transaction():
        await hand.run("UPDATE process SET version = 1 WHERE process_id = $1", locked)
        assert await observer.disown(dead, 10) == 1

    assert await hand.value("SELECT owner_session FROM process WHERE process_id = $1", free) is None
    assert await observer.disown(dead, 10) == 1


async def test_a_clean_end_forgets_dead_sessions_that_own_nothing(database: Database, hand: Any) -> None:
    sessions, session_id = Sessions(database), uuid4()
    await sessions.open(session_id, "n", None)
    forgotten, owning, alive = await hand.session("dead"), await hand.session("dead"), await hand.session()
    await hand.process(owner_session=owning)
    await hand.process(owner_session=session_id)

    await sessions.close()
    await sessions.close()

    left = dict(await hand.rows("SELECT session_id, state FROM node_session"))
    assert left == {owning: "dead", alive: "alive", session_id: "dead"}
    assert forgotten not in left
    assert await hand.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") in (0, 1)


async def test_closing_what_was_never_opened_does_nothing(database: Database) -> None:
    await Sessions(database).close()


async def test_a_call_on_the_own_connection_does_not_wait_for_the_pool(postgres_url: str) -> None:
    database = Database(postgres_url, pool_size=1)
    await database.start()
    sessions = Sessions(database)
    await sessions.open(uuid4(), "n", None)
    borrowed: Connection
    async with database.pool.acquire() as borrowed:
        assert await borrowed.fetchval("SELECT 1") == 1
        assert await sessions.beat(lease_ok=True)
    await sessions.close()
    await database.stop()
