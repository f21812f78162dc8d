"""What is alive at this moment, as the nodes tell it; nothing of it is stored for good."""

from datetime import datetime
from uuid import UUID

from msgspec import Struct

from understudy.domain.state import DefinitionRef
from understudy.domain.states import ProcessState


class NodeView(Struct, frozen=True):
    """One life of a node; what it tells itself is None when it did not answer, or is dead."""

    id: UUID
    node: str
    state: str
    started_at: datetime
    beat_seq: int
    lease_ok: bool
    live_actors: int | None
    address: str | None
    beat_age_seconds: float | None = None
    memory_bytes: int | None = None


class ActorView(Struct, frozen=True):
    """A live actor; `started_at` is when it came to life on its node, its age what has passed since."""

    process_id: UUID
    definition: DefinitionRef
    key: str | None
    state: ProcessState
    node: str
    session: UUID
    epoch: int
    version: int
    mailbox_depth: int
    current_activities: tuple[str, ...]
    children_in_flight: int
    last_commit_at: datetime | None
    started_at: datetime
    age_seconds: float


class ActorFilter(Struct, frozen=True):
    """Which live actors are asked for: at most `limit` of them, in the order of their process ids, those above `after`.

    `node` is a node's name or the id of its session.
    """

    node: str | None = None
    definition: str | None = None
    definition_version: int | None = None
    state: ProcessState | None = None
    after: UUID | None = None
    limit: int = 50
    process_id: UUID | None = None


class LiveReport(Struct, frozen=True):
    """What a node tells about itself, with those of its actors that were asked for."""

    session: UUID
    live_actors: int
    memory_bytes: int | None
    actors: tuple[ActorView, ...] = ()


class KnownNodes(Struct, frozen=True):
    """Every node that is known, and those that should have answered and did not."""

    nodes: tuple[NodeView, ...]
    unanswered: tuple[UUID, ...] = ()


class LiveActors(Struct, frozen=True):
    """Live actors of all nodes that answered, and the nodes that did not."""

    actors: tuple[ActorView, ...]
    unanswered: tuple[UUID, ...] = ()
