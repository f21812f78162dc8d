import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import UUID, uuid4

import aio_pika
import pytest

from tests.contract.carrier_suite import (
    SECONDS,
    CarrierContract,
    HastyClock,
    Make,
    Receiver,
    ids,
    ids_of_one_queue,
    within,
)
from understudy.domain.carrier import Carrier
from understudy.domain.views import OutboxRow
from understudy.embedded.management import Management
from understudy.embedded.polling import until
from understudy.embedded.rabbitmq import RabbitMQ
from understudy.runtime import rabbit
from understudy.runtime.rabbit import RabbitCarrier


def maker(url: str, carriers: list[Carrier]) -> Make:
    async def make(receiver: Receiver | None, **options: Any) -> RabbitCarrier:
        carrier = RabbitCarrier(url, HastyClock(), **options)
        carriers.append(carrier)
        if receiver is not None:
            await carrier.start(receiver.session_id, receiver)
        return carrier

    return make


class TestRabbitCarrier(CarrierContract):
    @pytest.fixture
    def make(self, rabbitmq_url: str, carriers: list[Carrier]) -> Make:
        return maker(rabbitmq_url, carriers)


class Broker:
    """A virtual host of a broker, as an operator sees it."""

    def __init__(self, url: str, management: Management) -> None:
        self.url = url
        self._management = management
        self._vhost = urlsplit(url).path[1:]

    async def queue(self, name: str, method: str = "GET", suffix: str = "") -> Any:
        return await self._management.request(method, f"queues/{self._vhost}/{quote(name)}{suffix}")

    async def delete_exchange(self, name: str) -> None:
        await self._management.request("DELETE", f"exchanges/{self._vhost}/{quote(name)}")

    async def connections(self) -> list[str]:
        found = await self._management.request("GET", f"vhosts/{self._vhost}/connections")
        return [connection["name"] for connection in found]

    async def close(self, connection: str) -> None:
        await self._management.request("DELETE", f"connections/{quote(connection, safe='')}")

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[aio_pika.abc.AbstractChannel]:
        connection = await aio_pika.connect(self.url)
        try:
            yield await connection.channel()
        finally:
            await connection.close()


@pytest.fixture
def broker(rabbitmq_url: str, rabbitmq_server: Any) -> Broker:
    return Broker(rabbitmq_url, rabbitmq_server.management)


@pytest.fixture(scope="module")
def own_server(servers_folder: Path) -> Iterator[RabbitMQ]:
    """A broker to be killed and starved; the one of the test run may be somebody else's."""
    server = RabbitMQ(servers_folder / "own", durable=False)
    asyncio.run(server.start())
    yield server
    asyncio.run(server.stop())


@pytest.fixture
async def own_broker(own_server: RabbitMQ) -> AsyncIterator[Broker]:
    vhost = f"test-{uuid4()}"
    await own_server.management.create_vhost(vhost)
    yield Broker(own_server.url(vhost), own_server.management)
    await own_server.management.delete_vhost(vhost)


@pytest.fixture
async def carriers() -> AsyncIterator[list[RabbitCarrier]]:
    made: list[RabbitCarrier] = []
    yield made
    await within(SECONDS, asyncio.gather(*(carrier.stop() for carrier in made)))
    assert await until(lambda: asyncio.all_tasks() == {asyncio.current_task()}, SECONDS), asyncio.all_tasks()


def make_on(broker: Broker, carriers: list[RabbitCarrier]) -> Make:
    return maker(broker.url, carriers)


def row(**changes: Any) -> OutboxRow:
    fields = {
        "process_id": UUID(int=7),
        "version": 3,
        "idx": 0,
        "event_id": UUID(int=9),
        "type": "order.shipped",
        "key": "A-17",
        "data": {"parcel": 1.5},
        "created_at": datetime(2026, 11, 25, 12, 30, tzinfo=UTC),
    }
    return OutboxRow(**(fields | changes))


