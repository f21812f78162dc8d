import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from tests.fakes.clock import ManualClock, settle
from understudy.actors.crew import Crew
from understudy.domain.views import OutboxRow
from understudy.runtime.rabbit_line import GATHERED_MAX, Line
from understudy.runtime.rabbit_link import PAUSE_MAX_SECONDS, PAUSE_MIN_SECONDS, STEADY_SECONDS, Link
from understudy.runtime.rabbit_message import event_key, poke_bodies, read_poke, work_queue_of


def ids(count: int) -> list[UUID]:
    return [uuid4() for _ in range(count)]


def test_pokes_are_read_as_they_were_written() -> None:
    processes = ids(401)
    bodies = list(poke_bodies(processes))
    assert [len(read_poke(body)) for body in bodies] == [200, 200, 1]
    assert [process_id for body in bodies for process_id in read_poke(body)] == processes
    assert len(bodies[0]) < 20 * 200


def test_a_process_is_always_poked_through_the_same_queue() -> None:
    queues = {work_queue_of(UUID(int=number), 4) for number in range(100)}
    assert queues == {f"understudy.work.{number}" for number in range(4)}
    assert work_queue_of(UUID(int=6), 4) == "understudy.work.2"


@pytest.mark.parametrize(("type_", "key"), [("order.shipped", "order.shipped"), ("ä" * 200, "ä" * 127)])
def test_a_routing_key_is_never_too_long(type_: str, key: str) -> None:
    assert event_key(OutboxRow(uuid4(), 1, 0, uuid4(), type_, None, None, datetime.now(UTC))) == key


class Sender:
    def __init__(self) -> None:
        self.rounds: list[tuple[UUID, ...]] = []
        self.gate = asyncio.Event()

    async def __call__(self, process_ids: Sequence[UUID]) -> None:
        self.rounds.append(tuple(process_ids))
        await self.gate.wait()


async def test_what_is_said_while_a_round_is_out_goes_with_the_next() -> None:
    sender, crew, processes = Sender(), Crew(), ids(5)
    line = Line("line", sender, crew)
    first = line.say(processes[:1])
    await settle()
    later = [line.say([process_id]) for process_id in (*processes[1:], processes[1])]
    sender.gate.set()
    await asyncio.gather(first, *later)
    assert sender.rounds == [tuple(processes[:1]), tuple(processes[1:])]


async def test_what_finds_no_room_is_dropped() -> None:
    sender, crew = Sender(), Crew()
    line = Line("line", sender, crew)
    over = line.say([*ids(GATHERED_MAX), *ids(3)])
    sender.gate.set()
    await over
    assert line.dropped == 3
    assert len(sender.rounds[0]) == GATHERED_MAX


async def test_whoever_waits_for_a_line_that_ends_goes_on() -> None:
    sender, crew = Sender(), Crew()
    line = Line("line", sender, crew)
    out = line.say(ids(1))
    await settle()
    gathered = line.say(ids(1))
    await crew.dismiss(5)
    assert out.done()
    assert gathered.done()


class CountingClock:
    """Notes what it is asked to sleep; its time stands still."""

    def __init__(self, is_enough: Callable[[list[float]], bool]) -> None:
        self.slept: list[float] = []
        self.time = 0.0
        self._is_enough = is_enough

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if self._is_enough(self.slept):
            raise EndOfTest

    def monotonic(self) -> float:
        return self.time

    def fraction(self) -> float:
        return 0.5


class EndOfTest(Exception):
    pass


async def test_the_pauses_of_a_link_grow_to_a_bound() -> None:
    async def serve(established: Callable[[], None]) -> None:
        raise ConnectionError("nobody there")

    clock = CountingClock(lambda slept: len(slept) == 12)
    with pytest.raises(EndOfTest):
        await Link("link", serve, clock).run()
    assert clock.slept[:3] == [PAUSE_MIN_SECONDS, 2 * PAUSE_MIN_SECONDS, 4 * PAUSE_MIN_SECONDS]
    assert clock.slept[-1] == PAUSE_MAX_SECONDS


@pytest.mark.parametrize(("held_seconds", "pause"), [(STEADY_SECONDS, PAUSE_MIN_SECONDS), (1.0, 8 * PAUSE_MIN_SECONDS)])
async def test_only_a_connection_that_held_makes_the_pause_short_again(held_seconds: float, pause: float) -> None:
    async def serve(established: Callable[[], None]) -> None:
        if len(clock.slept) == 3:
            established()
            clock.time += held_seconds
        raise asyncio.CancelledError  # the library's, not ours

    clock = CountingClock(lambda slept: len(slept) == 4)
    link = Link("link", serve, clock)
    with pytest.raises(EndOfTest):
        await link.run()
    assert clock.slept[-1] == pause
    assert link.times_up == 1
    assert not link.up.is_set()


async def test_a_link_ends_although_a_library_hides_that_it_was_cancelled() -> None:
    begun = asyncio.Event()

    async def serve(_: Callable[[], None]) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ConnectionError("refused") from None

    async with asyncio.TaskGroup() as group, asyncio.timeout(5):
        task = group.create_task(Link("publish", serve, ManualClock()).run())
        await begun.wait()
        task.cancel()
        await asyncio.wait([task])
    assert task.cancelled()
