"""What statements make of a server's troubles, on a real server."""

from typing import Any
from uuid import uuid4

import pytest

from understudy.domain.errors import Unreachable
from understudy.domain.stores import Retained
from understudy.persistence.keys import Keys
from understudy.persistence.outbox import Outbox
from understudy.persistence.pool import Database
from understudy.persistence.sessions import Sessions

CALL = Retained(b"hash", 201, "r")


async def fail(hand: Any, state: str, times: int) -> None:
    """Let the next inserts of keys fail with this SQLSTATE."""
    await hand.run("CREATE SEQUENCE tries")
    await hand.run("GRANT USAGE ON SEQUENCE tries TO understudy_service")
    await hand.run(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" IF nextval('tries') <= {times} THEN RAISE EXCEPTION 'unlucky' USING ERRCODE = '{state}'; END IF;"
        " RETURN NEW; END $$"
    )
    await hand.run("CREATE TRIGGER fail BEFORE INSERT ON retained_key FOR EACH ROW EXECUTE FUNCTION fail()")


@pytest.mark.parametrize("state", ["40P01", "40001"])
async def test_the_victim_of_a_deadlock_tries_again(database: Database, hand: Any, state: str) -> None:
    await fail(hand, state, times=2)

    assert await Keys(database).remember("s", "k", CALL) == CALL


@pytest.mark.parametrize("state", ["40P01", "53100", "57P01", "55P03", "08006"])
async def test_a_server_that_cannot_serve_is_unreachable(database: Database, hand: Any, state: str) -> None:
    await fail(hand, state, times=5)

    with pytest.raises(Unreachable):
        await Keys(database).remember("s", "k", CALL)


async def test_a_silent_server_is_not_waited_for_and_the_pool_goes_on(
    database: Database, hand: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("understudy.persistence.statements.SILENCE_SECONDS", 0.2)
    keys = Keys(database)
    async with hand.connection.transaction():
        await hand.run("LOCK TABLE retained_key")
        with pytest.raises(Unreachable):
            await keys.recall("s", "k")

    assert await keys.recall("s", "k") is None


async def test_a_pool_survives_the_loss_of_its_connections(database: Database, hand: Any) -> None:
    outbox = Outbox(database)
    await outbox.pending(1)

    await hand.run(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )

    failures = 0
    for _ in range(3):
        try:
            assert await outbox.pending(1) == []
        except Unreachable:
            failures += 1
    assert failures <= 1


async def test_a_server_that_only_reads_is_unreachable_until_it_writes_again(database: Database, hand: Any) -> None:
    keys, name = Keys(database), await hand.value("SELECT current_database()")
    session = await hand.session()
    assert not await Sessions(database).declare_dead(session, 1)
    await hand.run(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    await hand.run(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    for _ in range(2):
        with pytest.raises(Unreachable):
            await keys.remember("s", "k", CALL)

    await hand.run(f'ALTER DATABASE "{name}" SET default_transaction_read_only = off')

    assert await keys.remember("s", str(uuid4()), CALL) == CALL
