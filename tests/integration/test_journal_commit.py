"""Every outcome that a commit can have."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from tests.integration.journal_rig import Proxy, Rig, begun, change, completed, ended, new_id, rig_on, without
from understudy.domain.effects import PublishEvent
from understudy.domain.errors import Stopped, Unreachable
from understudy.domain.messages import CancelRequested
from understudy.domain.ports import Claimed, Verdict
from understudy.persistence.batch import parameters_of, rows_of
from understudy.persistence.outcome import verdict_of
from understudy.persistence.queries import load_queries


async def owned(rig: Rig, count: int) -> list[Claimed]:
    session = await rig.session()
    return await rig.claim(session, *[await rig.process() for _ in range(count)])


async def commit_all(rig: Rig, claimed: list[Claimed]) -> list[Verdict]:
    receipts = await asyncio.gather(*(rig.journal.commit(change(each, *begun(each))) for each in claimed))
    return [receipt.verdict for receipt in receipts]


KILL = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
          WHERE application_name = 'understudy' AND datname = current_database()"""


async def test_transitions_that_arrive_together_are_one_batch(postgres_url: str) -> None:
    async with rig_on(postgres_url, lanes=1) as rig:
        claimed = await owned(rig, 50)

        assert await commit_all(rig, claimed) == [Verdict.APPLIED] * 50

        assert (rig.journal.counters.batches, rig.journal.counters.batch_size_max) == (1, 50)
        batches = await rig.admin.fetch("SELECT last_batch FROM process GROUP BY last_batch")
        assert len(batches) == 1


async def test_a_batch_has_a_bounded_size(postgres_url: str) -> None:
    async with rig_on(postgres_url, lanes=1) as rig:
        claimed = await owned(rig, 4)
        large = "x" * 700_000

        async with asyncio.TaskGroup() as group:
            for each in claimed:
                facts = (*begun(each), completed(each.state, "a", large))
                group.create_task(rig.journal.commit(change(each, *facts)))

        assert (rig.journal.counters.batches, rig.journal.counters.applied) == (4, 4)


async def test_the_receipt_tells_the_time_of_the_database(postgres_url: str) -> None:
    async with rig_on(postgres_url) as rig:
        (claimed,) = await owned(rig, 1)
        before = await rig.admin.fetchval("SELECT clock_timestamp()")

        receipt = await rig.journal.commit(change(claimed, *begun(claimed)))

        assert receipt.db_now is not None
        assert before < receipt.db_now < await rig.admin.fetchval("SELECT clock_timestamp()")
        assert rig.clock.learned == receipt.db_now


async def test_the_identical_batch_again_is_known_as_applied_earlier(postgres_url: str) -> None:
    async with rig_on(postgres_url) as rig:
        group = [rows_of(change(each, *begun(each))) for each in await owned(rig, 5)]
        batch = new_id()
        queries = load_queries()
        connection = await rig.database.connect()

        first = await connection.fetch(queries["commit"], *parameters_of(batch, "n", group))
        second = await connection.fetch(queries["commit"], *parameters_of(batch, "n", group))
        found = await connection.fetch(queries["read_back"], [rows.process_id for rows in group])

        connection.terminate()
        assert (len(first), len(second)) == (5, 0)
        rows_by_id = {row["process_id"]: row for row in found}
        assert [verdict_of(rows, rows_by_id[rows.process_id], batch) for rows in group] == [Verdict.APPLIED] * 5
        assert await rig.admin.fetchval("SELECT count(*) FROM history") == 10


async def test_a_takeover_of_some_fences_these_and_no_others(postgres_url: str) -> None:
    async with rig_on(postgres_url, lanes=1) as rig:
        claimed = await owned(rig, 5)
        taken = [each.state.process_id for each in claimed[1:3]]
        await rig.admin.execute(
            "UPDATE process SET owner_session = NULL, owner_claim = NULL, owner_epoch = owner_epoch + 1 "
            "WHERE process_id = ANY($1)",
            taken,
        )

        verdicts = await commit_all(rig, claimed)

        assert verdicts == [Verdict.APPLIED, Verdict.FENCED, Verdict.FENCED, Verdict.APPLIED, Verdict.APPLIED]
        for table in ("history", "activity_execution"):
            touched = {row["process_id"] for row in await rig.admin.fetch(f"SELECT process_id FROM {table}")}
            assert touched == {each.state.process_id for each in claimed} - set(taken)
        assert rig.journal.counters.fenced == 2


