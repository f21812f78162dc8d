"""What is claimed is what was committed: the state comes back exactly."""

from datetime import timedelta

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from tests.integration.journal_rig import AT, begun, change, completed, ended, new_id, rig_on, started
from understudy.domain.effects import PublishEvent
from understudy.domain.facts import (
    ActivityFailed,
    ActivityRetryScheduled,
    ActivityWaiting,
    HistoryRow,
    ProcessFailed,
    ProcessWaiting,
    fact_of,
)
from understudy.domain.failure import Category, Failure
from understudy.domain.identity import execution_id
from understudy.domain.messages import Answered, CancelRequested, EventArrived
from understudy.domain.ports import Change, Claimed, Consumed, Verdict
from understudy.domain.state import AwaitedEvent, DefinitionRef, State, Waiting, subscriptions_of, timers_of
from understudy.domain.states import ActivityState, ProcessState
from understudy.persistence.rows import decode

FAILURE = Failure("http.status", Category.EXTERNAL, "503", {"b": None, "a": [1e300, -0.5, "é\u2028"]}, attempt=1)


async def passed_on(rig, claimed: Claimed, version: int) -> Claimed:
    """The same process in other hands."""
    process_id = claimed.state.process_id
    assert await rig.journal.passivate(process_id, claimed.tenure, version)
    (again,) = await rig.claim(await rig.session(), process_id)
    return again


async def test_a_new_process_is_as_it_was_started(postgres_url: str) -> None:
    async with rig_on(postgres_url) as rig:
        claimed = await rig.owned()

        assert claimed.state == State(
            process_id=claimed.state.process_id,
            definition=DefinitionRef("order", 3, b"\x01"),
            key="k",
            input={"b": 1, "a": [1.0, 1e16]},
            created_at=AT,
            updated_at=AT,
        )
        assert list(claimed.state.input) == ["b", "a"]
        assert [type(number) for number in claimed.state.input["a"]] == [float, float]
        assert (claimed.tenure.epoch, claimed.version, claimed.claim_fails, claimed.deliveries) == (1, 0, 1, ())
        assert rig.clock.learned == claimed.db_now


@pytest.mark.parametrize("output", [None, {"b": 1, "a": 1e16}, [], "", 0, False, "\\u0000", {"é": -0.0}])
async def test_an_output_comes_back_as_it_was(postgres_url: str, output: object) -> None:
    async with rig_on(postgres_url) as rig:
        claimed = await rig.owned()
        first = change(claimed, *begun(claimed, "z"), started(claimed.state, "a"))
        await rig.journal.commit(first)
        second = change(claimed, completed(first.after, "a", output), version=1, before=first.after)
        await rig.journal.commit(second)

        again = await passed_on(rig, claimed, 2)

        assert again.state == second.after
        assert list(again.state.executions) == ["z", "a"]
        assert again.state.executions["z"].output is UNSET
        assert repr(again.state.executions["a"].output) == repr(output)
        assert (again.version, again.tenure.epoch, again.claim_fails) == (2, 2, 1)


async def test_every_field_of_a_state_comes_back(postgres_url: str) -> None:
    async with rig_on(postgres_url) as rig:
        claimed = await rig.owned()
        ident = claimed.state.process_id
        due = AT + timedelta(days=400, microseconds=1)
        waiting = Waiting("event", AT, due, AwaitedEvent("order.paid", None), "T", "I", "me")
        facts = (
            *begun(claimed, "m"),
            started(claimed.state, "b", deadline_at=due, generation=2),
            started(claimed.state, "a"),
            ActivityWaiting(
                at=AT,
                origin=ActivityState.RUNNING,
                activity="m",
                execution_id=execution_id(ident, "m", 1),
                attempt=1,
                waiting=waiting,
                failure=FAILURE,
            ),
            ActivityRetryScheduled(
                at=AT,
                origin=ActivityState.RUNNING,
                activity="b",
                execution_id=execution_id(ident, "b", 1),
                attempt=1,
                failure=FAILURE,
                next_attempt_at=due,
                is_unknown=True,
            ),
            completed(claimed.state, "a", {"x": 1}),
            ProcessWaiting(at=AT, origin=ProcessState.IN_PROGRESS),
        )
        made = change(claimed, *facts)
        made = replace(made, after=replace(made.after, deadline_at=due, paused=True))

        assert (await rig.journal.commit(made)).verdict is Verdict.APPLIED
        again = await passed_on(rig, claimed, 1)

        assert again.state == made.after
        assert list(again.state.executions) == ["m", "b", "a"]
        recorded = sorted(await rig.rows("history", ident), key=lambda row: row["seq"])
        assert [row["seq"] for row in recorded] == list(range(2, 2 + len(facts)))
        assert {(row["version"], row["node"], row["epoch"]) for row in recorded} == {(1, "node-1", 1)}
        columns = ("type", "at", "origin", "target", "activity", "execution_id", "attempt")
        assert [
            fact_of(HistoryRow(*(row[name] for name in columns), decode(row["data"].encode()))) for row in recorded
        ] == list(facts)


