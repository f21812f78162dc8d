"""The whole cluster in one loop: real nodes on model servers, and whoever restarts what died."""

import asyncio
import contextvars
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from msgspec import Struct

from tests.simulation.broker import Broker, SimCarrier, pause
from tests.simulation.clock import SimClock
from tests.simulation.lease_store import LeaseClient, LeaseStore
from tests.simulation.loop import LIFE, Life, SimLoop
from tests.simulation.postgres import Postgres, SimDatabase
from tests.simulation.target import Target, TargetClient
from understudy.domain.errors import Unreachable
from understudy.executors.http_call import HttpCall
from understudy.executors.registry import Registry
from understudy.persistence.definitions import Definitions
from understudy.persistence.events import Events
from understudy.persistence.inbox import Inbox
from understudy.persistence.journal import PostgresJournal
from understudy.persistence.keys import Keys
from understudy.persistence.leases import Leases
from understudy.persistence.lookout import Lookout
from understudy.persistence.outbox import Outbox
from understudy.persistence.processes import Processes
from understudy.persistence.sessions import Sessions
from understudy.runtime.completion import Completions
from understudy.runtime.node import Node, NodeSettings
from understudy.runtime.plans import Plans
from understudy.runtime.router import Router
from understudy.runtime.service import Pokes, Service, Stores
from understudy.runtime.surroundings import NodePorts

TTL_SECONDS = 5.0
IDLE_SECONDS = 3.0
DRAIN_SECONDS = 6.0
EXIT_SECONDS = 10.0


class Servers(Struct, frozen=True):
    """What the nodes share."""

    loop: SimLoop
    postgres: Postgres
    redis: LeaseStore
    broker: Broker
    target: Target


class Program:
    """One life of a worker: made and run inside its own context, as `bootstrap` would put it together."""

    def __init__(self, servers: Servers, name: str, seed: str, skew: timedelta) -> None:
        loop = servers.loop
        self.name = name
        self.lost = asyncio.Event()
        self.clock = SimClock(loop, seed, skew)
        self.database = SimDatabase(servers.postgres)
        self.leases = Leases("redis://model", ttl_seconds=TTL_SECONDS)
        self.leases._redis = LeaseClient(servers.redis)
        self.journal = PostgresJournal(self.database, self.clock, name)
        self.carrier = SimCarrier(servers.broker)
        self.sessions = Sessions(self.database)
        self.outbox = Outbox(self.database)
        self.http = TargetClient(servers.target)
        processes, definitions = Processes(self.database), Definitions(self.database)
        ports = NodePorts(
            journal=self.journal,
            sessions=self.sessions,
            leases=self.leases,
            lookout=Lookout(self.database),
            events=Events(self.database),
            outbox=self.outbox,
            executors=Registry({"http": HttpCall(self.http, {})}),
            carrier=self.carrier,
            clock=self.clock,
        )
        settings = NodeSettings(
            name=name, lease_ttl_seconds=TTL_SECONDS, idle_seconds=IDLE_SECONDS, drain_seconds=DRAIN_SECONDS
        )
        self.node = Node(settings, ports, Plans(definitions), Completions(processes, self.clock), self.lost.set)

    @property
    def session_id(self) -> UUID:
        return self.node.ownership.session_id

    async def start(self) -> None:
        await self.database.start()
        await self.journal.start()
        await self.node.start()

    async def stop(self) -> None:
        await self.node.stop()
        await self.carrier.stop()
        await self.journal.stop()
        await self.database.stop()


class Machine:
    """Where one node lives, again and again."""

    def __init__(self, name: str, skew: timedelta) -> None:
        self.name = name
        self.skew = skew
        self.lives = 0
        self.life: Life | None = None
        self.context = contextvars.Context()
        self.program: Program | None = None
        self.is_ready = False
        self.wants_to_run = True

    @property
    def is_up(self) -> bool:
        return self.life is not None and not self.life.is_dead


