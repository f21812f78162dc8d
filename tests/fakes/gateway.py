"""What a gateway needs beside its service, as values that tests set."""

from uuid import UUID

from understudy.domain.live import ActorFilter, ActorView, NodeView


class FakeNodes:
    def __init__(self) -> None:
        self.known: list[NodeView] = []
        self.live: list[ActorView] = []
        self.filters: list[ActorFilter] = []

    async def nodes(self) -> list[NodeView]:
        return self.known

    def actors(self, wanted: ActorFilter) -> list[ActorView]:
        self.filters.append(wanted)
        ordered = sorted(self.live, key=lambda view: view.process_id)
        return [view for view in ordered if wanted.after is None or view.process_id > wanted.after][: wanted.limit]

    def actor(self, process_id: UUID) -> ActorView | None:
        return next((view for view in self.live if view.process_id == process_id), None)


class FakeHealth:
    def __init__(self) -> None:
        self.servers: dict[str, str | None] = {"postgres": None, "redis": None}

    async def ready(self) -> dict[str, str | None]:
        return self.servers