async def test_a_killed_broker_is_connected_to_again_and_brings_back_what_was_not_settled(
    own_server: RabbitMQ, own_broker: Broker, carriers: list[RabbitCarrier]
) -> None:
    receiver, unsettled = Receiver(is_open=False), ids(3)
    carrier = await make_on(own_broker, carriers)(receiver)
    await carrier.poke(unsettled)
    await receiver.until_seen(unsettled)
    before = len(receiver.messages)
    await own_server.kill()
    await within(1.0, carrier.poke(ids(3)))
    assert not await within(1.0, carrier.direct(receiver.session_id, ids(1)))
    assert not await within(1.0, carrier.announce(row()))
    await own_server.start()
    assert await until(lambda: len(receiver.messages) == 2 * before, SECONDS)
    assert receiver.seen == set(unsettled)
    receiver.gate.set()
    assert await until(lambda: carrier.counts()["acks_lost"] == before, SECONDS)
    await until_connected(carrier)
    shared, own = ids(20), ids(2)
    await carrier.poke(shared)
    assert await carrier.direct(receiver.session_id, own)
    assert await carrier.announce(row())
    await receiver.until_seen([*shared, *own])


async def until_connected(carrier: RabbitCarrier) -> None:
    async with asyncio.timeout(SECONDS):
        while not await carrier.announce(row()):
            await HastyClock().sleep(0.2)


async def test_connections_that_an_operator_closes_come_back(broker: Broker, carriers: list[RabbitCarrier]) -> None:
    receiver = Receiver()
    carrier = await make_on(broker, carriers)(receiver)
    async with asyncio.timeout(SECONDS):
        while len(names := await broker.connections()) < 2:
            pass
    for name in names:
        await broker.close(name)
    assert await until(lambda: carrier.counts()["connections"] == 4 and carrier.is_taking, SECONDS)
    shared, own = ids(20), ids(2)
    await carrier.poke(shared)
    assert await carrier.direct(receiver.session_id, own)
    await receiver.until_seen([*shared, *own])


async def test_a_channel_that_the_broker_closes_comes_back(broker: Broker, carriers: list[RabbitCarrier]) -> None:
    """An event for an exchange that is gone closes the channel with it."""
    receiver = Receiver()
    carrier = await make_on(broker, carriers)(receiver)
    await broker.delete_exchange("understudy.events")
    assert not await carrier.announce(row())
    await until_connected(carrier)
    await carrier.poke(shared := ids(20))
    await receiver.until_seen(shared)


async def test_deleted_queues_come_back(broker: Broker, carriers: list[RabbitCarrier]) -> None:
    receiver = Receiver()
    make = make_on(broker, carriers)
    carrier = await make(receiver)
    for number in range(4):
        await broker.queue(f"understudy.work.{number}", "DELETE")
    await carrier.poke(processes := ids(20))
    await receiver.until_seen(processes)
    assert carrier.counts()["connections"] > 2


async def test_a_publisher_alone_makes_deleted_queues_anew(broker: Broker, carriers: list[RabbitCarrier]) -> None:
    make = make_on(broker, carriers)
    gateway = await make(None)
    await gateway.open()
    for number in range(4):
        await broker.queue(f"understudy.work.{number}", "DELETE")
    await gateway.poke(processes := ids(20))
    await make(receiver := Receiver())
    await receiver.until_seen(processes)
    assert gateway.counts()["sent_returned"] == 4


async def test_a_purged_queue_goes_on(broker: Broker, carriers: list[RabbitCarrier]) -> None:
    make = make_on(broker, carriers)
    gateway = await make(None)
    await gateway.open()
    await gateway.poke(purged := ids_of_one_queue(3))
    await broker.queue("understudy.work.0", "DELETE", "/contents")
    await gateway.poke(kept := ids_of_one_queue(3))
    await make(receiver := Receiver())
    await receiver.until_seen(kept)
    assert not receiver.seen & set(purged)