async def test_a_zombie_waits_for_the_takeover_and_is_fenced_by_it(postgres_url: str) -> None:
    async with rig_on(postgres_url) as rig:
        (claimed,) = await owned(rig, 1)
        async with asyncio.TaskGroup() as group, rig.admin.transaction():
            await rig.admin.execute("UPDATE process SET owner_session = NULL, owner_claim = NULL, owner_epoch = 2")
            zombie = group.create_task(rig.journal.commit(change(claimed, *begun(claimed))))
            await rig.blocked()

        assert zombie.result().verdict is Verdict.FENCED
        assert await rig.seqs(claimed.state.process_id) == []


async def test_a_harmless_update_of_the_row_only_delays_the_commit(postgres_url: str) -> None:
    async with rig_on(postgres_url) as rig:
        (claimed,) = await owned(rig, 1)
        async with asyncio.TaskGroup() as group, rig.admin.transaction():
            await rig.admin.execute("UPDATE process SET claim_fails = 4")
            commit = group.create_task(rig.journal.commit(change(claimed, *begun(claimed))))
            await rig.blocked()

        assert commit.result().verdict is Verdict.APPLIED
        assert (await rig.row(claimed.state.process_id))["claim_fails"] == 0


async def test_a_claim_meets_a_commit_and_is_refused_at_once(postgres_url: str) -> None:
    async with rig_on(postgres_url) as rig:
        (claimed,) = await owned(rig, 1)
        process_id = claimed.state.process_id
        await rig.admin.execute("UPDATE node_session SET state = 'dead'")
        thief = await rig.session()
        lock = await rig.database.connect()
        async with lock.transaction():
            group = [rows_of(change(claimed, *begun(claimed)))]
            await lock.fetch(load_queries()["commit"], *parameters_of(new_id(), "n", group))

            assert await rig.claim(thief, process_id) == []

        (found,) = await rig.claim(thief, process_id)
        lock.terminate()
        assert (found.version, list(found.state.executions)) == (1, ["a"])


async def test_a_lost_reply_is_applied_exactly_once(postgres_url: str) -> None:
    async with (
        Proxy(postgres_url).open() as proxy,
        rig_on(postgres_url, through=proxy.url, lanes=1) as rig,
    ):
        (first,) = await owned(rig, 1)
        claimed = await owned(rig, 20)
        assert await commit_all(rig, [first]) == [Verdict.APPLIED]
        proxy.loses_next = True

        assert await commit_all(rig, claimed) == [Verdict.APPLIED] * 20

        assert proxy.lost == 1
        assert (rig.journal.counters.applied_earlier, rig.journal.counters.unknown_resolved) == (20, 1)
        assert await rig.admin.fetchval("SELECT count(*) FROM history") == 42
        assert {row["version"] for row in await rig.admin.fetch("SELECT version FROM process")} == {1}


async def test_the_lost_reply_of_a_last_commit_is_known_though_nobody_owns_the_process(postgres_url: str) -> None:
    async with (
        Proxy(postgres_url).open() as proxy,
        rig_on(postgres_url, through=proxy.url, lanes=1) as rig,
    ):
        (claimed,) = await owned(rig, 1)
        made = change(claimed, *begun(claimed))
        await rig.journal.commit(made)
        proxy.loses_next = True

        last = change(claimed, completed(made.after, "a", 1), ended("done"), version=1, before=made.after)

        assert (await rig.journal.commit(last)).verdict is Verdict.APPLIED
        assert proxy.lost == 1
        row = await rig.row(claimed.state.process_id)
        assert (row["state"], row["output"], row["owner_claim"]) == ("COMPLETED", '"done"', None)


async def test_a_backend_that_dies_under_the_statement_costs_nothing(postgres_url: str) -> None:
    async with rig_on(postgres_url, lanes=1) as rig:
        claimed = await owned(rig, 10)
        async with asyncio.TaskGroup() as group, rig.admin.transaction():
            await rig.admin.execute("UPDATE process SET claim_fails = 4")
            commits = group.create_task(commit_all(rig, claimed))
            await rig.blocked()
            await rig.watcher.execute(f"{KILL} AND wait_event_type = 'Lock'")

        assert commits.result() == [Verdict.APPLIED] * 10
        assert rig.journal.counters.unknown >= 1
        assert await rig.admin.fetchval("SELECT count(*) FROM history") == 20