async def test_timers_and_subscriptions_follow_the_state(postgres_url: str) -> None:
    async with rig_on(postgres_url) as rig:
        claimed = await rig.owned()
        ident = claimed.state.process_id

        async def stored() -> tuple[dict, dict]:
            timers = {row["timer_id"]: row["due_at"] for row in await rig.rows("timer", ident)}
            waits = {
                row["execution_id"]: AwaitedEvent(row["type"], row["key"])
                for row in await rig.rows("subscription", ident)
            }
            return timers, waits

        def wait(event: str, due: int) -> ActivityWaiting:
            return ActivityWaiting(
                at=AT,
                origin=ActivityState.RUNNING,
                activity="w",
                execution_id=execution_id(ident, "w", 1),
                attempt=1,
                waiting=Waiting("event", AT, AT + timedelta(seconds=due), AwaitedEvent(event, "k")),
            )

        first = change(claimed, *begun(claimed, "w"), wait("one", 5))
        first = replace(first, after=replace(first.after, deadline_at=AT + timedelta(hours=1)))
        moved_execution = replace(
            first.after.executions["w"],
            waiting=Waiting("event", AT, AT + timedelta(seconds=9), AwaitedEvent("two", None)),
        )
        moved = replace(first.after, executions={"w": moved_execution}, deadline_at=None)
        steps = [
            first,
            Change(claimed.tenure, 1, first.after, moved, ()),
            change(claimed, completed(moved, "w", 1), ended(), version=2, before=moved),
        ]
        for step in steps:
            assert (await rig.journal.commit(step)).verdict is Verdict.APPLIED
            assert await stored() == (
                {ident: timer.due_at for ident, timer in timers_of(step.after).items()},
                subscriptions_of(step.after),
            )
        assert await stored() == ({}, {})


async def test_a_process_that_ends_lets_everything_go(postgres_url: str) -> None:
    async with rig_on(postgres_url) as rig:
        claimed = await rig.owned()
        ident = claimed.state.process_id
        waiting = ActivityWaiting(
            at=AT,
            origin=ActivityState.RUNNING,
            activity="w",
            execution_id=execution_id(ident, "w", 1),
            attempt=1,
            waiting=Waiting("event", AT, AT, AwaitedEvent("one")),
        )
        first = change(claimed, *begun(claimed, "w"), waiting)
        await rig.journal.commit(first)
        failed = ProcessFailed(at=AT, origin=ProcessState.IN_PROGRESS, failure=FAILURE)

        receipt = await rig.journal.commit(change(claimed, failed, version=1, before=first.after))

        row = await rig.row(ident)
        assert receipt.verdict is Verdict.APPLIED
        assert (row["state"], row["ready"], row["owner_session"], row["owner_claim"]) == ("FAILED", False, None, None)
        assert row["owner_epoch"] == 1
        assert (await rig.rows("timer", ident), await rig.rows("subscription", ident)) == ([], [])
        assert await rig.claim(await rig.session(), ident) == []