class Cluster:
    """Starts nodes, kills them, and starts them again."""

    def __init__(self, servers: Servers, seed: int, count: int) -> None:
        self.servers = servers
        self.loop = servers.loop
        self.machines = [Machine(f"node-{number}", timedelta(minutes=number * 7)) for number in range(count)]
        self.life_of: dict[UUID, str] = {}
        self.counts = {"kills": 0, "pauses": 0, "stops": 0, "lost": 0, "starts": 0}
        self.mutate: Any = None
        self._seed = seed

    def begin(self) -> None:
        """Start every machine's supervisor."""
        for machine in self.machines:
            self.loop.begin(self._supervise(machine), name=f"supervise-{machine.name}")
        self.loop.begin(self.servers.broker.patrol(), name="patrol")

    def kill(self, machine: Machine) -> None:
        """Kill -9: the sockets close, nothing else happens."""
        if machine.life is not None and machine.is_up:
            life = machine.life
            self.counts["kills"] += 1
            self._end(machine)
            self.loop.later(0.001, self._hang_up, life)

    def pause(self, machine: Machine) -> None:
        if machine.life is not None:
            self.counts["pauses"] += 1
            self.loop.pause(machine.life)

    def resume(self, machine: Machine) -> None:
        if machine.life is not None:
            self.loop.resume(machine.life)

    async def stop(self, machine: Machine) -> None:
        """SIGTERM, and SIGKILL for one that does not end."""
        if machine.program is None or machine.life is None or not machine.is_up or not machine.is_ready:
            return
        self.counts["stops"] += 1
        await self._let_end(machine)

    async def _supervise(self, machine: Machine) -> None:
        while True:
            if machine.wants_to_run and not machine.is_up:
                await self._start(machine)
            elif machine.is_up and machine.is_ready and machine.program is not None and machine.program.lost.is_set():
                self.counts["lost"] += 1
                await self._let_end(machine)
            await pause(self.loop, 0.25)

    async def _start(self, machine: Machine) -> None:
        machine.lives += 1
        machine.is_ready = False
        name = f"{machine.name}.{machine.lives}"
        life, machine.context = self.loop.live(name)
        machine.life = life
        self.counts["starts"] += 1
        boot = self.loop.create_task(self._boot(machine, name), name=f"boot-{name}", context=machine.context.copy())
        while not boot.done() and not life.is_dead:
            await pause(self.loop, 0.1)
        if boot.done() and boot.exception() is not None:
            if not isinstance(boot.exception(), Unreachable | OSError):
                structlog.get_logger("cluster").error("boot_failed", exc_info=boot.exception())
            self._end(machine)
            self._hang_up(life)

    async def _boot(self, machine: Machine, name: str) -> None:
        program = Program(self.servers, machine.name, f"{self._seed}:{name}", machine.skew)
        if self.mutate is not None:
            self.mutate(program)
        machine.program = program
        self.life_of[program.session_id] = name
        await program.start()
        machine.is_ready = True

    async def _let_end(self, machine: Machine) -> None:
        program, life = machine.program, machine.life
        assert program is not None
        assert life is not None
        ending = self.loop.create_task(program.stop(), name=f"stop-{life.name}", context=machine.context.copy())
        until = self.loop.time() + EXIT_SECONDS
        while not ending.done() and not life.is_dead and self.loop.time() < until:
            await pause(self.loop, 0.1)
        if ending.done() and not ending.cancelled() and ending.exception() is not None:
            structlog.get_logger("cluster").error("stop_failed", exc_info=ending.exception())
        if machine.life is life:
            self._end(machine)
            self._hang_up(life)

    def _end(self, machine: Machine) -> None:
        if machine.life is not None:
            self.loop.kill(machine.life)
        machine.is_ready = False

    def _hang_up(self, life: Life) -> None:
        self.servers.postgres.hang_up(life)
        self.servers.broker.hang_up(life)


def gateway(servers: Servers, seed: int) -> Service:
    """The service that clients call; it is never killed, its connections break like all others."""
    assert LIFE.get() is None
    clock = SimClock(servers.loop, f"{seed}:gateway")
    database = SimDatabase(servers.postgres)
    leases = Leases("redis://model", ttl_seconds=TTL_SECONDS)
    leases._redis = LeaseClient(servers.redis)
    processes, definitions = Processes(database), Definitions(database)
    stores = Stores(processes, Inbox(database), definitions, Events(database), Keys(database))
    carrier = SimCarrier(servers.broker)
    pokes = Pokes(new=carrier.poke, known=Router(carrier, leases).poke)
    return Service(stores, Plans(definitions), Completions(processes, clock), clock, pokes)
