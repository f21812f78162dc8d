"""Failure cases that no other test sets up: servers and callers that fail at one exact moment, on a real PostgreSQL."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests.integration.journal_rig import Proxy, begun, change, new_id, rig_on
from understudy.domain.errors import Unreachable
from understudy.domain.messages import CancelRequested
from understudy.domain.ports import Verdict
from understudy.domain.state import DefinitionRef
from understudy.domain.views import NewProcess
from understudy.embedded.postgres import Postgres
from understudy.persistence.inbox import Inbox
from understudy.persistence.migrate import migrate
from understudy.persistence.pool import Database
from understudy.persistence.processes import Processes
from understudy.persistence.sessions import Sessions


def new() -> NewProcess:
    return NewProcess(uuid4(), DefinitionRef("order", 3, b"digest"), None, None, {}, None, b"hash")


async def test_a_start_that_dies_in_the_middle_leaves_nothing(database: Database, hand: Any) -> None:
    processes, process = Processes(database), new()
    transaction = hand.connection.transaction()
    await transaction.start()
    # The process row is inserted when the statement comes to wait for this row of its history.
    await hand.insert("history", process_id=process.process_id, seq=1, tenant_id=uuid4(), version=0, type="x")
    start = asyncio.ensure_future(processes.start(process))
    waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    async with asyncio.timeout(5):
        while not await hand.value(f"SELECT pg_terminate_backend(pid) FROM ({waiting}) w"):
            pass
    with pytest.raises(Unreachable):
        await start
    await transaction.rollback()

    assert await processes.find(process.process_id) is None
    assert not (await processes.start(process)).is_replay


async def test_a_start_whose_answer_is_lost_is_found_by_the_next_try(postgres_url: str, hand: Any) -> None:
    async with Proxy(postgres_url).open() as proxy:
        database = Database(proxy.url, pool_size=1)
        await database.start()
        processes, process = Processes(database), new()
        await processes.start(new())
        proxy.loses_next = True
        with pytest.raises(Unreachable):
            await processes.start(process)

        again = await processes.start(process)

        assert (again.is_replay, again.conflicts, proxy.lost) == (True, False, 1)
        assert await hand.value("SELECT count(*) FROM process") == 2
        await database.stop()


async def test_of_claims_at_once_one_is_granted_for_each_process(postgres_url: str) -> None:
    async with rig_on(postgres_url) as one, rig_on(postgres_url) as other:
        idents = [await one.process() for _ in range(20)]
        sessions = [await one.session() for _ in range(2)]

        granted = await asyncio.gather(one.claim(sessions[0], *idents), other.claim(sessions[1], *reversed(idents)))

        owners = {each.state.process_id: sessions[place] for place in range(2) for each in granted[place]}
        assert len(owners) == sum(map(len, granted)) == 20
        for ident in idents:
            row = await one.row(ident)
            assert (row["owner_session"], row["owner_epoch"]) == (owners[ident], 1)


async def test_two_observers_free_what_a_dead_session_owned_once(database: Database, hand: Any) -> None:
    dead = await hand.session("dead")
    for _ in range(40):
        await hand.process(owner_session=dead, owner_claim=uuid4(), owner_epoch=4)

    freed = await asyncio.gather(*(Sessions(database).disown(dead, 100) for _ in range(4)))

    assert sum(freed) == 40
    assert set(await hand.rows("SELECT owner_session, owner_epoch FROM process")) == {(None, 5)}


@pytest.mark.parametrize(
    ("state", "counter"), [("40001", "repeated"), ("40P01", "repeated"), ("53100", "exhausted"), ("53300", "exhausted")]
)
async def test_what_the_server_cannot_commit_now_is_committed_later(
    postgres_url: str, state: str, counter: str
) -> None:
    async with rig_on(postgres_url, lanes=1) as rig:
        claimed = await rig.owned()
        await rig.admin.execute(
            "CREATE SEQUENCE tries; GRANT USAGE ON SEQUENCE tries TO understudy_service;"
            "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            f" IF nextval('tries') <= 3 THEN RAISE EXCEPTION 'not now' USING ERRCODE = '{state}'; END IF;"
            " RETURN NEW; END $$;"
            "CREATE TRIGGER fail BEFORE INSERT ON history FOR EACH ROW EXECUTE FUNCTION fail()"
        )

        receipt = await rig.journal.commit(change(claimed, *begun(claimed)))

        assert receipt.verdict is Verdict.APPLIED
        assert getattr(rig.journal.counters, counter) == 3
        assert len(rig.clock.delays) == 3
        assert await rig.seqs(claimed.state.process_id) == [2, 3]


async def test_what_arrives_does_not_wait_for_the_commit_of_its_process(postgres_url: str) -> None:
    async with rig_on(postgres_url) as rig:
        claimed = await rig.owned()
        process_id: UUID = claimed.state.process_id
        async with rig.admin.transaction(), asyncio.timeout(5):
            await rig.admin.execute("SELECT 1 FROM process FOR UPDATE")
            await Inbox(rig.database).submit(process_id, new_id(), CancelRequested(), b"hash")

        assert len((await rig.journal.deliveries([process_id]))[process_id]) == 1


async def test_a_server_that_is_killed_and_comes_back_costs_no_commit(servers_folder: Path) -> None:
    folder = servers_folder / "restarted"
    server = Postgres(folder)
    await server.start()
    await migrate(server.url())
    async with rig_on(server.url(), lanes=1) as rig:
        session = await rig.session()
        claimed = await rig.claim(session, *[await rig.process() for _ in range(20)])
        assert (await rig.journal.commit(change(claimed[0], *begun(claimed[0])))).verdict is Verdict.APPLIED
        await rig.admin.execute("BEGIN; UPDATE process SET claim_fails = 4")
        commits = [asyncio.ensure_future(rig.journal.commit(change(each, *begun(each)))) for each in claimed[1:]]
        await rig.blocked()
        await server.kill()
        server = Postgres(folder, port=server.port)
        await server.start()

        receipts = await asyncio.gather(*commits)

        assert {receipt.verdict for receipt in receipts} == {Verdict.APPLIED}
        assert rig.journal.counters.unknown >= 1
        connection = await asyncpg.connect(server.url())
        counts = await connection.fetchrow("SELECT count(*), count(DISTINCT (process_id, seq)) FROM history")
        await connection.close()
        assert tuple(counts) == (40, 40)
    await server.stop()