async def test_while_no_server_may_write_a_commit_waits(postgres_url: str) -> None:
    async with rig_on(postgres_url, lanes=1) as rig:
        claimed = await owned(rig, 3)
        await commit_all(rig, claimed[:1])
        name = await rig.admin.fetchval("SELECT current_database()")
        await rig.admin.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        await rig.admin.execute(KILL)
        async with asyncio.TaskGroup() as group:
            commits = group.create_task(commit_all(rig, claimed[1:]))
            while len(rig.clock.delays) < 4:
                await rig.admin.execute("SELECT 1")
            await rig.admin.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')

        assert commits.result() == [Verdict.APPLIED] * 2
        assert rig.clock.delays[:4] == sorted(rig.clock.delays[:4])
        assert rig.clock.delays[3] > 4 * rig.clock.delays[0]


async def test_a_poison_value_is_found_among_fifty_and_they_are_unharmed(postgres_url: str) -> None:
    async with rig_on(postgres_url, lanes=1) as rig:
        claimed = await owned(rig, 51)
        changes = [change(each, *begun(each)) for each in claimed]
        changes[33] = replace(changes[33], publish=(PublishEvent(new_id(), "t", "secret \x00", None),))

        receipts = await asyncio.gather(*(rig.journal.commit(each) for each in changes))

        assert [receipt.verdict for receipt in receipts] == [
            Verdict.POISON if number == 33 else Verdict.APPLIED for number in range(51)
        ]
        assert receipts[33].reason == "the database cannot store it: CharacterNotInRepertoireError (SQLSTATE 22021)"
        assert await rig.seqs(claimed[33].state.process_id) == []
        assert (await rig.row(claimed[33].state.process_id))["version"] == 0
        assert await rig.admin.fetchval("SELECT count(*) FROM history") == 100
        assert rig.journal.counters.bisected == 6


async def test_a_broken_constraint_is_poison_too(postgres_url: str) -> None:
    async with rig_on(postgres_url, lanes=1) as rig:
        claimed = await owned(rig, 3)
        await rig.admin.execute(
            "INSERT INTO history (process_id, seq, tenant_id, version, type) VALUES ($1, 2, $1, 1, 'x')",
            claimed[1].state.process_id,
        )

        assert await commit_all(rig, claimed) == [Verdict.APPLIED, Verdict.POISON, Verdict.APPLIED]


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        pytest.param({"a": ["\x00 secret"]}, id="nul"),
        pytest.param({"\\ \x00": "secret"}, id="nul as a key"),
        pytest.param("\ud800 secret", id="lone surrogate"),
        pytest.param({"\udfff": 1}, id="lone surrogate as a key"),
        pytest.param(nested(100_000), id="nesting"),
        pytest.param(object(), id="no JSON at all"),
    ],
)
async def test_what_cannot_be_encoded_is_poison_for_its_own_change(postgres_url: str, value: object) -> None:
    async with rig_on(postgres_url, lanes=1) as rig:
        good, bad = await owned(rig, 2)
        facts = (*begun(bad), completed(bad.state, "a", value))

        receipts = await asyncio.gather(
            rig.journal.commit(change(bad, *facts)), rig.journal.commit(change(good, *begun(good)))
        )

        assert [receipt.verdict for receipt in receipts] == [Verdict.POISON, Verdict.APPLIED]
        assert receipts[0].reason is not None
        assert "secret" not in receipts[0].reason
        assert (await rig.journal.commit(change(bad, *begun(bad)))).verdict is Verdict.APPLIED


async def test_a_caller_that_is_cancelled_does_not_take_the_batch_with_it(postgres_url: str) -> None:
    async with rig_on(postgres_url, lanes=1) as rig:
        claimed = await owned(rig, 2)
        async with asyncio.TaskGroup() as group, rig.admin.transaction():
            await rig.admin.execute("UPDATE process SET claim_fails = 4")
            commits = [group.create_task(rig.journal.commit(change(each, *begun(each)))) for each in claimed]
            await rig.blocked()
            commits[0].cancel()

        assert commits[1].result().verdict is Verdict.APPLIED
        assert await rig.seqs(claimed[0].state.process_id) == [2, 3]
        assert rig.journal.counters.unknown == 0


