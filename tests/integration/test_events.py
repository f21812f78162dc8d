"""Events and the waits for them, on a real server and in every order in which they can meet."""

import asyncio
import json
import random
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest

from understudy.domain.errors import Invalid
from understudy.domain.identity import TENANT
from understudy.domain.messages import EventArrived, InboxMessage
from understudy.domain.state import AwaitedEvent
from understudy.domain.views import NewEvent
from understudy.persistence.events import Events
from understudy.persistence.pool import Database
from understudy.persistence.queries import load_queries

PAID = AwaitedEvent("order.paid", "7")


@pytest.fixture
def events(database: Database) -> Events:
    return Events(database)


def paid(**fields: Any) -> NewEvent:
    given: dict[str, Any] = {"event_id": uuid4(), "type": PAID.type, "key": PAID.key, "data": {"z": 1, "a": 1.0}}
    return NewEvent(**(given | fields))


async def wait(
    hand: Any, awaited: AwaitedEvent = PAID, process_id: UUID | None = None, execution_id: UUID | None = None
) -> tuple[UUID, UUID]:
    """Begin to wait, as a commit does."""
    process_id, execution_id = process_id or uuid4(), execution_id or uuid4()
    await hand.insert(
        "subscription",
        process_id=process_id,
        execution_id=execution_id,
        tenant_id=TENANT,
        type=awaited.type,
        key=awaited.key,
    )
    return process_id, execution_id


async def arrivals(hand: Any) -> list[tuple[UUID, EventArrived]]:
    rows = await hand.rows("SELECT process_id, kind, body FROM inbox ORDER BY arrived")
    assert {kind for _, kind, _ in rows} <= {"event"}
    return [(process_id, msgspec.json.decode(body, type=InboxMessage)) for process_id, _, body in rows]


async def received(hand: Any) -> set[tuple[UUID, UUID, UUID]]:
    return {(process_id, arrived.execution_id, arrived.event_id) for process_id, arrived in await arrivals(hand)}


async def taken_by(hand: Any, event_id: UUID) -> UUID | None:
    found: UUID | None = await hand.value("SELECT taken_by FROM event WHERE event_id = $1", event_id)
    return found


async def publish(events: Events, **fields: Any) -> UUID:
    event = paid(**fields)
    await events.accept(event)
    await events.deliver(event.event_id)
    return event.event_id


