"""A model of RabbitMQ behind the carrier's port: at least once, in any order, and everything may be lost."""

import asyncio
import contextvars
from collections.abc import Sequence
from uuid import UUID

from msgspec import Struct

from tests.simulation.faults import Weather
from tests.simulation.loop import LIFE, Condition, Life, SimLoop
from understudy.domain.carrier import Receive
from understudy.domain.views import OutboxRow

PREFETCH = 20
HEARTBEAT_SECONDS = 20.0
PATROL_SECONDS = 0.5
CONFIRM_TIMEOUT_SECONDS = 2.0


class Message(Struct, eq=False):
    """A poke on its way; `session` is the one whose own queue it waits in."""

    process_ids: tuple[UUID, ...]
    session: UUID | None = None


class BrokerOdds(Struct, frozen=True):
    """The share of messages that are lost on the way, delivered twice, or confirmed too late."""

    lost: float = 0.0
    doubled: float = 0.0
    unconfirmed: float = 0.0


class Broker:
    """The shared queue, one queue of its own for each session, and what was delivered but not acknowledged."""

    def __init__(self, loop: SimLoop, weather: Weather, odds: BrokerOdds) -> None:
        self.loop = loop
        self.weather = weather
        self.odds = odds
        self.is_up = True
        self.outside: list[OutboxRow] = []
        self.consumers: dict[UUID, SimCarrier] = {}
        self.shared: list[Message] = []
        self.unacknowledged: dict[Message, SimCarrier] = {}
        self.counts = {"published": 0, "doubled": 0, "lost": 0, "redelivered": 0, "returned": 0}

    def publish(self, process_ids: Sequence[UUID], session: UUID | None = None) -> bool:
        """Take a message; false when its queue is not there."""
        if session is not None and session not in self.consumers:
            self.counts["returned"] += 1
            return False
        self.counts["published"] += 1
        draw = 1.0 if self.weather.is_calm else self.weather.random.random()
        if draw < self.odds.lost:
            self.counts["lost"] += 1
            return True
        copies = 2 if draw < self.odds.lost + self.odds.doubled else 1
        self.counts["doubled"] += copies - 1
        for _ in range(copies):
            self._route(Message(tuple(process_ids), session))
        return True

    def lose_everything(self) -> None:
        self.counts["lost"] += len(self.shared) + len(self.unacknowledged)
        self.shared.clear()
        self.unacknowledged.clear()

    def stop(self) -> None:
        """Die: deliveries under way come back, what waits for one session is lost with its queue."""
        self.is_up = False
        for session in list(self.consumers):
            self.drop(session)

    def start(self) -> None:
        self.is_up = True
        self._serve()

    def drop(self, session: UUID) -> None:
        """A consumer is gone: what it has not acknowledged goes to others."""
        gone = self.consumers.pop(session, None)
        back = [message for message, carrier in self.unacknowledged.items() if carrier is gone]
        for message in back:
            del self.unacknowledged[message]
            if message.session is None:
                self.counts["redelivered"] += 1
                self._route(message)

    def join(self, session: UUID, carrier: "SimCarrier") -> None:
        self.consumers[session] = carrier
        self._serve()

    def acknowledge(self, message: Message) -> None:
        self.unacknowledged.pop(message, None)
        self._serve()

    async def patrol(self) -> None:
        """Notice consumers whose machine is gone, at once, and those that say nothing, after the heartbeat."""
        silent: dict[UUID, float] = {}
        while True:
            await pause(self.loop, PATROL_SECONDS)
            for session, carrier in list(self.consumers.items()):
                life = carrier.life
                if life is not None and life.condition is Condition.PAUSED:
                    since = silent.setdefault(session, self.loop.time())
                    if self.loop.time() - since > HEARTBEAT_SECONDS:
                        self.drop(session)
                else:
                    silent.pop(session, None)

    def hang_up(self, life: Life) -> None:
        for session, carrier in list(self.consumers.items()):
            if carrier.life is life:
                self.drop(session)

    def _route(self, message: Message) -> None:
        if message.session is None:
            self.shared.append(message)
            self._serve()
        else:
            carrier = self.consumers.get(message.session)
            if carrier is not None:
                self._deliver(message, carrier)

    def _serve(self) -> None:
        while self.shared and self.is_up:
            takers = [carrier for carrier in self.consumers.values() if carrier.is_taking and self._room(carrier)]
            if not takers:
                return
            message = self.shared.pop(0 if self.weather.is_calm else self.weather.random.randrange(len(self.shared)))
            self._deliver(message, self.weather.random.choice(takers))

    def _room(self, carrier: "SimCarrier") -> bool:
        return sum(found is carrier for found in self.unacknowledged.values()) < PREFETCH

    def _deliver(self, message: Message, carrier: "SimCarrier") -> None:
        self.unacknowledged[message] = carrier
        self.loop.later(self.weather.latency(), carrier.take, message)


