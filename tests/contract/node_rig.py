"""A cluster in memory: one database, one Redis, and as many nodes as a test starts."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from structlog.testing import capture_logs

from tests.factories import PROCESS_ID, created, definition
from tests.fakes.cache import FakeCache
from tests.fakes.clock import ManualClock, settle
from tests.fakes.definitions import FakeDefinitions
from tests.fakes.effects import Effects
from tests.fakes.events import FakeEvents, FakeLookout, FakeOutbox
from tests.fakes.faults import Faults
from tests.fakes.journal import FakeJournal
from tests.fakes.sessions import FakeLeases, FakeSessions, Redis
from tests.fakes.store import ProcessRow, Store
from understudy.domain.state import State
from understudy.executors.registry import Registry
from understudy.runtime.completion import Completions
from understudy.runtime.local import LocalCarrier, Switchboard
from understudy.runtime.node import Node, NodeSettings
from understudy.runtime.plans import Plans
from understudy.runtime.surroundings import NodePorts


class Ends:
    """Which processes have ended, as the gateway reads it."""

    def __init__(self, store: Store) -> None:
        self.store = store

    async def ended(self, process_ids: list[UUID]) -> list[UUID]:
        await self.store.faults.visit("processes.ended")
        rows = self.store.processes
        return [ident for ident in process_ids if ident in rows and rows[ident].state.state.is_terminal]


class Cluster:
    """What all nodes share."""

    def __init__(self) -> None:
        self.store = Store()
        self.redis = Redis(self.store.clock, self.store.faults)
        self.cache = FakeCache(self.store.clock)
        self.effects = Effects()
        self.definitions = FakeDefinitions(self.store.faults)
        self.plans = Plans(self.definitions)
        self.switchboard = Switchboard()
        self.nodes: list[Node] = []
        self.lost: list[str] = []

    @property
    def clock(self) -> ManualClock:
        return self.store.clock

    @property
    def faults(self) -> Faults:
        return self.store.faults

    @property
    def row(self) -> ProcessRow:
        return self.store.processes[PROCESS_ID]

    @property
    def state(self) -> State:
        return self.row.state

    def define(self, *activities: Mapping[str, Any], **fields: Any) -> None:
        """The definition of every process that `put` makes."""
        self.definitions.keep(b"digest", definition(*activities, **fields))

    def put(self, process_id: UUID = PROCESS_ID) -> UUID:
        """A process that nobody has begun."""
        self.store.put(created(None, process_id, self.clock.now()))
        return process_id

    def ports(self) -> NodePorts:
        """What one node sees of the outside."""
        return NodePorts(
            journal=FakeJournal(self.store),
            sessions=FakeSessions(self.store),
            leases=FakeLeases(self.redis),
            lookout=FakeLookout(self.store),
            events=FakeEvents(self.store),
            outbox=FakeOutbox(self.store),
            executors=Registry({"http": self.effects}),
            carrier=LocalCarrier(self.clock, self.switchboard, grace_seconds=0.0),
            clock=self.clock,
            views=self.cache,
        )

    def node(self, name: str = "node", **settings: Any) -> Node:
        """A node that is not started."""
        completions = Completions(Ends(self.store), self.clock)  # type: ignore[arg-type] # it only asks who has ended
        node = Node(
            NodeSettings(name, **settings), self.ports(), self.plans, completions, lambda: self.lost.append(name)
        )
        self.nodes.append(node)
        return node

    async def start(self, name: str = "node", **settings: Any) -> Node:
        """A node that works, and has swept once."""
        node = self.node(name, **settings)
        await node.start()
        await self.clock.advance()
        return node

    def poke(self, node: Node, process_ids: list[UUID]) -> None:
        """A delivery on the node's own queue."""
        carrier = node._ports.carrier
        assert isinstance(carrier, LocalCarrier)
        carrier.tell(process_ids)

    async def advance(self, seconds: float = 0.0) -> None:
        await self.clock.advance(seconds)

    async def stop(self, node: Node) -> None:
        """Stop a node, letting time pass as long as it drains."""
        async with asyncio.TaskGroup() as group:
            stopping = group.create_task(node.stop())
            await settle()
            while not stopping.done() and self.clock.alarms:
                await self.clock.advance(0.05)


@asynccontextmanager
async def cluster() -> AsyncIterator[Cluster]:
    """A cluster whose nodes are gone afterwards, without a trace."""
    made = Cluster()
    with capture_logs():
        yield made
    made.effects.calls.clear()
    for node in made.nodes:
        await node._ports.carrier.stop()
        await node.stage.stop_all(5)
    assert [len(node.stage) for node in made.nodes] == [0] * len(made.nodes)