async def blocked(hand: Any) -> None:
    """Return when a statement waits for a lock."""
    async with asyncio.timeout(5):
        while not await hand.value("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            pass


async def test_an_event_reaches_everyone_who_waits_for_it(events: Events, hand: Any) -> None:
    first, second = await wait(hand), await wait(hand)
    await wait(hand, AwaitedEvent("order.paid", "8"))
    await wait(hand, AwaitedEvent("order.paid"))
    await wait(hand, AwaitedEvent("order.shipped", "7"))
    event = paid()
    await events.accept(event)

    reached = await events.deliver(event.event_id)

    assert reached == sorted([first[0], second[0]])
    assert await received(hand) == {(*first, event.event_id), (*second, event.event_id)}
    (_, arrived), _ = await arrivals(hand)
    assert (arrived.type, arrived.key) == ("order.paid", "7")
    assert json.dumps(arrived.data) == '{"z": 1, "a": 1.0}'
    assert await taken_by(hand, event.event_id) in reached


async def test_a_missing_key_matches_a_missing_key_only(events: Events, hand: Any) -> None:
    keyless = await wait(hand, AwaitedEvent("order.paid"))
    await wait(hand)

    event_id = await publish(events, key=None, data=None)

    assert await received(hand) == {(*keyless, event_id)}
    kept = await publish(events, key=None)
    assert not await events.take(*await wait(hand), PAID)
    waiting = AwaitedEvent("order.paid")
    assert await events.take(*await wait(hand, waiting), waiting)
    assert await taken_by(hand, kept) is not None


async def test_an_event_is_delivered_once(events: Events, hand: Any) -> None:
    await wait(hand)
    event_id = await publish(events)
    late = await wait(hand)

    assert await events.deliver(event_id) == []
    assert await events.deliver(uuid4()) == []

    assert late not in {(process_id, execution) for process_id, execution, _ in await received(hand)}
    assert not await events.take(*late, PAID)


async def test_an_event_that_nobody_waits_for_is_kept_for_the_first_that_comes(events: Events, hand: Any) -> None:
    older = await publish(events)
    newer = await publish(events)
    first, second, third = [await wait(hand) for _ in range(3)]

    assert [await events.take(*waiting, PAID) for waiting in (first, second, third)] == [True, True, False]

    assert await received(hand) == {(*first, older), (*second, newer)}
    assert await taken_by(hand, older) == first[0]
    assert not await events.take(*first, PAID)


async def test_a_second_event_finds_nobody_and_is_kept_for_the_next_wait(events: Events, hand: Any) -> None:
    """One wait takes one event: the second is not lost on a process that has not yet looked at the first."""
    waiting = await wait(hand)
    first, second = await publish(events), await publish(events)

    assert await received(hand) == {(*waiting, first)}
    assert await taken_by(hand, second) is None

    again = await wait(hand, process_id=waiting[0])
    assert await events.take(*again, PAID)
    assert await received(hand) == {(*waiting, first), (*again, second)}


async def test_an_event_with_an_addressee_is_for_that_process_only(events: Events, hand: Any) -> None:
    ours, theirs = await wait(hand), await wait(hand)
    event_id = await publish(events, process_id=ours[0])
    assert await received(hand) == {(*ours, event_id)}

    kept = await publish(events, process_id=ours[0])
    assert not await events.take(*theirs, PAID)
    again = await wait(hand, process_id=ours[0])
    assert await events.take(*again, PAID)
    assert await taken_by(hand, kept) == ours[0]


async def test_a_wait_that_is_over_takes_nothing(events: Events, hand: Any) -> None:
    kept = await publish(events)

    assert not await events.take(uuid4(), uuid4(), PAID)

    assert await taken_by(hand, kept) is None
    assert await arrivals(hand) == []


async def test_an_event_id_is_remembered(events: Events, hand: Any) -> None:
    event = paid(request_hash=b"hash")
    first = await events.accept(event)
    again = await events.accept(event)
    other = await events.accept(paid(event_id=event.event_id, request_hash=b"other"))
    unasked = await events.accept(paid(event_id=event.event_id))

    assert [(answer.is_replay, answer.conflicts) for answer in (first, again, other, unasked)] == [
        (False, False),
        (True, False),
        (False, True),
        (True, False),
    ]
    ((stored, keeping),) = await hand.rows("SELECT data, expires_at - received_at FROM event")
    assert json.loads(stored) == event.data
    assert timedelta(hours=23, minutes=59) < keeping < timedelta(hours=24, seconds=1)


async def test_of_the_same_event_at_once_one_is_stored(events: Events) -> None:
    event = paid()

    answers = await asyncio.gather(*(events.accept(event) for _ in range(20)))

    assert sorted(answer.is_replay for answer in answers) == [False] + [True] * 19


@pytest.mark.parametrize("poison", [{"key": "a\0b"}, {"type": "\ud800"}, {"data": "\ud800"}])
async def test_what_cannot_be_stored_is_refused(events: Events, poison: dict[str, str]) -> None:
    with pytest.raises(Invalid):
        await events.accept(paid(**poison))


async def test_events_past_their_time_are_neither_taken_nor_kept(database: Database, hand: Any) -> None:
    events = Events(database, keeping=timedelta(0))
    for _ in range(3):
        await publish(events)
    forgotten_by_the_gateway = paid()
    await events.accept(forgotten_by_the_gateway)

    assert not await events.take(*await wait(hand), PAID)
    assert [await events.expire(2) for _ in range(3)] == [2, 1, 0]

    assert await events.undelivered(10) == [forgotten_by_the_gateway.event_id]
    assert len(await events.deliver(forgotten_by_the_gateway.event_id)) == 1


async def test_undelivered_are_those_accepted_and_not_handed_out(events: Events) -> None:
    stored = [paid() for _ in range(3)]
    for event in stored:
        await events.accept(event)
    await events.deliver(stored[1].event_id)

    assert await events.undelivered(10) == [stored[0].event_id, stored[2].event_id]
    assert await events.undelivered(1) == [stored[0].event_id]


async def test_a_wait_that_begins_while_the_event_looks_around_takes_it(events: Events, hand: Any) -> None:
    """The delivery looked before the wait was committed, and holds the event: the wait must not pass it by."""
    event = paid()
    await events.accept(event)
    async with asyncio.TaskGroup() as group, hand.connection.transaction():
        await hand.run(load_queries()["deliver_event"], TENANT, event.event_id)
        taking = group.create_task(begin_and_take(events, hand))
        await blocked(hand)
    waiting = taking.result()
    assert await received(hand) == {(*waiting, event.event_id)}
    assert await taken_by(hand, event.event_id) == waiting[0]


async def begin_and_take(events: Events, hand: Any) -> tuple[UUID, UUID]:
    """Begin to wait in a transaction of its own and take."""
    waiting = uuid4(), uuid4()
    connection = await asyncpg.connect(hand.url)
    await wait(type(hand)(connection, hand.url), PAID, *waiting)
    await connection.close()
    assert await events.take(*waiting, PAID)
    return waiting


@pytest.mark.parametrize("is_applied", [True, False])
async def test_an_event_being_taken_still_reaches_all_others(events: Events, hand: Any, is_applied: bool) -> None:
    event = paid()
    await events.accept(event)
    taker, other = await wait(hand), await wait(hand)
    async with asyncio.TaskGroup() as group:
        transaction = hand.connection.transaction()
        await transaction.start()
        assert await hand.value(load_queries()["take_event"], TENANT, *taker, PAID.type, PAID.key)
        delivering = group.create_task(events.deliver(event.event_id))
        await blocked(hand)
        await (transaction.commit() if is_applied else transaction.rollback())

    assert delivering.result() == sorted([taker[0], other[0]])
    assert await received(hand) == {(*taker, event.event_id), (*other, event.event_id)}
    if is_applied:
        assert await taken_by(hand, event.event_id) == taker[0]


@pytest.mark.parametrize("is_applied", [True, False])
async def test_a_kept_event_that_another_may_take_is_waited_for(events: Events, hand: Any, is_applied: bool) -> None:
    first, second = await publish(events), await publish(events)
    quick, slow = await wait(hand), await wait(hand)
    async with asyncio.TaskGroup() as group:
        transaction = hand.connection.transaction()
        await transaction.start()
        assert await hand.value(load_queries()["take_event"], TENANT, *quick, PAID.type, PAID.key)
        taking = group.create_task(events.take(*slow, PAID))
        await blocked(hand)
        await (transaction.commit() if is_applied else transaction.rollback())

    assert taking.result()
    assert (*slow, second if is_applied else first) in await received(hand)


@pytest.mark.parametrize("is_applied", [True, False])
async def test_a_wait_that_may_end_otherwise_is_waited_for(events: Events, hand: Any, is_applied: bool) -> None:
    """Its commit may be rolled back: an event that had skipped it would be kept while it waits."""
    ending, other = await wait(hand), await wait(hand)
    event = paid()
    await events.accept(event)
    async with asyncio.TaskGroup() as group:
        transaction = hand.connection.transaction()
        await transaction.start()
        await hand.run("DELETE FROM subscription WHERE execution_id = $1", ending[1])
        delivering = group.create_task(events.deliver(event.event_id))
        await blocked(hand)
        await (transaction.commit() if is_applied else transaction.rollback())

    assert delivering.result() == ([other[0]] if is_applied else sorted([ending[0], other[0]]))


@pytest.mark.parametrize("is_applied", [True, False])
async def test_a_wait_that_ends_while_it_takes_leaves_the_event(events: Events, hand: Any, is_applied: bool) -> None:
    kept, ending = await publish(events), await wait(hand)
    async with asyncio.TaskGroup() as group:
        transaction = hand.connection.transaction()
        await transaction.start()
        await hand.run("DELETE FROM subscription WHERE execution_id = $1", ending[1])
        taking = group.create_task(events.take(*ending, PAID))
        await blocked(hand)
        await (transaction.commit() if is_applied else transaction.rollback())

    assert taking.result() is not is_applied
    assert await taken_by(hand, kept) == (None if is_applied else ending[0])


async def test_no_order_of_events_and_waits_loses_or_doubles_one(postgres_url: str, hand: Any) -> None:
    database = Database(postgres_url, pool_size=6)
    await database.start()
    events = Events(database)
    seed = random.randrange(2**32)
    draw = random.Random(seed)
    keys = [None, "a", "b"]
    async with database.pool.acquire() as connection:
        lock = asyncio.Lock()

        async def begin() -> None:
            awaited = AwaitedEvent("order.paid", draw.choice(keys))
            waiting = uuid4(), uuid4()
            async with lock:
                await wait(type(hand)(connection, hand.url), awaited, *waiting)
            await events.take(*waiting, awaited)

        async def tell() -> None:
            event = paid(key=draw.choice(keys))
            await events.accept(event)
            await asyncio.gather(*(events.deliver(event.event_id) for _ in range(2)))

        actions = [begin] * 60 + [tell] * 60
        draw.shuffle(actions)
        await asyncio.gather(*(action() for action in actions))
    await database.stop()

    met = await received(hand)
    assert len({execution_id for _, execution_id, _ in met}) == len(met), f"seed {seed}: an execution got two events"
    assert await hand.value("SELECT count(*) FROM subscription") == 60 - len(met), f"seed {seed}"
    unmet = (
        "SELECT count(*) FROM subscription s JOIN event e ON e.key IS NOT DISTINCT FROM s.key WHERE taken_by IS NULL"
    )
    assert await hand.value(unmet) == 0, f"seed {seed}: a wait and its event passed each other"
