from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import UUID

import structlog

from understudy.runtime.rabbit_message import node_queue
from understudy.runtime.rabbit_topology import Topology
from understudy.runtime.rabbit_wire import BrokerFailed, Connect, Connection, Consumer, Deliver, Watch

log = structlog.get_logger("rabbit")

INSPECTION_SECONDS = 30.0
OWN_QUEUE_PAUSE_SECONDS = 2.0


class Intake:
    """The consuming side: one connection, a channel for the work queues, another for the session's own queue."""

    def __init__(self, connect: Connect, topology: Topology, session_id: UUID, prefetch: int, deliver: Deliver) -> None:
        self.is_held = False
        self._connect = connect
        self._topology = topology
        self._own_queue = node_queue(session_id)
        self._prefetch = prefetch
        self._deliver = deliver
        self._watch = Watch()
        self._tags: dict[str, str] = {}

    @property
    def is_taking(self) -> bool:
        """Whether work queues are consumed."""
        return bool(self._tags)

    def hold(self, *, is_held: bool) -> None:
        """Consume the work queues, or do not."""
        self.is_held = is_held
        self._watch.nudge()

    async def serve(self, established: Callable[[], None]) -> None:
        """Consume on one connection until it breaks."""
        self._watch = watch = Watch()
        async with self._connect("consume", watch) as connection:
            try:
                await self._topology.declare(connection)
                consumer = await connection.consumer(self._prefetch)
                has_own = await self._consume_own(connection)
                await self._align(connection, consumer)
                established()
                while True:
                    nudged = await watch.wait(INSPECTION_SECONDS if has_own else OWN_QUEUE_PAUSE_SECONDS)
                    has_own = has_own or await self._consume_own(connection)
                    await self._align(connection, consumer)
                    if has_own and not nudged:
                        await self._inspect(connection)
            finally:
                self._tags = {}

    async def _consume_own(self, connection: Connection) -> bool:
        """Consume the session's own queue; false while a connection of ours that is dying still has it."""
        try:
            own = await connection.own_consumer(self._prefetch, self._own_queue, self._topology.own_arguments)
        except BrokerFailed as error:
            log.warning("own_queue_locked", queue=self._own_queue, reason=str(error))
            return False
        await own.consume(self._own_queue, self._deliver)
        return True

    async def _align(self, connection: Connection, consumer: Consumer) -> None:
        for name in self._topology.work:
            if self.is_held and name in self._tags:
                await consumer.cancel(self._tags[name])
                del self._tags[name]
            elif not self.is_held and name not in self._tags and name not in self._topology.failing:
                async with self._suspecting(connection, name):
                    self._tags[name] = await consumer.consume(name, self._deliver)

    async def _inspect(self, connection: Connection) -> None:
        """Look whether the queues that are consumed are there and know it; a failing one is tried again."""
        if self._topology.failing:
            raise BrokerFailed(f"failing queues: {sorted(self._topology.failing)}")
        for name in self._tags:
            async with self._suspecting(connection, name):
                if not await connection.consumers(name):
                    raise BrokerFailed(f"{name} does not know its consumers")

    @asynccontextmanager
    async def _suspecting(self, connection: Connection, name: str) -> AsyncIterator[None]:
        try:
            yield
        except TimeoutError:
            await self._topology.suspect(connection, name)
            raise
