"""The port of whatever carries wake-ups between nodes, and events to the outside."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol
from uuid import UUID

from understudy.domain.views import OutboxRow

Receive = Callable[[Sequence[UUID]], Awaitable[None]]
"""Looks at processes; returns when each of them is settled, so that the delivery may be acknowledged."""


class Carrier(Protocol):
    """Carries pokes and events. What it loses costs time: the rows are there, and the safety nets read them."""

    async def open(self) -> None:
        """Begin to publish only, as a gateway without a node does."""
        ...

    async def start(self, session_id: UUID, receive: Receive) -> None:
        """Begin to consume the shared queues and this session's own queue; returns when the topology is declared."""
        ...

    async def poke(self, process_ids: Sequence[UUID]) -> None:
        """Say to whichever node is free: look at these processes. Returns when confirmed or given up; never raises."""
        ...

    async def direct(self, session_id: UUID, process_ids: Sequence[UUID]) -> bool:
        """Say to one session: look at these processes; false when its queue is gone or the broker does not confirm."""
        ...

    async def announce(self, row: OutboxRow) -> bool:
        """Publish an event to the outside; true when that is done, which without an outside it always is."""
        ...

    def hold(self, *, is_held: bool) -> None:
        """Stop or go on taking from the shared queues; the session's own queue is always read."""
        ...

    async def stop(self) -> None:
        """Stop consuming and close; what is not acknowledged goes to another node. Safe twice and unstarted."""
        ...