async def test_what_a_full_queue_refuses_counts_as_not_sent(broker: Broker, carriers: list[RabbitCarrier]) -> None:
    async with broker.channel() as channel:
        limits = {"x-max-length": 1, "x-overflow": "reject-publish"}
        await channel.declare_queue("understudy.work.0", durable=True, arguments=limits)
    gateway = await make_on(broker, carriers)(None)
    await gateway.open()
    for _ in range(5):
        await gateway.poke(ids_of_one_queue(1))
    counts = gateway.counts()
    assert counts["sent_refused"] >= 1
    assert counts["sent_confirmed"] + counts["sent_refused"] == 5


async def test_a_broker_short_of_memory_blocks_publishers_only(
    own_server: RabbitMQ, own_broker: Broker, carriers: list[RabbitCarrier]
) -> None:
    receiver, processes = Receiver(is_open=False), ids_of_one_queue(3)
    carrier = await make_on(own_broker, carriers)(receiver, prefetch=1, confirm_timeout_seconds=0.5)
    for process_id in processes:
        await carrier.poke([process_id])
    await receiver.until_seen(processes[:1])
    await own_server.control("set_vm_memory_high_watermark", "0")
    try:
        await within(2.0, carrier.poke(late := ids_of_one_queue(1)))
        assert not await within(2.0, carrier.direct(receiver.session_id, ids(1)))
        assert not await within(2.0, carrier.announce(row()))
        assert carrier.counts()["sent_late"] >= 2
        receiver.gate.set()  # each delivery is followed by the next only when the broker has its acknowledgement
        await receiver.until_seen(processes)
        assert not receiver.seen & set(late)
    finally:
        await own_server.control("set_vm_memory_high_watermark", "0.4")
    await carrier.poke(after := ids(20))
    await receiver.until_seen(after)
    assert carrier.counts()["queues_rebuilt"] == 0


async def test_a_message_that_is_no_poke_ends_in_the_dead_letter_queue(
    broker: Broker, carriers: list[RabbitCarrier]
) -> None:
    receiver = Receiver()
    carrier = await make_on(broker, carriers)(receiver)
    queues = ["understudy.work.2", f"understudy.node.{receiver.session_id}"]
    async with broker.channel() as channel:
        for name in queues:
            await channel.default_exchange.publish(aio_pika.Message(b"not a poke"), name)
        dead = await channel.get_queue("understudy.dead")
        letters = []
        async with asyncio.timeout(SECONDS):
            while len(letters) < 2:
                if letter := await dead.get(fail=False):
                    letters.append(letter)
                    await letter.ack()
    assert {letter.body for letter in letters} == {b"not a poke"}
    assert {letter.headers["x-first-death-queue"] for letter in letters} == set(queues)
    assert carrier.counts()["deliveries_malformed"] == 2
    await carrier.poke(processes := ids(20))
    await receiver.until_seen(processes)


@pytest.mark.parametrize(("key", "subject"), [("A-17", {"subject": "A-17"}), (None, {})])
async def test_an_event_reaches_the_outside_as_a_cloud_event(
    broker: Broker, carriers: list[RabbitCarrier], key: str | None, subject: dict[str, str]
) -> None:
    carrier = await make_on(broker, carriers)(None)
    await carrier.open()
    async with broker.channel() as channel:
        queue = await channel.declare_queue("outside", auto_delete=True)
        await queue.bind("understudy.events", "order.*")
        assert await carrier.announce(row(key=key))
        assert await carrier.announce(row(type="payment.made"))
        message = await queue.get()
        assert await queue.get(fail=False) is None
    assert message.content_type == "application/cloudevents+json"
    assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
    assert message.message_id == str(UUID(int=9))
    assert json.loads(message.body) == subject | {
        "specversion": "1.0",
        "id": str(UUID(int=9)),
        "source": "understudy",
        "type": "order.shipped",
        "time": "2026-11-25T12:30:00Z",
        "datacontenttype": "application/json",
        "data": {"parcel": 1.5},
        "processid": str(UUID(int=7)),
    }