class SimCarrier:
    """Implements the port `Carrier` for one node, or for a gateway, which only pokes."""

    def __init__(self, broker: Broker) -> None:
        self.life = LIFE.get()
        self.is_taking = True
        self.acks_early = False
        self._broker = broker
        self._context = contextvars.copy_context()
        self._session: UUID | None = None
        self._receive: Receive | None = None
        self._patrol: asyncio.Task[None] | None = None
        self._is_stopped = False

    async def start(self, session_id: UUID, receive: Receive) -> None:
        """Begin to consume."""
        self._session, self._receive = session_id, receive
        self._patrol = self._broker.loop.create_task(self._stay(), name="carrier")

    async def poke(self, process_ids: Sequence[UUID]) -> None:
        """Say to whichever node is free: look at these processes."""
        if process_ids:
            await self._publish(process_ids, None)

    async def direct(self, session_id: UUID, process_ids: Sequence[UUID]) -> bool:
        """Say to one session: look at these processes; false when its queue is gone or nothing is confirmed."""
        return await self._publish(process_ids, session_id)

    async def announce(self, row: OutboxRow) -> bool:
        """Publish an event to the outside; true when the broker has confirmed it."""
        await pause(self._broker.loop, self._broker.weather.latency())
        if not self._broker.is_up:
            return False
        self._broker.outside.append(row)
        return await self._confirmed()

    def hold(self, *, is_held: bool) -> None:
        """Stop or go on taking from the shared queue."""
        self.is_taking = not is_held
        if not is_held:
            self._broker.start() if self._broker.is_up else None

    async def stop(self) -> None:
        """Stop consuming."""
        self._is_stopped = True
        if self._patrol is not None:
            self._patrol.cancel()
        if self._session is not None:
            self._broker.drop(self._session)

    def take(self, message: Message) -> None:
        """A delivery arrived."""
        loop = self._broker.loop
        if self._broker.unacknowledged.get(message) is self and not self._is_stopped:
            loop.create_task(self._look(message), name="delivery", context=self._context.copy())

    async def _look(self, message: Message) -> None:
        assert self._receive is not None
        if self.acks_early:
            self._broker.acknowledge(message)
        await self._receive(message.process_ids)
        self._broker.loop.later(self._broker.weather.latency(), self._acknowledge, message)

    def _acknowledge(self, message: Message) -> None:
        if self._broker.unacknowledged.get(message) is self:
            self._broker.acknowledge(message)

    async def _publish(self, process_ids: Sequence[UUID], session: UUID | None) -> bool:
        await pause(self._broker.loop, self._broker.weather.latency())
        if not self._broker.is_up or self._is_stopped:
            return False
        return self._broker.publish(process_ids, session) and await self._confirmed()

    async def _confirmed(self) -> bool:
        weather = self._broker.weather
        if not weather.is_calm and weather.random.random() < self._broker.odds.unconfirmed:
            await pause(self._broker.loop, CONFIRM_TIMEOUT_SECONDS)
            return False
        await pause(self._broker.loop, weather.latency())
        return True

    async def _stay(self) -> None:
        """Connect, and again whenever the broker has let go of us."""
        assert self._session is not None
        while True:
            if self._broker.is_up and self._session not in self._broker.consumers:
                self._broker.join(self._session, self)
            await pause(self._broker.loop, PATROL_SECONDS)


async def pause(loop: SimLoop, seconds: float) -> None:
    """Let virtual time pass."""
    over = loop.create_future()
    alarm = loop.call_later(seconds, _wake, over)
    try:
        await over
    finally:
        alarm.cancel()


def _wake(over: "asyncio.Future[None]") -> None:
    if not over.done():
        over.set_result(None)
