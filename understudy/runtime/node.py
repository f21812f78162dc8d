"""One node: its session, its actors, and the loops that keep them going."""

from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

import structlog
from msgspec import Struct

from understudy.actors.loop import Stage
from understudy.actors.workplace import Workplace
from understudy.domain.errors import Stopped
from understudy.runtime.claims import Claims
from understudy.runtime.completion import Completions
from understudy.runtime.directory import Directory
from understudy.runtime.ownership import Ownership
from understudy.runtime.plans import Plans
from understudy.runtime.relay import OUTBOX, Relay
from understudy.runtime.router import Router
from understudy.runtime.supervisor import Supervisor
from understudy.runtime.surroundings import NodePorts
from understudy.runtime.sweeper import Sweeper
from understudy.runtime.takeover import Takeover

log = structlog.get_logger("node")

DRAIN_ROUND_SECONDS = 0.05
LEASE_WATCH_SECONDS = 0.5
LOOP_PAUSE_SECONDS = 1.0
STOP_SECONDS = 1.0


class NodeSettings(Struct, frozen=True):
    """What distinguishes one node from another. `is_alone` promises that no other node can be running."""

    name: str
    address: str | None = None
    lease_ttl_seconds: float = 10.0
    idle_seconds: float = 30.0
    drain_seconds: float = 20.0
    activities_per_commit: int = 100
    is_alone: bool = False


class Node:
    """Hosts process actors: start it, poke it, stop it; it lives once. `on_lost` is called when it cannot go on."""

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
        ttl = settings.lease_ttl_seconds
        self.ownership = Ownership(ports.sessions, ports.leases, ports.clock, ttl, self._lose)
        self._claims = Claims(ports, self.ownership, plans, self.directory, 2 * ttl)
        self.supervisor = Supervisor(ports, self.ownership, self.directory, self._claims, completions)
        router = Router(ports.carrier, ports.leases)
        self.takeover = Takeover(ports, self.ownership, ttl)
        self._sweeper = Sweeper(ports, self.ownership, self._claims, router.poke, self.takeover.inherited)
        self._relay = Relay(ports, self.ownership, self.takeover, router.poke, self.supervisor.published)
        self._is_open = False
        self._is_lost = False

    async def start(self) -> None:
        """Open the session and begin to work; a second start does nothing.

        Raises:
            Unreachable: PostgreSQL or Redis does not answer.
        """
        if self._is_open:
            return
        self._is_open = True
        settings, ports = self.settings, self._ports
        await self.ownership.open(settings.name, settings.address)
        if settings.is_alone:
            await self.takeover.bury_all()
        self._claims.open(self._workplace())
        for loop in (
            self.ownership.beat,
            self.ownership.renew,
            self._claims.run,
            self.supervisor.run,
            self.supervisor.freshness.run,
            self._sweeper.sweep,
            self._sweeper.inherit,
            self._sweeper.scan,
            self._sweeper.audit,
            self._relay.run,
            self.takeover.run,
            self._watch_lease,
            self._completions.run,
        ):
            self.stage.spawn(self._keep_going(loop), name=f"{settings.name}:{loop.__qualname__}")
        # Last, and while the lease is renewed: a broker that is not there is waited for.
        await ports.carrier.start(self.ownership.session_id, self.receive)
        log.info("node_started", node=settings.name, session_id=str(self.ownership.session_id))

    async def receive(self, process_ids: Sequence[UUID]) -> None:
        """Look at processes that a delivery names; returns when it may be acknowledged."""
        if OUTBOX in process_ids:
            self.supervisor.published.set()
        await self._claims.settle([process_id for process_id in process_ids if process_id != OUTBOX])

    async def _watch_lease(self) -> None:
        """A node that may begin nothing leaves the shared queues to the others; its own it still reads."""
        while True:
            self._ports.carrier.hold(is_held=not self.ownership.is_valid)
            await self._ports.clock.sleep(LEASE_WATCH_SECONDS)

    async def stop(self) -> None:
        """Let effects in flight end, give every process up, end the session; safe twice and unstarted."""
        if not self._is_open:
            return
        self._is_open = False
        await self._ports.carrier.stop()
        self._claims.close()
        if not self._is_lost:
            await self._drain()
        await self.stage.stop_all(STOP_SECONDS)
        await self.ownership.close()
        log.info("node_stopped", node=self.settings.name)

    def _workplace(self) -> Workplace:
        ports, settings = self._ports, self.settings
        return Workplace(
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

    async def _keep_going(self, loop: Callable[[], Awaitable[None]]) -> None:
        """A loop that breaks is a bug; without it processes would wait for ever, so it is logged and begun anew."""
        while True:
            try:
                await loop()
            except Stopped:
                if not self._is_open:
                    # A node that was suspended in the middle of its stop finds all its time limits over at once.
                    return
                # The journal outlives the node's loops, unless it broke: nothing can be done here any more.
                log.exception("journal_stopped", loop=loop.__qualname__)
                self.ownership.end()
                self._lose()
                return
            except Exception:
                log.exception("loop_failed", loop=loop.__qualname__)
                await self._ports.clock.sleep(LOOP_PAUSE_SECONDS)
            else:
                return

    async def _drain(self) -> None:
        clock = self._ports.clock
        deadline = clock.monotonic() + self.settings.drain_seconds
        while len(self.directory):
            if clock.monotonic() >= deadline:
                left = [str(actor.process_id) for actor in self.directory]
                log.warning("drain_incomplete", count=len(left), processes=left[:100])
                return
            for actor in self.directory:
                actor.retire()
            await clock.sleep(DRAIN_ROUND_SECONDS)

    def _lose(self) -> None:
        """Whatever runs here belongs to others now, or will: it ends at once and touches nothing."""
        if self._is_lost:
            return
        self._is_lost = True
        self._claims.close()
        self.stage.spawn(self._abandon(), name=f"{self.settings.name}:abandon")
        self._on_lost()

    async def _abandon(self) -> None:
        await self.stage.stop_all(STOP_SECONDS)