async def test_events_come_in_the_order_in_which_they_were_announced(
    broker: Broker, carriers: list[RabbitCarrier]
) -> None:
    carrier = await make_on(broker, carriers)(None)
    await carrier.open()
    async with broker.channel() as channel:
        queue = await channel.declare_queue("outside", auto_delete=True)
        await queue.bind("understudy.events", "#")
        for number in range(50):
            assert await carrier.announce(row(data=number))
        assert [json.loads((await queue.get()).body)["data"] for _ in range(50)] == list(range(50))


async def test_a_queue_of_another_type_is_used_as_it_is(broker: Broker, carriers: list[RabbitCarrier]) -> None:
    async with broker.channel() as channel:
        await channel.declare_queue("understudy.work.0", durable=True)
    receiver, processes = Receiver(), ids_of_one_queue(3)
    carrier = await make_on(broker, carriers)(receiver)
    await carrier.poke(processes)
    await receiver.until_seen(processes)
    assert carrier.counts()["connections"] == 2


async def test_quorum_queues_carry_as_well(broker: Broker, carriers: list[RabbitCarrier]) -> None:
    receiver, processes = Receiver(), ids(20)
    carrier = await make_on(broker, carriers)(receiver, queue_type="quorum")
    await carrier.poke(processes)
    await receiver.until_seen(processes)
    assert (await broker.queue("understudy.work.0"))["type"] == "quorum"


async def test_quorum_queues_whose_broker_was_killed_work_again(
    own_server: RabbitMQ, own_broker: Broker, carriers: list[RabbitCarrier], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed right after they were made, some come back without a leader, for ever: those are made anew."""
    monkeypatch.setattr(rabbit, "OPERATION_SECONDS", 1.5)
    make = make_on(own_broker, carriers)
    gateway = await make(None, queue_type="quorum", confirm_timeout_seconds=1.0)
    await gateway.open()
    await asyncio.gather(*(gateway.poke([process_id]) for process_id in ids(100)))
    await own_server.kill()
    await own_server.start()
    receiver, processes = Receiver(), ids(50)
    carrier = await make(receiver, queue_type="quorum", confirm_timeout_seconds=1.0)
    async with asyncio.timeout(3 * SECONDS):
        while not set(processes) <= receiver.seen:  # as sweepers do
            await carrier.poke(processes)
            await HastyClock().sleep(4.0)


async def test_nothing_hangs_where_no_broker_ever_is(carriers: list[RabbitCarrier]) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"amqp://guest:guest@127.0.0.1:{nobody.getsockname()[1]}/"
        receiver = Receiver()
        carrier = await within(2.0, maker(url, carriers)(receiver, start_timeout_seconds=0.2))
        await within(1.0, carrier.poke(ids(1000)))
        assert not await within(1.0, carrier.direct(receiver.session_id, ids(1)))
        assert not await within(1.0, carrier.announce(row()))
        await within(5.0, carrier.stop())
    assert carrier.counts()["sent_confirmed"] == 0


async def test_nothing_hangs_where_the_broker_never_answers(carriers: list[RabbitCarrier]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"amqp://guest:guest@127.0.0.1:{silent.getsockname()[1]}/"
        carrier = await within(2.0, maker(url, carriers)(Receiver(), start_timeout_seconds=0.2))
        await within(1.0, carrier.poke(ids(1000)))
        await within(5.0, carrier.stop())


async def test_a_refused_login_is_tried_again_without_an_end(broker: Broker, carriers: list[RabbitCarrier]) -> None:
    parts = urlsplit(broker.url)
    url = parts._replace(netloc=f"nobody:wrong@{parts.hostname}:{parts.port}").geturl()
    carrier = await within(5.0, maker(url, carriers)(Receiver(), start_timeout_seconds=0.2))
    assert carrier.counts()["connections"] == 0
