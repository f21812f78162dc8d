"""What the gateway asks of the process it runs in, beside the service."""

from typing import Protocol
from uuid import UUID

from understudy.domain.live import ActorFilter, ActorView, KnownNodes, LiveActors, NodeView


class Nodes(Protocol):
    """The nodes of the cluster, and their live actors."""

    async def nodes(self) -> KnownNodes:
        """Every node that is known."""
        ...

    async def actors(self, wanted: ActorFilter) -> LiveActors:
        """The live actors that a filter lets through, in the order of their process ids."""
        ...

    async def actor(self, process_id: UUID) -> ActorView | None:
        """The live actor of a process; raises Unreachable when a node that may have it does not answer."""
        ...

    async def drain(self, node_id: UUID) -> NodeView:
        """Ask a node to drain; raises NotFound when none that lives has this id."""
        ...


class Health(Protocol):
    """Whether the servers behind the gateway answer."""

    async def ready(self) -> dict[str, str | None]:
        """The problem of each server by its name; None for one that answers."""
        ...
