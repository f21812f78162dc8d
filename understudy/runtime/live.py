"""What is alive on this node."""

import heapq
import os
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from understudy.actors.process import ProcessActor
from understudy.domain.live import ActorFilter, ActorView, LiveReport
from understudy.domain.ports import Clock
from understudy.runtime.node import Node

_MEMORY = Path("/proc/self/statm")


class Live:
    """Tells about this node's actors; which node is asked is for the asker to choose."""

    def __init__(self, node: Node, clock: Clock) -> None:
        self._node = node
        self._clock = clock

    @property
    def session_id(self) -> UUID:
        """The node's session."""
        return self._node.ownership.session_id

    def report(self, wanted: ActorFilter) -> LiveReport:
        """The actors that a filter lets through, in the order of their process ids, and how many there are in all."""
        return LiveReport(
            session=self.session_id,
            live_actors=len(self._node.directory),
            memory_bytes=_resident_bytes(),
            actors=tuple(self._view(actor) for actor in self._find(wanted)),
        )

    def _find(self, wanted: ActorFilter) -> list[ProcessActor]:
        if wanted.process_id is not None:
            actor = self._node.directory.find(wanted.process_id)
            return [] if actor is None else [actor]
        if not wanted.limit:
            return []
        # Nothing else runs on the node meanwhile: sorting all of a hundred thousand would be felt.
        fitting = (actor for actor in self._node.directory if _matches(actor, wanted))
        return heapq.nsmallest(wanted.limit, fitting, key=lambda actor: actor.process_id)

    def _view(self, actor: ProcessActor) -> ActorView:
        state = actor.state
        age = self._clock.now() - actor.launched_at
        return ActorView(
            process_id=actor.process_id,
            definition=state.definition,
            key=state.key,
            state=state.state,
            node=self._node.settings.name,
            session=self.session_id,
            epoch=actor.tenure.epoch,
            version=actor.version,
            mailbox_depth=actor.actor_ref.depth,
            current_activities=tuple(execution.activity for execution in state.open_executions()),
            children_in_flight=len(actor.children),
            last_commit_at=actor.last_commit_at,
            started_at=actor.launched_at,
            age_seconds=round(max(age.total_seconds(), 0.0), 3),
        )


def _matches(actor: ProcessActor, wanted: ActorFilter) -> bool:
    definition = actor.state.definition
    return (
        (wanted.definition is None or wanted.definition == definition.name)
        and (wanted.definition_version is None or wanted.definition_version == definition.version)
        and (wanted.state is None or wanted.state == actor.state.state)
        and (wanted.after is None or actor.process_id > wanted.after)
    )


def _resident_bytes() -> int | None:
    with suppress(OSError, ValueError, IndexError):
        return int(_MEMORY.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return None