async def test_visits_that_came_and_went_within_a_change_are_kept(postgres_url: str) -> None:
    async with rig_on(postgres_url) as rig:
        claimed = await rig.owned()
        ident = claimed.state.process_id
        first = change(claimed, *begun(claimed, "loop"))
        await rig.journal.commit(first)
        state = first.after
        round_trips = (
            completed(state, "loop", 1, visit=1),
            started(state, "side"),
            completed(state, "side", None),
            started(state, "loop", visit=2, seconds=2),
            completed(state, "loop", 2, visit=2, seconds=3),
            started(state, "loop", visit=3, seconds=4),
        )
        second = change(claimed, *round_trips, version=1, before=state)

        await rig.journal.commit(second)

        kept = sorted(
            (row["activity"], row["visit"], row["state"]) for row in await rig.rows("activity_execution", ident)
        )
        assert kept == [
            ("loop", 1, "COMPLETED"),
            ("loop", 2, "COMPLETED"),
            ("loop", 3, "RUNNING"),
            ("side", 1, "COMPLETED"),
        ]
        assert (await passed_on(rig, claimed, 2)).state == second.after


async def test_the_inbox_comes_with_the_claim_and_is_consumed_by_the_commit(postgres_url: str) -> None:
    messages = [
        Answered("a", new_id(), "fail", failure=FAILURE, by="me"),
        EventArrived(new_id(), new_id(), "order.paid", "k", {"b": 1, "a": None}),
        CancelRequested("enough"),
    ]
    async with rig_on(postgres_url) as rig:
        process_id, other = await rig.process(), await rig.process()
        ids = [await rig.inbox(process_id, message) for message in messages]

        (claimed,) = await rig.claim(await rig.session(), process_id)

        assert [delivery.message for delivery in claimed.deliveries] == messages
        assert [delivery.message_id for delivery in claimed.deliveries] == ids
        assert await rig.journal.deliveries([other, process_id]) == {process_id: list(claimed.deliveries)}

        used = [Consumed(ids[0], "applied"), Consumed(ids[2], "rejected: late")]
        await rig.journal.commit(change(claimed, *begun(claimed), consumed=used))

        outcomes = {
            row["msg_id"]: (row["consumed_version"], row["outcome"]) for row in await rig.rows("inbox", process_id)
        }
        assert outcomes == {ids[0]: (1, "applied"), ids[1]: (None, None), ids[2]: (1, "rejected: late")}
        assert [delivery.message_id for delivery in (await rig.journal.deliveries([process_id]))[process_id]] == [
            ids[1]
        ]


async def test_announcements_go_out_with_the_commit(postgres_url: str) -> None:
    events = [PublishEvent(new_id(), "shipped", None, None), PublishEvent(new_id(), "billed", "k", {"a": 1})]
    async with rig_on(postgres_url) as rig:
        claimed = await rig.owned()

        await rig.journal.commit(change(claimed, *begun(claimed), publish=events))

        rows = sorted(await rig.rows("outbox", claimed.state.process_id), key=lambda row: row["idx"])
        assert [
            (row["version"], row["idx"], row["event_id"], row["topic"], row["key"], row["data"]) for row in rows
        ] == [
            (1, 0, events[0].event_id, "shipped", None, None),
            (1, 1, events[1].event_id, "billed", "k", '{"a":1}'),
        ]


async def test_ready_is_whether_work_is_due_now(postgres_url: str) -> None:
    async with rig_on(postgres_url) as rig:
        claimed = await rig.owned()
        ident = claimed.state.process_id
        assert (await rig.row(ident))["ready"]
        first = change(claimed, *begun(claimed))
        await rig.journal.commit(first)
        assert (await rig.row(ident))["ready"]
        retry = ActivityFailed(
            at=AT,
            origin=ActivityState.RUNNING,
            activity="a",
            execution_id=execution_id(ident, "a", 1),
            attempt=1,
            failure=FAILURE,
        )
        await rig.journal.commit(change(claimed, retry, version=1, before=first.after))

        assert not (await rig.row(ident))["ready"]


async def test_what_cannot_be_read_is_quarantined_and_harms_nobody(postgres_url: str) -> None:
    async with rig_on(postgres_url) as rig:
        good, bad = await rig.process(), await rig.process()
        await rig.admin.execute("UPDATE process SET body = '{\"active\": 7}' WHERE process_id = $1", bad)

        found = await rig.claim(await rig.session(), good, bad)

        assert [each.state.process_id for each in found] == [good]
        row = await rig.row(bad)
        assert "cannot be read" in row["quarantined"]
        assert row["owner_session"] is None
        assert (await rig.journal.owners([bad]))[0].is_claimable is False
