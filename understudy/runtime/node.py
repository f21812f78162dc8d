"""One node: its session, its actors, and the loops that keep them going."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

import structlog
from msgspec import Struct

from understudy.actors.loop import Stage
from understudy.actors.process import Idle
from understudy.actors.workplace import Workplace
from understudy.domain.ports import Clock, Events, Executors, Journal, Leases, Lookout, Outbox, Sessions
from understudy.runtime.claims import Claims
from understudy.runtime.completion import Completions
from understudy.runtime.directory import Directory
from understudy.runtime.ownership import Ownership
from understudy.runtime.plans import Plans
from understudy.runtime.relay import Relay
from understudy.runtime.supervisor import Supervisor
from understudy.runtime.sweeper import Sweeper
from understudy.runtime.takeover import Takeover

log = structlog.get_logger("node")

DRAIN_ROUND_SECONDS = 0.2
LOOP_PAUSE_SECONDS = 1.0


class NodeSettings(Struct, frozen=True):
    """What distinguishes one node from another. `is_alone` promises that no other node can be running."""

    name: str
    address: str | None = None
    lease_ttl_seconds: float = 10.0
    idle_seconds: float = 30.0
    drain_seconds: float = 20.0
    activities_per_commit: int = 100
    is_alone: bool = False


class NodePorts(Struct, frozen=True):
    """The outside, as a node needs it."""

    journal: Journal
    sessions: Sessions
    leases: Leases
    lookout: Lookout
    events: Events
    outbox: Outbox
    executors: Executors
    clock: Clock


class Node:
    """Hosts process actors: start it, poke it, stop it. `on_lost` is called when its session was declared dead."""

    def __init__(
        self,
        settings: NodeSettings,
        ports: NodePorts,
        plans: Plans,
        completions: Completions,
        on_lost: Callable[[], None],
    ) -> None:
        self.settings = settings
        self.directory = Directory()
        self.stage = Stage(settings.name)
        self._ports = ports
        self._completions = completions
        self._on_lost = on_lost
        clock, ttl = ports.clock, settings.lease_ttl_seconds
        self.ownership = Ownership(ports.sessions, ports.leases, clock, ttl, self._lose)
        self._claims = Claims(ports.journal, ports.leases, self.ownership, plans, self.directory)
        self.supervisor = Supervisor(
            ports.journal, ports.leases, self.ownership, self.directory, self._claims, completions, clock
        )
        self._sweeper = Sweeper(
            ports.lookout, ports.events, ports.journal, self.ownership, self._claims, self.directory, clock, self.poke
        )
        self._relay = Relay(ports.outbox, ports.events, clock, self.poke, self.supervisor.published)
        self.takeover = Takeover(ports.sessions, ports.leases, self.ownership, clock, ttl)
        self._is_running = False

    async def start(self) -> None:
        """Open the session and begin to work.

        Raises:
            Unreachable: PostgreSQL or Redis does not answer.
        """
        if self._is_running:
            return
        settings, ports = self.settings, self._ports
        await self.ownership.open(settings.name, settings.address)
        if settings.is_alone:
            await self.takeover.bury_all()
        self._claims.open(
            Workplace(
                stage=self.stage,
                journal=ports.journal,
                events=ports.events,
                executors=ports.executors,
                clock=ports.clock,
                listener=self.supervisor,
                permit=self.ownership.permit,
                activities_per_commit=settings.activities_per_commit,
                idle_seconds=settings.idle_seconds,
            )
        )
        self._is_running = True
        for loop in (
            self.ownership.beat,
            self.ownership.renew,
            self._claims.run,
            self.supervisor.run,
            self._sweeper.sweep,
            self._sweeper.scan,
            self._sweeper.audit,
            self._relay.run,
            self.takeover.run,
            self._completions.run,
        ):
            self.stage.spawn(self._keep_going(loop), name=f"{settings.name}:{loop.__qualname__}")
        log.info("node_started", node=settings.name, session_id=str(self.ownership.session_id))

    async def _keep_going(self, loop: Callable[[], Awaitable[None]]) -> None:
        """A loop that breaks is a bug; without it processes would wait for ever, so it is logged and begun anew."""
        while True:
            try:
                await loop()
            except Exception:
                log.exception("loop_failed", loop=loop.__qualname__)
                await self._ports.clock.sleep(LOOP_PAUSE_SECONDS)
            else:
                return

    async def poke(self, process_ids: Sequence[UUID]) -> None:
        """Look at these processes: the in-process form of a message from the broker."""
        self._claims.request(process_ids)

    async def stop(self) -> None:
        """Take nothing new, let requests in flight end, give every process up, end the session."""
        if not self._is_running:
            return
        self._is_running = False
        self._claims.close()
        try:
            async with asyncio.timeout(self.settings.drain_seconds):
                await self._drain()
        except TimeoutError:
            log.warning("drain_incomplete", processes=len(self.directory))
        await self.stage.stop_all(1.0)
        await self.ownership.close()
        log.info("node_stopped", node=self.settings.name)

    async def _drain(self) -> None:
        while len(self.directory):
            for actor in self.directory:
                if not actor.actor_stopped.is_set():
                    actor.actor_ref.tell(Idle())
            try:
                async with asyncio.timeout(DRAIN_ROUND_SECONDS):
                    await self.directory.change()
            except TimeoutError:
                continue

    def _lose(self) -> None:
        """Declared dead: whatever runs here belongs to others now, so it ends at once and touches nothing."""
        self._is_running = False
        self._claims.close()
        self._on_lost()
