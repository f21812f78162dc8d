import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from uuid import UUID

import structlog

from understudy.runtime.rabbit_message import poke_bodies
from understudy.runtime.rabbit_topology import Topology
from understudy.runtime.rabbit_wire import BrokerFailed, Connect, Connection, Message, Publisher, Sent, Watch

log = structlog.get_logger("rabbit")

STRIKES_MAX = 2
"""How often a work queue may not confirm while the broker answers until it is made anew."""


class Outlet:
    """The publishing side: one connection with one channel in confirm mode."""

    def __init__(self, connect: Connect, topology: Topology) -> None:
        self.sent = Counter(dict.fromkeys(Sent, 0))
        self._connect = connect
        self._topology = topology
        self._connection: Connection | None = None
        self._publisher: Publisher | None = None
        self._strikes: Counter[str] = Counter()

    async def serve(self, established: Callable[[], None]) -> None:
        """Publish on one connection until it breaks."""
        watch = Watch()
        async with self._connect("publish", watch) as connection:
            await self._topology.declare(connection)
            publisher = await connection.publisher()
            self._connection, self._publisher = connection, publisher
            try:
                established()
                await watch.wait()
            finally:
                self._connection = self._publisher = None

    async def publish(self, exchange: str, key: str, message: Message, *, mandatory: bool = True) -> Sent:
        """Publish a message; anything but CONFIRMED counts as not sent."""
        outcome = Sent.REFUSED
        if self._publisher is not None:
            outcome = await self._publisher.publish(exchange, key, message, mandatory=mandatory)
        self.sent[outcome] += 1
        return outcome

    async def poke(self, queue: str, process_ids: Sequence[UUID]) -> None:
        """Publish pokes to a work queue; a missing queue is declared again, a failing one is made anew."""
        back = await self._poke(queue, list(poke_bodies(process_ids)))
        if back and await self._redeclare():
            await self._poke(queue, back)

    async def _poke(self, queue: str, bodies: list[bytes]) -> list[bytes]:
        """Publish pokes at once; those that came back."""
        sent = await asyncio.gather(*(self.publish("", queue, Message(body)) for body in bodies))
        if Sent.CONFIRMED in sent:
            del self._strikes[queue]
        elif Sent.LATE in sent and await self._answers():
            self._strikes[queue] += 1
            if self._strikes[queue] >= STRIKES_MAX:
                del self._strikes[queue]
                self._topology.fails(queue)
                await self._redeclare()
        return [body for body, outcome in zip(bodies, sent, strict=True) if outcome is Sent.RETURNED]

    async def _answers(self) -> bool:
        """Whether the broker answers on this connection, which it does not while memory or disk is short."""
        try:
            if self._connection is not None:
                await self._connection.answers()
                return True
        except (BrokerFailed, TimeoutError):
            pass
        return False

    async def _redeclare(self) -> bool:
        try:
            if self._connection is not None:
                await self._topology.declare(self._connection)
                return True
        except (BrokerFailed, TimeoutError) as error:
            log.warning("redeclare_failed", reason=f"{error!r:.300}")
        return False
