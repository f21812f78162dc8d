"""A broker in memory behind the carrier's wire: it routes, and fails as it is told."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from understudy.runtime.rabbit_wire import BrokerFailed, Deliver, Message, Sent, Watch


class FakeDelivery:
    def __init__(self, broker: "FakeBroker", body: bytes) -> None:
        self.body = body
        self._broker = broker

    async def ack(self) -> None:
        if self._broker.loses_acks:
            raise BrokerFailed("the channel is closed")
        self._broker.acked += 1

    async def discard(self) -> None:
        self._broker.discarded.append(self.body)


class FakeBroker:
    """`stuck` queues neither deliver nor confirm until they are deleted, `undeletable` ones not even then."""

    def __init__(self) -> None:
        self.queues: dict[str, list[bytes]] = {}
        self.consumed: defaultdict[str, list[Deliver]] = defaultdict(list)
        self.stuck: set[str] = set()
        self.undeletable: set[str] = set()
        self.locked: set[str] = set()
        self.forgetful: set[str] = set()
        self.is_silent = False
        self.falls_silent_at = ""
        self.loses_acks = False
        self.acked = 0
        self.discarded: list[bytes] = []
        self.deleted: list[str] = []
        self.connections = 0

    @asynccontextmanager
    async def connect(self, name: str, watch: Watch) -> AsyncIterator["FakeConnection"]:
        if self.is_silent:
            raise TimeoutError
        self.connections += 1
        connection = FakeConnection(self, watch)
        try:
            yield connection
        finally:
            for queue, deliver in connection.consuming:
                self.consumed[queue].remove(deliver)

    def route(self, queue: str, body: bytes) -> None:
        if self.consumed[queue]:
            self.consumed[queue][0](FakeDelivery(self, body))
        else:
            self.queues[queue].append(body)


class FakeConnection:
    """Connection, publisher and consumer in one."""

    def __init__(self, broker: FakeBroker, watch: Watch) -> None:
        self.broker = broker
        self.watch = watch
        self.consuming: list[tuple[str, Deliver]] = []

    async def answers(self) -> None:
        if self.broker.is_silent:
            raise TimeoutError

    async def declare_exchange(self, name: str, kind: str) -> None:
        await self.answers()

    async def declare_queue(self, name: str, arguments: Mapping[str, Any], *, bound_to: str | None = None) -> None:
        await self.answers()
        self.broker.queues.setdefault(name, [])

    async def delete_queue(self, name: str) -> None:
        await self.answers()
        if name in self.broker.undeletable:
            raise TimeoutError
        self.broker.deleted.append(name)
        self.broker.stuck.discard(name)
        self.broker.queues.pop(name, None)

    async def consumers(self, queue: str) -> int:
        if queue in self.broker.forgetful:
            self.broker.forgetful.discard(queue)
            return 0
        return len(self.broker.consumed[queue])

    async def publisher(self) -> "FakeConnection":
        return self

    async def consumer(self, prefetch: int) -> "FakeConnection":
        return self

    async def own_consumer(self, prefetch: int, queue: str, arguments: Mapping[str, Any]) -> "FakeConnection":
        if queue in self.broker.locked:
            self.broker.locked.discard(queue)
            raise BrokerFailed("RESOURCE_LOCKED")
        self.broker.queues.setdefault(queue, [])
        return self

    async def publish(self, exchange: str, key: str, message: Message, *, mandatory: bool) -> Sent:
        if self.broker.is_silent or key in self.broker.stuck:
            return Sent.LATE
        if exchange:
            return Sent.CONFIRMED
        if key not in self.broker.queues:
            return Sent.RETURNED
        self.broker.route(key, message.body)
        return Sent.CONFIRMED

    async def consume(self, queue: str, deliver: Deliver) -> str:
        self.broker.is_silent |= queue == self.broker.falls_silent_at
        if self.broker.is_silent or queue in self.broker.stuck:
            raise TimeoutError
        self.consuming.append((queue, deliver))
        self.broker.consumed[queue].append(deliver)
        waiting, self.broker.queues[queue] = self.broker.queues[queue], []
        for body in waiting:
            asyncio.get_running_loop().call_soon(self.broker.route, queue, body)
        return queue

    async def cancel(self, tag: str) -> None:
        for queue, deliver in [entry for entry in self.consuming if entry[0] == tag]:
            self.consuming.remove((queue, deliver))
            self.broker.consumed[queue].remove(deliver)
