"""What is alive: the known nodes, and this node's actors."""

from uuid import UUID

from understudy.actors.process import ProcessActor
from understudy.domain.live import ActorFilter, ActorView, NodeView
from understudy.domain.ports import Sessions
from understudy.runtime.node import Node


class Live:
    """Answers the admin endpoints."""

    def __init__(self, node: Node, sessions: Sessions) -> None:
        self._node = node
        self._sessions = sessions

    async def nodes(self) -> list[NodeView]:
        """Every node that is known.

        Raises:
            Unreachable: PostgreSQL does not answer.
        """
        mine = self._node.ownership.session_id
        return [
            NodeView(
                id=view.session_id,
                node=view.node,
                state=view.state,
                started_at=view.started_at,
                beat_seq=view.beat_seq,
                lease_ok=view.lease_ok,
                live_actors=len(self._node.directory) if view.session_id == mine else None,
                address=view.address,
            )
            for view in await self._sessions.observe()
        ]

    def actors(self, wanted: ActorFilter) -> list[ActorView]:
        """The live actors that a filter lets through, in the order of their process ids."""
        found = sorted(
            (actor for actor in self._node.directory if self._matches(actor, wanted)),
            key=lambda actor: actor.process_id,
        )
        return [self._view(actor) for actor in found[: wanted.limit]]

    def actor(self, process_id: UUID) -> ActorView | None:
        """The live actor of a process."""
        actor = self._node.directory.find(process_id)
        return None if actor is None else self._view(actor)

    def _matches(self, actor: ProcessActor, wanted: ActorFilter) -> bool:
        definition = actor.state.definition
        return (
            (wanted.node is None or wanted.node in (self._node.settings.name, str(self._node.ownership.session_id)))
            and (wanted.definition is None or wanted.definition == definition.name)
            and (wanted.definition_version is None or wanted.definition_version == definition.version)
            and (wanted.state is None or wanted.state == actor.state.state)
            and (wanted.after is None or actor.process_id > wanted.after)
        )

    def _view(self, actor: ProcessActor) -> ActorView:
        state = actor.state
        return ActorView(
            process_id=actor.process_id,
            definition=state.definition,
            key=state.key,
            state=state.state,
            node=self._node.settings.name,
            session=self._node.ownership.session_id,
            epoch=actor.tenure.epoch,
            version=actor.version,
            mailbox_depth=actor.actor_ref.depth,
            current_activities=tuple(execution.activity for execution in state.open_executions()),
            children_in_flight=len(actor.children),
            last_commit_at=actor.last_commit_at,
            started_at=actor.launched_at,
        )
