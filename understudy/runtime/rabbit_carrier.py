import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from uuid import UUID

import structlog
from msgspec import Struct

from understudy.actors.crew import Crew, contained
from understudy.domain.carrier import Receive
from understudy.domain.ports import Clock
from understudy.domain.views import OutboxRow
from understudy.runtime.rabbit_intake import Intake
from understudy.runtime.rabbit_line import Line
from understudy.runtime.rabbit_link import Link
from understudy.runtime.rabbit_message import (
    EVENT_CONTENT_TYPE,
    EVENTS,
    MalformedMessage,
    event_body,
    event_key,
    node_queue,
    poke_bodies,
    read_poke,
    work_queue_of,
)
from understudy.runtime.rabbit_outlet import Outlet
from understudy.runtime.rabbit_topology import QueueType, Topology
from understudy.runtime.rabbit_wire import BrokerFailed, Connect, Delivery, Message, Sent

log = structlog.get_logger("rabbit")

CLOSE_SECONDS = 6.0
FAILED_PAUSE_SECONDS = 1.0


class CarrierSettings(Struct, frozen=True, kw_only=True):
    """How a carrier uses its broker; `prefetch` deliveries of each queue are looked at together."""

    queues: int = 4
    queue_type: QueueType = "classic"
    prefetch: int = 50
    confirm_timeout_seconds: float = 5.0
    start_timeout_seconds: float = 10.0
    grace_seconds: float = 2.0


class BrokeredCarrier:
    """Carries pokes and events through a broker; `open` alone is enough to publish, as a gateway does.

    A broker that is not there delays `start` by `start_timeout_seconds` and a poke not at all; it is connected to when
    it comes.
    """

    def __init__(self, connect: Connect, clock: Clock, settings: CarrierSettings) -> None:
        self.deliveries = 0
        self.failed_deliveries = 0
        self.malformed_deliveries = 0
        self.lost_acks = 0
        self._connect = connect
        self._clock = clock
        self._settings = settings
        self._topology = Topology(settings.queues, settings.queue_type)
        self._outlet = Outlet(connect, self._topology)
        self._intake: Intake | None = None
        self._receive: Receive | None = None
        self._crew = Crew()
        self._lines = {
            name: Line(f"rabbit:{name}", partial(self._outlet.poke, name), self._crew) for name in self._topology.work
        }
        self._links: dict[str, Link] = {}
        self._settling: set[asyncio.Task[None]] = set()
        self._is_held = False
        self._is_stopped = False

    @property
    def is_taking(self) -> bool:
        """Whether messages are taken from the shared queues at this moment."""
        return self._intake is not None and self._intake.is_taking

    def counts(self) -> dict[str, int]:
        """What was counted since the carrier was made; what is not `sent_confirmed` counts as not sent."""
        return {
            **{f"sent_{outcome.value}": count for outcome, count in self._outlet.sent.items()},
            "pokes_dropped": sum(line.dropped for line in self._lines.values()),
            "deliveries": self.deliveries,
            "deliveries_failed": self.failed_deliveries,
            "deliveries_malformed": self.malformed_deliveries,
            "acks_lost": self.lost_acks,
            "queues_rebuilt": self._topology.rebuilt,
            "connections": sum(link.times_up for link in self._links.values()),
        }

    async def open(self) -> None:
        """Begin to publish."""
        self._spawn(Link("publish", self._outlet.serve, self._clock))
        await self._until_up()

    async def start(self, session_id: UUID, receive: Receive) -> None:
        """Begin to publish and to consume the shared queues and this session's own queue."""
        if self._intake is not None:
            return
        self._receive = receive
        self._intake = Intake(self._connect, self._topology, session_id, self._settings.prefetch, self._deliver)
        self._intake.hold(is_held=self._is_held)
        self._spawn(Link("publish", self._outlet.serve, self._clock))
        self._spawn(Link("consume", self._intake.serve, self._clock))
        await self._until_up()

    async def poke(self, process_ids: Sequence[UUID]) -> None:
        """Say to whichever node is free: look at these processes; returns when confirmed or given up."""
        by_queue: dict[str, list[UUID]] = {}
        for process_id in process_ids:
            by_queue.setdefault(work_queue_of(process_id, self._settings.queues), []).append(process_id)
        rounds = [self._lines[queue].say(ids) for queue, ids in by_queue.items()]
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.confirm_timeout_seconds):
                for over in rounds:
                    await asyncio.shield(over)

    async def direct(self, session_id: UUID, process_ids: Sequence[UUID]) -> bool:
        """Say to one session: look at these processes; false when its queue is gone or the broker does not confirm."""
        for body in poke_bodies(process_ids):
            message = Message(body, is_durable=False)
            if await self._outlet.publish("", node_queue(session_id), message) is not Sent.CONFIRMED:
                return False
        return True

    async def announce(self, row: OutboxRow) -> bool:
        """Publish an event to the topic exchange; true when the broker has confirmed it."""
        message = Message(event_body(row), EVENT_CONTENT_TYPE, str(row.event_id))
        return await self._outlet.publish(EVENTS, event_key(row), message, mandatory=False) is Sent.CONFIRMED

    def hold(self, *, is_held: bool) -> None:
        """Stop or go on taking from the shared queues; the session's own queue is always read."""
        self._is_held = is_held
        if self._intake is not None:
            self._intake.hold(is_held=is_held)

    async def stop(self) -> None:
        """Take nothing more, let what is looked at end within the grace period, close; the rest goes to others."""
        if self._is_stopped:
            return
        self.hold(is_held=True)
        self._is_stopped = True
        if self._settling:
            await asyncio.wait(self._settling, timeout=self._settings.grace_seconds)
        await self._crew.dismiss(CLOSE_SECONDS)

    def _spawn(self, link: Link) -> None:
        if link.name not in self._links and not self._is_stopped:
            self._links[link.name] = link
            self._crew.spawn(link.run(), name=f"rabbit:{link.name}")

    async def _until_up(self) -> None:
        try:
            async with asyncio.timeout(self._settings.start_timeout_seconds):
                for link in self._links.values():
                    await link.up.wait()
        except TimeoutError:
            missing = [name for name, link in self._links.items() if not link.up.is_set()]
            log.warning("started_without_broker", missing=missing)

    def _deliver(self, delivery: Delivery) -> None:
        if not self._is_stopped:
            task = self._crew.spawn(self._settle(delivery), name="rabbit:settle")
            self._settling.add(task)
            task.add_done_callback(self._settling.discard)

    async def _settle(self, delivery: Delivery) -> None:
        self.deliveries += 1
        try:
            await self._look(delivery)
        except (BrokerFailed, TimeoutError) as error:
            # Its channel is closed: the broker delivers the message again, and looking twice does no harm.
            self.lost_acks += 1
            log.info("ack_lost", reason=f"{error!r:.300}")

    async def _look(self, delivery: Delivery) -> None:
        assert self._receive is not None, "consumed before the start"
        try:
            process_ids = read_poke(delivery.body)
        except MalformedMessage as error:
            self.malformed_deliveries += 1
            log.warning("poke_malformed", size=len(delivery.body), reason=str(error))
            await delivery.discard()
            return
        try:
            await contained(self._receive(process_ids))
        except Exception:
            self.failed_deliveries += 1
            log.exception("receive_failed", processes=len(process_ids))
            # Said again instead of returned: a message that comes back at once would go round and round.
            await self._clock.sleep(FAILED_PAUSE_SECONDS * (0.5 + self._clock.fraction()))
            await self.poke(process_ids)
        await delivery.ack()
