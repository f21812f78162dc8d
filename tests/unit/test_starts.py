"""How starts share round trips, with a server that answers when it is told to."""

import asyncio
from collections.abc import Iterable
from typing import Any, NamedTuple, cast
from uuid import UUID, uuid4

import pytest

from understudy.domain.errors import Unreachable
from understudy.domain.state import DefinitionRef
from understudy.domain.views import NewProcess
from understudy.persistence.starts import BATCH_BYTES_MAX, BATCH_SIZE_MAX, Starts
from understudy.persistence.statements import Statements


class Call(NamedTuple):
    ids: list[UUID]
    answer: asyncio.Future[list[dict[str, Any]]]

    def make(self, *ids: UUID) -> None:
        """Answer that these processes, or all, were made."""
        made = ids or self.ids
        self.answer.set_result(
            [{"process_id": one, "is_new": True, "request_hash": b"h", "first_status": 201} for one in made]
        )


class Server:
    """Statements as they come in; when one can be read, everyone who was about to start has started."""

    def __init__(self) -> None:
        self.calls: asyncio.Queue[Call] = asyncio.Queue()

    async def rows(self, name: str, _tenant: UUID, ids: Iterable[UUID], *_columns: Any) -> list[dict[str, Any]]:
        assert name == "start_processes"
        call = Call(list(ids), asyncio.get_running_loop().create_future())
        self.calls.put_nowait(call)
        return await call.answer


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def starts(server: Server) -> Starts:
    return Starts(cast("Statements", server))


def new(process_id: UUID | None = None, given: Any = None) -> NewProcess:
    return NewProcess(process_id or uuid4(), DefinitionRef("order", 1, b"d"), None, None, {}, given, b"h")


async def test_those_that_arrive_during_a_round_trip_share_the_next(server: Server, starts: Starts) -> None:
    processes = [new() for _ in range(BATCH_SIZE_MAX + 3)]
    ids = [process.process_id for process in processes]
    async with asyncio.TaskGroup() as group:
        for process in processes:
            group.create_task(starts.add(process))
        seen = []
        for _ in range(3):
            call = await server.calls.get()
            assert server.calls.empty()
            seen.append(call.ids)
            call.make()
    assert seen == [ids[:1], ids[1 : BATCH_SIZE_MAX + 1], ids[BATCH_SIZE_MAX + 1 :]]


async def test_a_batch_ends_when_it_is_heavy(server: Server, starts: Starts) -> None:
    heavy = "x" * (BATCH_BYTES_MAX // 2)
    async with asyncio.TaskGroup() as group:
        for _ in range(6):
            group.create_task(starts.add(new(given=heavy)))
        sizes = []
        for _ in range(4):
            call = await server.calls.get()
            sizes.append(len(call.ids))
            call.make()
    assert sizes == [1, 2, 2, 1]


async def test_calls_with_one_id_go_one_after_the_other(server: Server, starts: Starts) -> None:
    one, other = uuid4(), uuid4()
    async with asyncio.TaskGroup() as group:
        for process_id in (one, one, one, other):
            group.create_task(starts.add(new(process_id)))
        seen = []
        for _ in range(3):
            call = await server.calls.get()
            seen.append(call.ids)
            call.make()
    assert seen == [[one], [one, other], [one]]


async def test_a_process_that_somebody_else_was_making_is_asked_for_again(server: Server, starts: Starts) -> None:
    first, second, third = [new() for _ in range(3)]
    async with asyncio.TaskGroup() as group:
        for process in (first, second, third):
            group.create_task(starts.add(process))
        (await server.calls.get()).make()
        (await server.calls.get()).make(third.process_id)
        again = await server.calls.get()
        again.make()
    assert again.ids == [second.process_id]


@pytest.mark.parametrize("error", [Unreachable("gone"), ZeroDivisionError("a bug")])
async def test_an_error_reaches_everyone_in_the_batch_and_nobody_else(
    server: Server, starts: Starts, error: Exception
) -> None:
    calls = [asyncio.ensure_future(starts.add(new())) for _ in range(3)]
    (await server.calls.get()).make()
    second = await server.calls.get()
    later = asyncio.ensure_future(starts.add(new()))
    second.answer.set_exception(error)
    (await server.calls.get()).make()

    assert not (await later).is_replay
    assert not (await calls[0]).is_replay
    for call in calls[1:]:
        with pytest.raises(type(error)):
            await call


async def test_callers_that_go_away_leave_the_lane_to_the_others(server: Server, starts: Starts) -> None:
    """The leader of a batch, one that rides in it and one that waits behind it are cancelled."""
    first, leader, rider, stayer = [asyncio.ensure_future(starts.add(new())) for _ in range(4)]
    (await server.calls.get()).make()
    batch = await server.calls.get()
    assert len(batch.ids) == 3
    waiter, last = [asyncio.ensure_future(starts.add(new())) for _ in range(2)]
    assert not (await first).is_replay
    for gone in (rider, waiter, leader):
        gone.cancel()

    again = await server.calls.get()
    again.make()

    assert again.ids[0] == batch.ids[2]
    assert len(again.ids) == 2
    assert not (await stayer).is_replay
    assert not (await last).is_replay
    assert [(await asyncio.wait({gone}))[0].pop().cancelled() for gone in (leader, rider, waiter)] == [True] * 3


async def test_one_called_to_lead_that_goes_away_calls_the_next(server: Server, starts: Starts) -> None:
    async def start_and_cancel() -> None:
        await starts.add(new())
        called.cancel()  # its turn has come, and it has not run since

    first = asyncio.ensure_future(start_and_cancel())
    called, last = [asyncio.ensure_future(starts.add(new())) for _ in range(2)]
    (await server.calls.get()).make()

    async with asyncio.timeout(5):
        call = await server.calls.get()
    call.make()

    assert len(call.ids) == 1
    assert not (await last).is_replay
    assert called.cancelled()
    await first
