"""What every carrier promises; each implementation says how it is made and runs the same tests."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest

from understudy.domain.carrier import Carrier
from understudy.embedded.polling import until
from understudy.runtime.clock import SystemClock

SECONDS = 20.0
Make = Callable[..., Awaitable[Carrier]]


class HastyClock(SystemClock):
    """Waits a twentieth of what it is told."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / 20)


class Receiver:
    """Notes what it is given and lets it go when the gate opens."""

    def __init__(self, *, is_open: bool = True, failures: int = 0) -> None:
        self.session_id = uuid4()
        self.messages: list[tuple[UUID, ...]] = []
        self.gate = asyncio.Event()
        self.running = 0
        self.peak = 0
        self._failures = failures
        if is_open:
            self.gate.set()

    @property
    def seen(self) -> set[UUID]:
        return {process_id for message in self.messages for process_id in message}

    async def __call__(self, process_ids: Sequence[UUID]) -> None:
        self.messages.append(tuple(process_ids))
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            await self.gate.wait()
        finally:
            self.running -= 1
        if self._failures:
            self._failures -= 1
            raise RuntimeError("not this time")

    async def until_seen(self, process_ids: Iterable[UUID]) -> None:
        wanted = set(process_ids)
        assert await until(lambda: wanted <= self.seen, SECONDS), f"{len(wanted - self.seen)} did not come"


def ids(count: int) -> list[UUID]:
    return [uuid4() for _ in range(count)]


def ids_of_one_queue(count: int) -> list[UUID]:
    """Processes that any number of queues up to 1024 has in its first one."""
    return [UUID(int=process_id.int & ~0x3FF) for process_id in ids(count)]


async def within(seconds: float, work: Awaitable[Any]) -> Any:
    async with asyncio.timeout(seconds):
        return await work


