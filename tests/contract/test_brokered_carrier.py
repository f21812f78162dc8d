"""What a real broker does too seldom: queues that do not answer, acknowledgements that are lost, locks that stay."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.contract.carrier_suite import SECONDS, HastyClock, Make, Receiver, ids_of_one_queue, within
from tests.fakes.wire import FakeBroker
from understudy.domain.carrier import Carrier
from understudy.embedded.polling import until
from understudy.runtime import rabbit_intake
from understudy.runtime.rabbit_carrier import BrokeredCarrier, CarrierSettings

FIRST, SECOND = "understudy.work.0", "understudy.work.1"


@pytest.fixture
def broker() -> FakeBroker:
    return FakeBroker()


@pytest.fixture
async def carriers() -> AsyncIterator[list[Carrier]]:
    made: list[Carrier] = []
    yield made
    for carrier in made:
        await within(SECONDS, carrier.stop())


@pytest.fixture
def make(broker: FakeBroker, carriers: list[Carrier]) -> Make:
    async def make(receiver: Receiver | None, **options: Any) -> BrokeredCarrier:
        carrier = BrokeredCarrier(broker.connect, HastyClock(), CarrierSettings(**options))
        carriers.append(carrier)
        if receiver is not None:
            await carrier.start(receiver.session_id, receiver)
        return carrier

    return make


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rabbit_intake, "INSPECTION_SECONDS", 0.01)
    monkeypatch.setattr(rabbit_intake, "OWN_QUEUE_PAUSE_SECONDS", 0.01)


async def test_a_queue_that_cannot_be_consumed_is_made_anew(make: Make, broker: FakeBroker) -> None:
    broker.stuck = {SECOND}
    carrier, receiver = await make(None), Receiver()
    await carrier.start(receiver.session_id, receiver)
    assert broker.deleted == [SECOND]
    assert carrier.counts()["queues_rebuilt"] == 1
    assert len(broker.consumed[SECOND]) == 1


async def test_a_queue_that_does_not_confirm_is_made_anew(make: Make, broker: FakeBroker) -> None:
    gateway = await make(None)
    await gateway.open()
    broker.stuck = {FIRST}
    await gateway.poke(ids_of_one_queue(1))
    assert not broker.deleted
    await gateway.poke(ids_of_one_queue(1))
    assert broker.deleted == [FIRST]
    await gateway.poke(ids_of_one_queue(1))
    assert len(broker.queues[FIRST]) == 1


async def test_a_confirm_forgives_the_one_that_was_late(make: Make, broker: FakeBroker) -> None:
    gateway = await make(None)
    await gateway.open()
    for stuck in ({FIRST}, set(), {FIRST}, set(), {FIRST}):
        broker.stuck = stuck
        await gateway.poke(ids_of_one_queue(1))
    assert not broker.deleted


async def test_a_broker_that_answers_nothing_loses_no_queue(make: Make, broker: FakeBroker) -> None:
    gateway = await make(None)
    await gateway.open()
    broker.is_silent = True
    for _ in range(5):
        await gateway.poke(ids_of_one_queue(1))
    broker.is_silent = False
    assert gateway.counts()["sent_late"] == 5
    broker.queues.clear()
    await gateway.poke(ids_of_one_queue(1))
    assert len(broker.queues[FIRST]) == 1
    assert not broker.deleted


async def test_a_broker_that_falls_silent_in_between_loses_no_queue(make: Make, broker: FakeBroker) -> None:
    broker.falls_silent_at = SECOND
    carrier, receiver = await make(None, start_timeout_seconds=0.05), Receiver()
    await carrier.start(receiver.session_id, receiver)
    assert broker.is_silent
    broker.is_silent, broker.falls_silent_at = False, ""
    assert await until(lambda: carrier.is_taking, SECONDS)
    assert not broker.deleted


@pytest.mark.usefixtures("hurried")
async def test_a_queue_that_cannot_be_deleted_is_left_out_until_it_can(make: Make, broker: FakeBroker) -> None:
    broker.stuck, broker.undeletable = {SECOND}, {SECOND}
    carrier, receiver = await make(None), Receiver()
    await carrier.start(receiver.session_id, receiver)
    await carrier.poke(processes := ids_of_one_queue(2))
    await receiver.until_seen(processes)
    assert not broker.consumed[SECOND]
    broker.undeletable = set()
    assert await until(lambda: bool(broker.consumed[SECOND]), SECONDS)


@pytest.mark.usefixtures("hurried")
async def test_a_consumer_that_the_queue_has_forgotten_is_made_anew(make: Make, broker: FakeBroker) -> None:
    await make(Receiver())
    connections = broker.connections
    broker.forgetful = {FIRST}
    assert await until(lambda: broker.connections > connections and bool(broker.consumed[FIRST]), SECONDS)


@pytest.mark.usefixtures("hurried")
async def test_an_own_queue_that_is_locked_does_not_keep_from_work(make: Make, broker: FakeBroker) -> None:
    receiver = Receiver()
    own = f"understudy.node.{receiver.session_id}"
    broker.locked = {own}
    carrier = await make(receiver)
    await carrier.poke(processes := ids_of_one_queue(2))
    await receiver.until_seen(processes)
    assert await until(lambda: bool(broker.consumed[own]), SECONDS)


async def test_a_lost_acknowledgement_is_counted_and_harms_nothing(make: Make, broker: FakeBroker) -> None:
    broker.loses_acks = True
    receiver = Receiver()
    carrier = await make(receiver)
    await carrier.poke(ids_of_one_queue(2))
    assert await until(lambda: carrier.counts()["acks_lost"] == 1, SECONDS)
    broker.loses_acks = False
    await carrier.poke(processes := ids_of_one_queue(2))
    await receiver.until_seen(processes)


@pytest.mark.parametrize(
    "body", [b"", b"\x90", b"garbage", b"\x91\xa3abc", b"\xdc\x00\xc9" + (b"\xc4\x10" + b"0" * 16) * 201]
)
async def test_what_is_no_poke_is_discarded(make: Make, broker: FakeBroker, body: bytes) -> None:
    receiver = Receiver()
    carrier = await make(receiver)
    broker.route(FIRST, body)
    assert await until(lambda: broker.discarded == [body], SECONDS)
    assert not receiver.messages
    assert carrier.counts()["deliveries_malformed"] == 1


async def test_a_broker_that_comes_late_is_found(make: Make, broker: FakeBroker) -> None:
    broker.is_silent = True
    carrier, receiver = await make(None, start_timeout_seconds=0.05), Receiver()
    await carrier.start(receiver.session_id, receiver)
    broker.is_silent = False
    assert await until(lambda: carrier.is_taking, SECONDS)