async def test_one_tenure_has_one_transition_outstanding(postgres_url: str) -> None:
    async with rig_on(postgres_url) as rig:
        (claimed,) = await owned(rig, 1)
        made = change(claimed, *begun(claimed))
        async with asyncio.TaskGroup() as group:
            first = group.create_task(rig.journal.commit(made))
            second = group.create_task(_fails(rig, made))

        assert first.result().verdict is Verdict.APPLIED
        assert second.result() == "an actor has at most one transition outstanding"


async def _fails(rig: Rig, made: Any) -> str:
    with pytest.raises(AssertionError) as caught:
        await rig.journal.commit(made)
    return str(caught.value)


async def test_another_tenure_follows_in_a_batch_of_its_own(postgres_url: str) -> None:
    """The actor was killed while its commit was under way, and the process is claimed anew."""
    async with rig_on(postgres_url, lanes=1) as rig:
        (claimed,) = await owned(rig, 1)
        made = change(claimed, *begun(claimed))
        stranger = replace(made, tenure=replace(made.tenure, claim=new_id()))

        verdicts = await asyncio.gather(rig.journal.commit(stranger), rig.journal.commit(made))

        assert [receipt.verdict for receipt in verdicts] == [Verdict.FENCED, Verdict.APPLIED]
        assert rig.journal.counters.batches == 2


async def test_a_stopped_journal_says_so(postgres_url: str) -> None:
    async with rig_on(postgres_url, lanes=1) as rig:
        first, second = await owned(rig, 2)
        async with asyncio.TaskGroup() as group, rig.admin.transaction():
            await rig.admin.execute("UPDATE process SET claim_fails = 4")
            commit = group.create_task(_stopped(rig, first))
            await rig.blocked()
            await rig.journal.stop()

        await rig.journal.stop()
        assert commit.result()
        assert await _stopped(rig, second)
        with pytest.raises(Stopped):
            await rig.journal.passivate(second.state.process_id, second.tenure, 0)
        with pytest.raises(Stopped):
            await rig.journal.claim(new_id(), {new_id(): new_id()})


async def test_after_a_bug_nobody_is_left_waiting(postgres_url: str) -> None:
    misnamed = without("commit", "SELECT place::int, ", "SELECT place::int AS spot, ")
    async with rig_on(postgres_url, queries=misnamed) as rig:
        first, second = await owned(rig, 2)
        assert rig.journal.is_running

        assert await _stopped(rig, first)

        assert not rig.journal.is_running
        assert await _stopped(rig, second)


async def _stopped(rig: Rig, claimed: Claimed) -> bool:
    with pytest.raises(Stopped):
        await rig.journal.commit(change(claimed, *begun(claimed)))
    return True


async def test_passivation_follows_the_commits_of_its_process(postgres_url: str) -> None:
    async with rig_on(postgres_url, lanes=1) as rig:
        first, second = await owned(rig, 2)
        made = change(first, *begun(first))
        ident = second.state.process_id

        receipt, gone = await asyncio.gather(rig.journal.commit(made), rig.journal.passivate(ident, second.tenure, 0))

        assert (receipt.verdict, gone) == (Verdict.APPLIED, True)
        row = await rig.row(ident)
        assert (row["owner_session"], row["owner_claim"], row["owner_epoch"], row["claim_fails"]) == (None, None, 1, 0)
        assert not await rig.journal.passivate(ident, second.tenure, 0)
        assert not await rig.journal.passivate(first.state.process_id, first.tenure, 0)
        assert await rig.journal.passivate(first.state.process_id, first.tenure, 1)


async def test_an_inbox_row_and_a_passivation_that_miss_each_other_lose_nothing(postgres_url: str) -> None:
    """The row is not committed when the passivation looks: then nobody owns the process when its poke comes."""
    async with rig_on(postgres_url) as rig:
        (claimed,) = await owned(rig, 1)
        ident = claimed.state.process_id
        async with rig.admin.transaction():
            await rig.inbox(ident, CancelRequested())
            assert await rig.journal.passivate(ident, claimed.tenure, 0)

        (found,) = await rig.claim(await rig.session(), ident)
        assert [delivery.message for delivery in found.deliveries] == [CancelRequested()]
        assert not await rig.journal.passivate(ident, found.tenure, 0)


