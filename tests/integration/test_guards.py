"""Each guard of ownership, alone: it holds, and without it the violation happens (so that its test can fail)."""

import asyncio
import re

import asyncpg
import pytest
from msgspec.structs import replace

from tests.integration.journal_rig import Proxy, begun, change, completed, new_id, rig_on, without
from understudy.domain.messages import CancelRequested
from understudy.domain.ports import Verdict
from understudy.domain.state import STATE_SCHEMA
from understudy.persistence.queries import load_queries

both_ways = pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "unguarded"])


@both_ways
async def test_epoch(postgres_url: str, guarded: bool) -> None:
    """Somebody raised the epoch and left the claim: an operator who stops a process."""
    queries = None if guarded else without("commit", "p.owner_epoch = t.epoch\n    AND ")
    async with rig_on(postgres_url, queries=queries) as rig:
        claimed = await rig.owned()
        await rig.admin.execute("UPDATE process SET owner_epoch = owner_epoch + 1")

        receipt = await rig.journal.commit(change(claimed, *begun(claimed)))

        assert receipt.verdict is (Verdict.FENCED if guarded else Verdict.APPLIED)
        assert (await rig.row(claimed.state.process_id))["version"] == (0 if guarded else 1)


@both_ways
async def test_claim_token(postgres_url: str, guarded: bool) -> None:
    """The server travelled back, and gave the same epoch out again: only the token tells the owners apart."""
    queries = None if guarded else without("commit", "AND p.owner_claim = t.claim")
    async with rig_on(postgres_url, queries=queries) as rig:
        claimed = await rig.owned()
        process_id = claimed.state.process_id
        await rig.admin.execute("UPDATE process SET owner_session = NULL, owner_claim = NULL, owner_epoch = 0")
        (again,) = await rig.claim(await rig.session(), process_id)
        assert again.tenure.epoch == claimed.tenure.epoch

        receipt = await rig.journal.commit(change(claimed, *begun(claimed)))

        assert receipt.verdict is (Verdict.FENCED if guarded else Verdict.APPLIED)
        assert len(await rig.rows("history", process_id)) == (0 if guarded else 2)


@both_ways
async def test_version(postgres_url: str, guarded: bool) -> None:
    """The memory is ahead of the store: the server lost commits that it had confirmed."""
    queries = None if guarded else without("commit", "AND p.version = t.version")
    async with rig_on(postgres_url, queries=queries) as rig:
        claimed = await rig.owned()
        ahead = change(claimed, *begun(claimed)).after
        lost = change(claimed, completed(ahead, "a", 1), version=1, before=ahead)

        receipt = await rig.journal.commit(lost)

        assert receipt.verdict is (Verdict.DIVERGED if guarded else Verdict.APPLIED)
        assert await rig.seqs(claimed.state.process_id) == ([] if guarded else [4])


@both_ways
async def test_last_batch(postgres_url: str, guarded: bool) -> None:
    """The reply is lost: the token of the batch tells that it was applied."""
    queries = None if guarded else without("commit", "last_batch = $1, ", "last_batch = nullif($1::uuid, $1), ")
    async with (
        Proxy(postgres_url).open() as proxy,
        rig_on(postgres_url, through=proxy.url, queries=queries, lanes=1) as rig,
    ):
        first = await rig.owned()
        await rig.journal.commit(change(first, *begun(first)))
        claimed = await rig.owned()
        proxy.loses_next = True

        receipt = await rig.journal.commit(change(claimed, *begun(claimed)))

        assert proxy.lost == 1
        assert receipt.verdict is (Verdict.APPLIED if guarded else Verdict.DIVERGED)
        assert await rig.seqs(claimed.state.process_id) == [2, 3]


@both_ways
async def test_claim_only_over_nobody_or_a_dead_session(postgres_url: str, guarded: bool) -> None:
    owner_is_gone = """AND (p.owner_session IS NULL
         OR EXISTS (SELECT 1 FROM node_session d WHERE d.session_id = p.owner_session AND d.state = 'dead'))"""
    async with rig_on(postgres_url, queries=None if guarded else without("claim", owner_is_gone)) as rig:
        owner = await rig.session()
        claimed = await rig.owned(session_id=owner)
        process_id = claimed.state.process_id
        thief = await rig.session()

        assert len(await rig.claim(thief, process_id)) == (0 if guarded else 1)
        assert (await rig.row(process_id))["owner_session"] == (owner if guarded else thief)

        for state in ("draining", "dead"):
            await rig.admin.execute("UPDATE node_session SET state = $2 WHERE session_id = $1", owner, state)
            found = await rig.claim(thief, process_id)
            if guarded:
                assert [(each.tenure.epoch, each.claim_fails) for each in found] == (
                    [(2, 2)] if state == "dead" else []
                )


@both_ways
@pytest.mark.parametrize("state", ["dead", "draining", None])
async def test_claimant_is_alive(postgres_url: str, guarded: bool, state: str | None) -> None:
    """A session that was declared dead and does not know it, one that takes no new work, one that never was."""
    queries = None if guarded else without("claim", "EXISTS (SELECT 1 FROM claimant)", "true")
    async with rig_on(postgres_url, queries=queries) as rig:
        session_id = new_id() if state is None else await rig.session(state)
        process_id = await rig.process()

        found = await rig.claim(session_id, process_id)

        assert len(found) == (0 if guarded else 1)
        assert (await rig.row(process_id))["owner_session"] == (None if guarded else session_id)