class CarrierContract:
    """The tests; `make` starts another carrier on the same broker for a receiver, or none when there is no receiver."""

    @pytest.fixture
    async def carriers(self) -> AsyncIterator[list[Carrier]]:
        made: list[Carrier] = []
        yield made
        await within(SECONDS, asyncio.gather(*(carrier.stop() for carrier in made)))
        assert await until(lambda: asyncio.all_tasks() == {asyncio.current_task()}, SECONDS), asyncio.all_tasks()

    async def test_a_poke_is_received(self, make: Make) -> None:
        receiver, processes = Receiver(), ids(3)
        carrier = await make(receiver)
        await carrier.poke(processes)
        await receiver.until_seen(processes)

    async def test_a_poke_of_nothing_is_nothing(self, make: Make) -> None:
        receiver = Receiver()
        carrier = await make(receiver)
        await carrier.poke([])
        await carrier.poke(marker := ids(1))
        await receiver.until_seen(marker)
        assert len(receiver.messages) == 1

    async def test_a_message_names_a_bounded_number_of_processes(self, make: Make) -> None:
        receiver, processes = Receiver(), ids(1500)
        carrier = await make(receiver)
        await carrier.poke(processes)
        await receiver.until_seen(processes)
        assert max(map(len, receiver.messages)) <= 200

    async def test_many_pokes_become_few_messages(self, make: Make) -> None:
        receiver, processes = Receiver(), ids(1000)
        carrier = await make(receiver)
        await within(SECONDS, asyncio.gather(*(carrier.poke([process_id]) for process_id in processes)))
        await receiver.until_seen(processes)
        assert len(receiver.messages) < 100

    async def test_two_carriers_share_the_work(self, make: Make) -> None:
        one, other = Receiver(is_open=False), Receiver(is_open=False)
        carrier, _ = await make(one), await make(other)
        for count, process_id in enumerate(ids(40), 1):
            await carrier.poke([process_id])
            assert await until(lambda count=count: len(one.seen | other.seen) == count, SECONDS)
        assert one.messages
        assert other.messages
        one.gate.set()
        other.gate.set()

    async def test_what_was_not_finished_goes_to_another(self, make: Make) -> None:
        stuck, processes = Receiver(is_open=False), ids(5)
        first = await make(stuck, grace_seconds=0.05)
        await first.poke(processes)
        await stuck.until_seen(processes)
        await first.stop()
        receiver = Receiver()
        await make(receiver)
        await receiver.until_seen(processes)

    async def test_what_was_finished_does_not_come_again(self, make: Make) -> None:
        done, processes = Receiver(is_open=False), ids(5)
        first = await make(done)
        await first.poke(processes)
        await done.until_seen(processes)
        done.gate.set()
        await first.stop()
        receiver, marker = Receiver(), ids(50)
        second = await make(receiver)
        await second.poke(marker)
        await receiver.until_seen(marker)
        assert receiver.seen == set(marker)

    async def test_what_fails_is_said_again(self, make: Make) -> None:
        receiver, processes = Receiver(failures=2), ids_of_one_queue(3)
        carrier = await make(receiver)
        await carrier.poke(processes)
        assert await until(lambda: len(receiver.messages) == 3, SECONDS)
        assert [set(message) for message in receiver.messages] == [set(processes)] * 3

    async def test_no_more_is_looked_at_together_than_agreed(self, make: Make) -> None:
        receiver, processes = Receiver(is_open=False), ids_of_one_queue(12)
        carrier = await make(receiver, prefetch=2)
        other = Receiver()
        await make(other, prefetch=2)
        carrier.hold(is_held=False)
        for process_id in processes:
            await carrier.poke([process_id])
        marker = ids(1)
        assert await carrier.direct(other.session_id, marker)
        await other.until_seen(marker)
        assert receiver.peak <= 2
        receiver.gate.set()
        assert await until(lambda: set(processes) <= receiver.seen | other.seen, SECONDS)
        assert 1 <= receiver.peak <= 2

    async def test_direct_reaches_one_session(self, make: Make) -> None:
        one, other, processes = Receiver(), Receiver(), ids(450)
        carrier, _ = await make(one), await make(other)
        assert await carrier.direct(other.session_id, processes)
        await other.until_seen(processes)
        assert not one.messages

    async def test_direct_to_a_session_that_is_gone_is_false(self, make: Make) -> None:
        receiver, gone = Receiver(), Receiver()
        carrier, leaving = await make(receiver), await make(gone)
        assert await carrier.direct(gone.session_id, ids(1))
        await leaving.stop()
        assert not await carrier.direct(gone.session_id, ids(1))
        assert not await carrier.direct(uuid4(), ids(1))
        await carrier.poke(marker := ids(1))
        await receiver.until_seen(marker)

    async def test_a_held_carrier_takes_only_what_is_its_own(self, make: Make) -> None:
        receiver, shared, own = Receiver(), ids(8), ids(2)
        carrier = await make(receiver)
        assert await until(lambda: carrier.is_taking, SECONDS)
        carrier.hold(is_held=True)
        assert await until(lambda: not carrier.is_taking, SECONDS)
        await carrier.poke(shared)
        assert await carrier.direct(receiver.session_id, own)
        await receiver.until_seen(own)
        assert receiver.seen == set(own)
        carrier.hold(is_held=False)
        await receiver.until_seen(shared)

    async def test_a_carrier_may_be_held_before_it_starts(self, make: Make) -> None:
        carrier = await make(None)
        carrier.hold(is_held=True)
        receiver, shared, own = Receiver(), ids(8), ids(2)
        await carrier.start(receiver.session_id, receiver)
        await carrier.poke(shared)
        assert await carrier.direct(receiver.session_id, own)
        await receiver.until_seen(own)
        assert receiver.seen == set(own)

    async def test_what_is_under_way_may_end_when_a_carrier_stops(self, make: Make) -> None:
        receiver, processes = Receiver(is_open=False), ids_of_one_queue(1)
        carrier = await make(receiver, grace_seconds=SECONDS)
        await carrier.poke(processes)
        await receiver.until_seen(processes)
        async with asyncio.TaskGroup() as group:
            group.create_task(carrier.stop())
            receiver.gate.set()
        await make(other := Receiver())
        await (await make(Receiver())).poke(ids(1))
        assert processes[0] not in other.seen

    async def test_a_carrier_that_stops_leaves_what_comes_to_others(self, make: Make) -> None:
        leaving, other, processes = Receiver(is_open=False), Receiver(), ids(20)
        first = await make(leaving, grace_seconds=SECONDS)
        await first.poke(under_way := ids(1))
        await leaving.until_seen(under_way)
        second = await make(other)
        async with asyncio.TaskGroup() as group:
            group.create_task(first.stop())
            assert await until(lambda: not first.is_taking, SECONDS)
            await second.poke(processes)
            await other.until_seen(processes)
            leaving.gate.set()
        assert leaving.seen == set(under_way)

    async def test_a_carrier_that_is_only_opened_publishes(self, make: Make) -> None:
        receiver, shared, own = Receiver(), ids(8), ids(2)
        await make(receiver)
        gateway = await make(None)
        await gateway.open()
        await gateway.poke(shared)
        assert await gateway.direct(receiver.session_id, own)
        await receiver.until_seen([*shared, *own])

    async def test_starting_and_stopping_twice_is_harmless(self, make: Make) -> None:
        receiver, processes = Receiver(), ids(3)
        carrier = await make(receiver)
        await carrier.start(receiver.session_id, receiver)
        await carrier.poke(processes)
        await receiver.until_seen(processes)
        assert len(receiver.messages) <= 3
        await carrier.stop()
        await carrier.stop()

    async def test_a_carrier_that_does_not_run_does_nothing(self, make: Make) -> None:
        carrier = await make(None)
        await within(SECONDS, carrier.poke(ids(1)))
        assert not await within(SECONDS, carrier.direct(uuid4(), ids(1)))
        await carrier.stop()
        await within(SECONDS, carrier.poke(ids(1)))
        assert not await within(SECONDS, carrier.direct(uuid4(), ids(1)))
