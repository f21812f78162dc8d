"""The safety nets on a real server."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from understudy.domain.identity import TENANT
from understudy.domain.state import AwaitedEvent
from understudy.persistence.lookout import Lookout
from understudy.persistence.pool import Database

ENDED = ("COMPLETED", "FAILED", "CANCELLED")


async def put_message(hand: Any, process_id: UUID, kind: str = "cancel", seconds_ago: int = 0) -> UUID:
    message_id = uuid4()
    await hand.insert("inbox", process_id=process_id, msg_id=message_id, tenant_id=TENANT, kind=kind, body="{}")
    await hand.run(
        "UPDATE inbox SET created_at = created_at - $2::interval WHERE msg_id = $1",
        message_id,
        timedelta(seconds=seconds_ago),
    )
    return message_id


async def put_timer(hand: Any, process_id: UUID, seconds_ago: int = 1, timer_id: str = "cool_off:1:wait") -> None:
    due_at = await hand.value("SELECT clock_timestamp() - $1::interval", timedelta(seconds=seconds_ago))
    await hand.insert("timer", process_id=process_id, timer_id=timer_id, tenant_id=TENANT, due_at=due_at)


async def test_ready_are_those_nobody_owns_that_have_work(database: Database, hand: Any) -> None:
    lookout = Lookout(database)
    first = await hand.process()
    second = await hand.process(state="IN_PROGRESS")
    suspect_id = await hand.process(claim_fails=3)
    await hand.run("UPDATE process SET created_at = '2000-01-01' WHERE process_id = $1", suspect_id)
    await hand.process(ready=False, state="WAITING")
    await hand.process(owner_session=await hand.session("dead"))
    await hand.process(quarantined="it kills nodes")
    await hand.process(state_schema=2)
    for state in ENDED:
        await hand.process(state=state)

    assert await lookout.ready(10) == [first, second, suspect_id]
    assert await lookout.ready(1) == [first]


async def test_pending_are_those_whose_message_has_waited(database: Database, hand: Any) -> None:
    lookout = Lookout(database)
    young, old, owned, ended, quarantined, retried = [
        await hand.process(**columns)
        for columns in (
            {"state": "WAITING", "ready": False},
            {"state": "WAITING", "ready": False},
            {"owner_session": await hand.session()},
            {"state": "COMPLETED"},
            {"quarantined": "it kills nodes"},
            {"state": "FAILED"},
        )
    ]
    await put_message(hand, young)
    for process_id, seconds in ((old, 60), (old, 30), (owned, 90), (ended, 50), (quarantined, 50)):
        await put_message(hand, process_id, seconds_ago=seconds)
    await put_message(hand, retried, kind="retry", seconds_ago=10)
    consumed = await put_message(hand, young, seconds_ago=100)
    await hand.run("UPDATE inbox SET consumed_version = 1 WHERE msg_id = $1", consumed)

    assert await lookout.pending(timedelta(seconds=3), 10) == [owned, old, retried]
    assert await lookout.pending(timedelta(seconds=3), 1) == [owned]
    assert await lookout.pending(timedelta(0), 10) == [owned, old, retried, young]


async def test_due_are_those_with_a_timer_and_no_living_owner(database: Database, hand: Any) -> None:
    lookout = Lookout(database)
    waiting = {"state": "WAITING", "ready": False}
    late, later, abandoned = [
        await hand.process(**waiting, **more) for more in ({}, {}, {"owner_session": await hand.session("dead")})
    ]
    await put_timer(hand, late, 10)
    await put_timer(hand, late, 20, "pay:1:deadline")
    await put_timer(hand, later, 30)
    await put_timer(hand, abandoned, 5)
    for columns in (
        {"owner_session": await hand.session()},
        {"owner_session": await hand.session("draining")},
        {"quarantined": "it kills nodes"},
        {"state_schema": 2},
        {"state": "CANCELLED"},
    ):
        await put_timer(hand, await hand.process(**(waiting | columns)))
    await put_timer(hand, await hand.process(**waiting), seconds_ago=-60)

    assert await lookout.due(10) == [later, late, abandoned]
    assert await lookout.due(2) == [later, late]


async def test_a_paused_process_waits_with_its_next_attempt_only(database: Database, hand: Any) -> None:
    retrying, timed = [await hand.process(state="WAITING", paused=True) for _ in range(2)]
    await put_timer(hand, retrying, timer_id="pay:1:retry")
    await put_timer(hand, timed, timer_id="pay:1:retry")
    await put_timer(hand, timed, timer_id="pay:1:deadline")

    assert await Lookout(database).due(10) == [timed]


@pytest.mark.parametrize("state", ENDED)
async def test_messages_of_ended_processes_are_rejected_with_the_reason(
    database: Database, hand: Any, state: str
) -> None:
    lookout = Lookout(database)
    ended, running = await hand.process(state=state, version=7), await hand.process(state="IN_PROGRESS")
    for process_id in (ended, ended, ended, running):
        await put_message(hand, process_id)

    assert await lookout.reject_orphans(2) == 2
    assert await lookout.reject_orphans(2) == 1
    assert await lookout.reject_orphans(2) == 0

    assert set(await hand.rows("SELECT process_id, consumed_version, outcome FROM inbox")) == {
        (ended, 7, f"rejected: the process is {state}"),
        (running, None, None),
    }


async def test_a_failed_process_that_will_be_retried_keeps_its_messages(database: Database, hand: Any) -> None:
    failed = await hand.process(state="FAILED")
    await put_message(hand, failed, kind="event")
    await put_message(hand, failed, kind="retry")

    assert await Lookout(database).reject_orphans(10) == 0


async def test_unmet_are_the_waits_whose_event_is_kept(database: Database, hand: Any) -> None:
    lookout = Lookout(database)
    waiting, other = await hand.process(state="WAITING", ready=False), await hand.process(state="WAITING", ready=False)

    async def wait(process_id: UUID, event_type: str, key: str | None) -> UUID:
        execution_id = uuid4()
        await hand.insert(
            "subscription", process_id=process_id, execution_id=execution_id, tenant_id=TENANT, type=event_type, key=key
        )
        return execution_id

    async def keep(event_type: str, key: str | None, **columns: Any) -> None:
        now = await hand.value("SELECT clock_timestamp()")
        given = {"expires_at": now + timedelta(hours=1), "fanned_out_at": now} | columns
        await hand.insert("event", tenant_id=TENANT, event_id=uuid4(), type=event_type, key=key, **given)

    met = await wait(waiting, "paid", "o-1")
    keyless = await wait(waiting, "shipped", None)
    await wait(waiting, "taken", None)
    await wait(waiting, "expired", None)
    await wait(waiting, "addressed", None)
    await wait(waiting, "young", None)
    await keep("paid", "o-1")
    await keep("paid", "o-2")
    await keep("paid", None)
    await keep("shipped", None, process_id=waiting)
    await keep("taken", None, taken_by=other)
    await keep("expired", None, expires_at=await hand.value("SELECT clock_timestamp()"))
    await keep("addressed", None, process_id=other)
    await keep("young", None, fanned_out_at=None)

    assert {(wait.execution_id, wait.awaited) for wait in await lookout.unmet(10)} == {
        (met, AwaitedEvent("paid", "o-1")),
        (keyless, AwaitedEvent("shipped", None)),
    }
    assert len(await lookout.unmet(1)) == 1
