"""What a gateway needs beside its service, as values that tests set."""

from uuid import UUID

from understudy.domain.errors import NotFound, Unreachable
from understudy.domain.live import ActorFilter, ActorView, KnownNodes, LiveActors, NodeView


class FakeNodes:
    def __init__(self) -> None:
        self.known: list[NodeView] = []
        self.live: list[ActorView] = []
        self.filters: list[ActorFilter] = []
        self.unanswered: tuple[UUID, ...] = ()
        self.drained: list[UUID] = []

    async def nodes(self) -> KnownNodes:
        return KnownNodes(tuple(self.known), self.unanswered)

    async def actors(self, wanted: ActorFilter) -> LiveActors:
        self.filters.append(wanted)
        ordered = sorted(self.live, key=lambda view: view.process_id)
        found = [view for view in ordered if wanted.after is None or view.process_id > wanted.after]
        return LiveActors(tuple(found[: wanted.limit]), self.unanswered)

    async def actor(self, process_id: UUID) -> ActorView | None:
        found = next((view for view in self.live if view.process_id == process_id), None)
        if found is None and self.unanswered:
            raise Unreachable("nodes did not answer")
        return found

    async def drain(self, node_id: UUID) -> NodeView:
        for node in self.known:
            if node.id == node_id:
                self.drained.append(node_id)
                return node
        raise NotFound(f"no live node {node_id}")


class FakeHealth:
    def __init__(self) -> None:
        self.servers: dict[str, str | None] = {"postgres": None, "redis": None}

    async def ready(self) -> dict[str, str | None]:
        return self.servers
