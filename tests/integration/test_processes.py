"""Processes as the gateway starts and reads them, on a real server."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from understudy.domain.errors import Invalid, Unreachable
from understudy.domain.identity import TENANT
from understudy.domain.state import DefinitionRef
from understudy.domain.states import ActivityState, ProcessState
from understudy.domain.views import NewProcess, Query
from understudy.persistence.definitions import Definitions
from understudy.persistence.pool import Database
from understudy.persistence.processes import Processes

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def new(process_id: UUID | None = None, **fields: Any) -> NewProcess:
    given: dict[str, Any] = {
        "definition": DefinitionRef("order", 3, b"digest"),
        "content": None,
        "key": None,
        "labels": {},
        "input": None,
        "request_hash": b"hash",
    }
    return NewProcess(process_id=process_id or uuid4(), **(given | fields))


async def test_a_start_is_a_process_with_its_first_history_row(database: Database) -> None:
    processes = Processes(database)
    process = new(key="order-7", labels={"region": "eu"}, input={"z": 1, "a": [1.0, None]})

    answer = await processes.start(process)

    assert (answer.is_replay, answer.conflicts) == (False, False)
    view = await processes.find(process.process_id)
    assert view is not None
    assert (view.definition, view.key, view.labels) == (process.definition, "order-7", {"region": "eu"})
    assert json.dumps(view.input) == '{"z": 1, "a": [1.0, null]}'
    assert (view.state, view.paused, view.version, view.executions) == (ProcessState.CREATED, False, 0, ())
    assert (view.output, view.failure, view.started_at, view.ended_at) == (None, None, None, None)
    assert (view.owner_session, view.owner_epoch, view.quarantined) == (None, 0, None)
    assert view.created_at == view.updated_at
    (row,) = await processes.history(process.process_id, 0, 10)
    assert (row.seq, row.version, row.node, row.epoch) == (1, 0, None, None)
    assert (row.row.type, row.row.origin, row.row.target, row.row.at) == (
        "process.created",
        None,
        "CREATED",
        view.created_at,
    )
    assert row.row.data == {
        "definition": {"name": "order", "version": 3},
        "key": "order-7",
        "labels": {"region": "eu"},
    }


async def test_the_same_call_again_is_a_replay_and_another_one_a_conflict(database: Database) -> None:
    processes = Processes(database)
    process = new(first_status=202, input=1)
    await processes.start(process)

    again = await processes.start(process)
    other = await processes.start(new(process.process_id, request_hash=b"other", input=2))

    assert (again.is_replay, again.conflicts, again.first_status) == (True, False, 202)
    assert (other.is_replay, other.conflicts) == (False, True)
    view = await processes.find(process.process_id)
    assert view is not None
    assert view.input == 1
    assert len(await processes.history(process.process_id, 0, 10)) == 1


async def test_an_inline_definition_brings_its_content(database: Database) -> None:
    processes = Processes(database)
    inline = DefinitionRef("adhoc", None, b"inline")

    await asyncio.gather(*(processes.start(new(definition=inline, content=b'{"b": 1, "a": 2}')) for _ in range(3)))

    assert await Definitions(database).content(b"inline") == b'{"b": 1, "a": 2}'
    assert await Definitions(database).find("adhoc") is None


async def test_starts_at_once_share_statements_and_each_id_is_made_once(database: Database, hand: Any) -> None:
    one, other = Processes(database), Processes(database)
    ids = [uuid4() for _ in range(150)]

    answers = await asyncio.gather(
        *(gateway.start(new(process_id)) for process_id in ids for gateway in (one, other, one))
    )

    assert len([answer for answer in answers if not answer.is_replay]) == len(ids)
    assert await hand.value("SELECT count(*) FROM process") == len(ids)
    assert await hand.value("SELECT count(*) FROM history") == len(ids)
    # The process rows of one statement come from one transaction.
    assert await hand.value("SELECT count(DISTINCT xmin::text) FROM process") <= 20


@pytest.mark.parametrize("poison", [{"key": "a\0b"}, {"labels": {"a": "b\0"}}, {"key": "\ud800"}, {"input": "\ud800"}])
async def test_a_process_that_cannot_be_stored_fails_alone(database: Database, poison: dict[str, Any]) -> None:
    processes = Processes(database)
    batch = [new(key=f"{number}") for number in range(20)]
    batch[13] = new(**poison)

    answers = await asyncio.gather(*map(processes.start, batch), return_exceptions=True)

    refused = [place for place, answer in enumerate(answers) if isinstance(answer, BaseException)]
    assert refused == [13]
    assert isinstance(answers[13], Invalid)
    assert await processes.find(batch[13].process_id) is None
    assert await processes.find(batch[19].process_id) is not None


async def test_a_caller_that_goes_away_takes_nobody_with_it(database: Database, hand: Any) -> None:
    processes = Processes(database)
    ids = [uuid4() for _ in range(6)]
    async with asyncio.TaskGroup() as group, hand.connection.transaction():
        # The first insert has to wait for a row that this transaction has made and not committed.
        await hand.process(ids[0])
        starts = [group.create_task(processes.start(new(process_id))) for process_id in ids]
        await blocked(hand)
        starts[0].cancel()
        starts[3].cancel()
    assert [start.cancelled() for start in starts] == [True, False, False, True, False, False]
    assert not any(starts[number].result().is_replay for number in (1, 2, 4, 5))
    assert await processes.find(ids[5]) is not None
    assert not (await processes.start(new())).is_replay


async def blocked(hand: Any) -> None:
    """Return when a statement of the service waits for a lock."""
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    async with asyncio.timeout(5):
        while not await hand.value(waiting):
            pass


async def test_without_a_server_the_caller_is_told(postgres_url: str) -> None:
    database = Database(postgres_url)
    await database.start()
    processes = Processes(database)
    await processes.start(new())
    database.pool.terminate()

    answers = await asyncio.gather(*(processes.start(new()) for _ in range(5)), return_exceptions=True)

    assert {type(answer) for answer in answers} == {Unreachable}


async def execution(hand: Any, process_id: UUID, activity: str, visit: int, minute: int, **columns: Any) -> UUID:
    execution_id = uuid4()
    at = NOON + timedelta(minutes=minute)
    given = {
        "type": "http",
        "attempt": 1,
        "state": "COMPLETED",
        "started_at": at,
        "detail": json.dumps({"position": minute, "attempt_started_at": at.isoformat()}),
    }
    await hand.insert(
        "activity_execution",
        process_id=process_id,
        execution_id=execution_id,
        tenant_id=TENANT,
        activity=activity,
        visit=visit,
        **(given | columns),
    )
    return execution_id


async def test_a_process_shows_the_latest_visits_by_start_and_all_are_listed(database: Database, hand: Any) -> None:
    processes = Processes(database)
    process_id = await hand.process(
        input='"in"', output='"out"', error='{"type":"t","category":"timeout","message":"m"}'
    )
    first = await execution(hand, process_id, "pay", 1, 0, output="null")
    between = await execution(hand, process_id, "ask", 1, 1, state="RUNNING", output="7")
    second = await execution(hand, process_id, "pay", 2, 2, state="FAILED")
    await execution(hand, await hand.process(), "pay", 1, 0)

    view = await processes.find(process_id)

    assert view is not None
    assert [found.execution_id for found in view.executions] == [between, second]
    assert (view.executions[0].output, view.executions[1].state) == (7, ActivityState.FAILED)
    assert (view.input, view.output) == ("in", "out")
    assert view.failure is not None
    assert view.failure.message == "m"
    every = await processes.executions(process_id)
    assert [found.execution_id for found in every] == [first, between, second]
    assert every[0].output is None
    assert await processes.executions(uuid4()) == []
    assert await processes.find(uuid4()) is None


async def test_history_goes_on_after_a_row(database: Database, hand: Any) -> None:
    process_id = await hand.process()
    for seq in range(1, 6):
        await hand.insert(
            "history",
            process_id=process_id,
            seq=seq,
            tenant_id=TENANT,
            version=seq,
            type="activity.started",
            activity="pay",
            execution_id=UUID(int=seq),
            attempt=1,
            node="n1",
            epoch=4,
            data='{"visit": 1}',
        )

    rows = await Processes(database).history(process_id, 2, 2)

    assert [(row.seq, row.version, row.node, row.epoch) for row in rows] == [(3, 3, "n1", 4), (4, 4, "n1", 4)]
    assert (rows[0].row.activity, rows[0].row.execution_id, rows[0].row.attempt, rows[0].row.data) == (
        "pay",
        UUID(int=3),
        1,
        {"visit": 1},
    )


async def test_search_filters_and_goes_newest_first(database: Database, hand: Any) -> None:
    processes = Processes(database)
    a = await hand.process(created_at=NOON, key="k", labels='{"r": "eu", "s": "1"}')
    b = await hand.process(created_at=NOON + timedelta(hours=1), state="FAILED", definition_version=2)
    c = await hand.process(created_at=NOON + timedelta(hours=2), definition_name="other", labels='{"r": "us"}')

    async def found(**filters: Any) -> list[UUID]:
        return [view.process_id for view in await processes.search(Query(**filters))]

    assert await found() == [c, b, a]
    assert await found(state=ProcessState.FAILED) == [b]
    assert await found(definition="order") == [b, a]
    assert await found(definition="order", definition_version=2) == [b]
    assert await found(key="k") == [a]
    assert await found(key="none") == []
    assert await found(label=("r", "eu")) == [a]
    assert await found(label=("r", "e")) == []
    assert await found(created_after=NOON + timedelta(hours=1)) == [c, b]
    assert await found(created_before=NOON + timedelta(hours=1)) == [a]
    assert await found(definition="order", state=ProcessState.CREATED, label=("s", "1")) == [a]


async def test_search_pages_without_gap_or_repeat(database: Database, hand: Any) -> None:
    processes = Processes(database)
    # Two of three have the same time, so that the id has to decide.
    ids = [await hand.process(created_at=NOON + timedelta(seconds=number // 2)) for number in range(7)]

    seen: list[UUID] = []
    before = None
    while page := await processes.search(Query(before=before, limit=3)):
        seen += [view.process_id for view in page]
        before = (page[-1].created_at, page[-1].process_id)

    assert len(seen) == 7
    assert set(seen) == set(ids)
    assert seen[0] == ids[6]


async def test_ended_names_the_processes_that_have_ended(database: Database, hand: Any) -> None:
    states = ("CREATED", "IN_PROGRESS", "WAITING", "COMPLETED", "FAILED", "CANCELLED")
    ids = [await hand.process(state=state) for state in states]

    assert set(await Processes(database).ended([*ids, uuid4()])) == set(ids[3:])
    assert await Processes(database).ended([]) == []
