"""What the gateway asks of the process it runs in, beside the service."""

from typing import Protocol
from uuid import UUID

from understudy.domain.live import ActorFilter, ActorView, NodeView


class Nodes(Protocol):
    """The nodes, and the live actors of this one."""

    async def nodes(self) -> list[NodeView]:
        """Every node that is known."""
        ...

    def actors(self, wanted: ActorFilter) -> list[ActorView]:
        """The live actors that a filter lets through, in the order of their process ids."""
        ...

    def actor(self, process_id: UUID) -> ActorView | None:
        """The live actor of a process."""
        ...


class Health(Protocol):
    """Whether the servers behind the gateway answer."""

    async def ready(self) -> dict[str, str | None]:
        """The problem of each server by its name; None for one that answers."""
        ...