async def test_a_lost_reply_of_a_passivation_is_found_out(postgres_url: str) -> None:
    async with (
        Proxy(postgres_url).open() as proxy,
        rig_on(postgres_url, through=proxy.url, lanes=1) as rig,
    ):
        first, second = await owned(rig, 2)
        assert await rig.journal.passivate(first.state.process_id, first.tenure, 0)
        proxy.loses_next = True

        assert await rig.journal.passivate(second.state.process_id, second.tenure, 0)
        assert proxy.lost == 1
        assert (await rig.row(second.state.process_id))["owner_session"] is None


async def test_relinquished_processes_are_fenced_and_keep_count_of_their_claims(postgres_url: str) -> None:
    async with rig_on(postgres_url) as rig:
        (claimed,) = await owned(rig, 1)
        (other,) = await owned(rig, 1)
        session = (await rig.row(claimed.state.process_id))["owner_session"]

        await rig.journal.relinquish(session, [claimed.state.process_id, other.state.process_id])

        row = await rig.row(claimed.state.process_id)
        assert (row["owner_session"], row["owner_claim"], row["owner_epoch"], row["claim_fails"]) == (None, None, 2, 1)
        assert await commit_all(rig, [claimed, other]) == [Verdict.FENCED, Verdict.APPLIED]


async def test_claims_that_gather_are_answered_apart(postgres_url: str) -> None:
    async with rig_on(postgres_url) as rig:
        session, dead = await rig.session(), await rig.session("dead")
        mine, wanted, hidden = await rig.process(), await rig.process(), await rig.process()
        await rig.admin.execute("UPDATE process SET quarantined = 'why' WHERE process_id = $1", hidden)

        results = await asyncio.gather(
            rig.claim(session, mine),
            rig.claim(session, mine, wanted),
            rig.claim(dead, wanted),
            rig.claim(session, hidden, new_id()),
            rig.claim(session),
        )

        assert [[each.state.process_id for each in found] for found in results] == [[mine], [wanted], [], [], []]


async def test_a_newer_shape_of_state_is_left_to_newer_nodes(postgres_url: str) -> None:
    async with rig_on(postgres_url) as rig:
        process_id = await rig.process()
        await rig.admin.execute("UPDATE process SET state_schema = 2")

        assert await rig.claim(await rig.session(), process_id) == []


async def test_a_claim_whose_answer_is_lost_is_unreachable(postgres_url: str) -> None:
    async with (
        Proxy(postgres_url).open() as proxy,
        rig_on(postgres_url, through=proxy.url) as rig,
    ):
        session = await rig.session()
        await rig.claim(session, await rig.process())
        process_id = await rig.process()
        proxy.loses_next = True

        with pytest.raises(Unreachable):
            await rig.claim(session, process_id)

        assert process_id in await rig.journal.audit(session)
        assert len(await rig.claim(session, await rig.process())) == 1


async def test_owners_tell_who_is_alive_and_what_is_free(postgres_url: str) -> None:
    async with rig_on(postgres_url) as rig:
        (claimed,) = await owned(rig, 1)
        free, ident = await rig.process(), claimed.state.process_id
        session = (await rig.row(ident))["owner_session"]

        async def seen() -> dict[UUID, tuple[Any, ...]]:
            views = await rig.journal.owners([free, ident, new_id()])
            return {
                view.process_id: (view.owner_session, view.owner_claim, view.owner_alive, view.is_claimable)
                for view in views
            }

        assert await seen() == {free: (None, None, False, True), ident: (session, claimed.tenure.claim, True, False)}
        await rig.admin.execute("UPDATE node_session SET state = 'draining'")
        assert (await seen())[ident][2:] == (True, False)
        await rig.admin.execute("UPDATE node_session SET state = 'dead'")
        assert (await seen())[ident][2:] == (False, True)


async def test_the_audit_finds_what_has_work_due(postgres_url: str) -> None:
    async with rig_on(postgres_url) as rig:
        claimed = await owned(rig, 5)
        ready, idle, told, due, later = (each.state.process_id for each in claimed)
        session = (await rig.row(ready))["owner_session"]
        await rig.admin.execute("UPDATE process SET ready = false WHERE process_id <> $1", ready)
        await rig.inbox(told, CancelRequested())
        await rig.admin.execute(
            "INSERT INTO timer (process_id, timer_id, tenant_id, due_at) "
            "VALUES ($1, 'process', $1, now()), ($2, 'process', $2, now() + interval '1 hour')",
            due,
            later,
        )

        assert set(await rig.journal.audit(session)) == {ready, told, due}
        assert idle not in await rig.journal.audit(session)