@both_ways
async def test_passivation_only_from_an_empty_inbox(postgres_url: str, guarded: bool) -> None:
    pending = (
        "\n    AND NOT EXISTS (SELECT 1 FROM inbox b WHERE b.process_id = p.process_id AND b.consumed_version IS NULL)"
    )
    async with rig_on(postgres_url, queries=None if guarded else without("passivate", pending)) as rig:
        claimed = await rig.owned()
        process_id = claimed.state.process_id
        await rig.inbox(process_id, CancelRequested())

        assert await rig.journal.passivate(process_id, claimed.tenure, 0) is not guarded
        assert ((await rig.row(process_id))["owner_session"] is None) is not guarded


@both_ways
@pytest.mark.parametrize("condition", ["p.owner_epoch = l.epoch", "p.owner_claim = l.claim", "p.version = l.version"])
async def test_passivation_only_by_the_owner(postgres_url: str, guarded: bool, condition: str) -> None:
    queries = None if guarded else without("passivate", condition, "true")
    async with rig_on(postgres_url, queries=queries) as rig:
        claimed = await rig.owned()
        tenure, version = claimed.tenure, 0
        if "epoch" in condition:
            tenure = replace(tenure, epoch=7)
        elif "claim" in condition:
            tenure = replace(tenure, claim=new_id())
        else:
            version = 7

        assert await rig.journal.passivate(claimed.state.process_id, tenure, version) is not guarded


CHANGES = ["UPDATE history SET type = 'forged'", "DELETE FROM history"]


@both_ways
@pytest.mark.parametrize("statement", CHANGES)
async def test_history_is_append_only_by_grant(postgres_url: str, guarded: bool, statement: str) -> None:
    async with rig_on(postgres_url) as rig:
        claimed = await rig.owned()
        await rig.journal.commit(change(claimed, *begun(claimed)))
        # The trigger stands behind the grant: without it nothing else holds.
        await rig.admin.execute("DROP FUNCTION refuse_history_change CASCADE")
        if not guarded:
            await rig.admin.execute("GRANT UPDATE, DELETE ON history TO understudy_service")

        if guarded:
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
                await rig.database.pool.execute(statement)
        else:
            assert re.fullmatch(r"\w+ 2", await rig.database.pool.execute(statement))


@both_ways
@pytest.mark.parametrize("statement", [*CHANGES, "TRUNCATE history"])
async def test_history_is_append_only_by_trigger(postgres_url: str, guarded: bool, statement: str) -> None:
    """Even for the owner of the table, whom no grant binds."""
    async with rig_on(postgres_url) as rig:
        claimed = await rig.owned()
        await rig.journal.commit(change(claimed, *begun(claimed)))
        if not guarded:
            await rig.admin.execute("DROP FUNCTION refuse_history_change CASCADE")

        if guarded:
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="history is append-only"):
                await rig.admin.execute(statement)
            assert await rig.seqs(claimed.state.process_id) == [2, 3]
        else:
            await rig.admin.execute(statement)
            assert {row["type"] for row in await rig.rows("history", claimed.state.process_id)} <= {"forged"}


async def test_pruning_may_delete_history_but_not_rewrite_it(postgres_url: str) -> None:
    async with rig_on(postgres_url) as rig:
        claimed = await rig.owned()
        await rig.journal.commit(change(claimed, *begun(claimed)))
        await rig.admin.execute("SET understudy.pruning = 'on'")

        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await rig.admin.execute(CHANGES[0])
        assert await rig.admin.execute(CHANGES[1]) == "DELETE 2"


@both_ways
async def test_nothing_is_claimed_for_a_session_that_is_being_declared_dead(postgres_url: str, guarded: bool) -> None:
    """The claim began before the death was committed: without the lock it ends after it, for a session that is gone."""
    queries = None if guarded else without("claim", " FOR SHARE")
    async with rig_on(postgres_url, queries=queries) as rig:
        session_id = await rig.session()
        process_id = await rig.process()
        async with rig.admin.transaction():
            await rig.admin.execute("UPDATE node_session SET state = 'dead' WHERE session_id = $1", session_id)
            claiming = asyncio.ensure_future(rig.claim(session_id, process_id))
            if guarded:
                await rig.blocked()
            else:
                assert len(await claiming) == 1

        assert len(await claiming) == (0 if guarded else 1)


@both_ways
async def test_a_claim_locks_what_it_takes(postgres_url: str, guarded: bool) -> None:
    """Another claim is under way: without the lock this one waits for it, and then takes the process from it."""
    queries = None if guarded else without("claim", "  FOR NO KEY UPDATE OF p SKIP LOCKED\n")
    async with rig_on(postgres_url, queries=queries) as rig:
        first, second = await rig.session(), await rig.session()
        process_id = await rig.process()
        other = await rig.database.connect()
        async with asyncio.TaskGroup() as group, other.transaction():
            await other.fetch(load_queries()["claim"], first, [process_id], [new_id()], STATE_SCHEMA)
            claiming = group.create_task(rig.claim(second, process_id))
            await (asyncio.wait([claiming]) if guarded else rig.blocked())

        other.terminate()
        row = await rig.row(process_id)
        assert len(claiming.result()) == (0 if guarded else 1)
        assert (row["owner_session"], row["owner_epoch"]) == ((first, 1) if guarded else (second, 2))
