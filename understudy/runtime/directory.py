"""Which processes live on this node: process id to actor."""

import asyncio
from collections.abc import Iterator
from uuid import UUID

from understudy.actors.process import ProcessActor


class Directory:
    """The live actors of a node."""

    def __init__(self) -> None:
        self._actors: dict[UUID, ProcessActor] = {}
        self._left = asyncio.Event()

    def __len__(self) -> int:
        return len(self._actors)

    def __iter__(self) -> Iterator[ProcessActor]:
        return iter(list(self._actors.values()))

    def __contains__(self, process_id: UUID) -> bool:
        return process_id in self._actors

    def find(self, process_id: UUID) -> ProcessActor | None:
        """The live actor of a process."""
        return self._actors.get(process_id)

    def enter(self, actor: ProcessActor) -> None:
        """Note a live actor."""
        self._actors[actor.process_id] = actor

    def leave(self, actor: ProcessActor) -> None:
        """Forget an actor, unless another one has taken its place."""
        if self._actors.get(actor.process_id) is actor:
            del self._actors[actor.process_id]
            self._left.set()

    async def change(self) -> None:
        """Return when an actor has left since the last call."""
        await self._left.wait()
        self._left.clear()
