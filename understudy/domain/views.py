"""What is read back about processes, events and nodes: the shapes that the stores answer with."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import Struct

from understudy.domain.facts import HistoryRow
from understudy.domain.failure import Failure
from understudy.domain.state import DefinitionRef, Execution
from understudy.domain.states import ProcessState


class ProcessView(Struct, frozen=True):
    """A process as stored; `executions` are the latest visits of the activities reached, by their start."""

    process_id: UUID
    definition: DefinitionRef
    key: str | None
    labels: Mapping[str, str]
    state: ProcessState
    paused: bool
    version: int
    input: Any
    output: Any
    failure: Failure | None
    created_at: datetime
    started_at: datetime | None
    updated_at: datetime
    ended_at: datetime | None
    quarantined: str | None
    owner_session: UUID | None
    owner_epoch: int
    executions: tuple[Execution, ...] = ()


class RecordedRow(Struct, frozen=True):
    """A history row with what the commit added."""

    seq: int
    row: HistoryRow
    version: int
    node: str | None
    epoch: int | None


class Query(Struct, frozen=True):
    """A filter over processes; `before` is the position (created_at, process_id) after which a page goes on."""

    state: ProcessState | None = None
    definition: str | None = None
    definition_version: int | None = None
    key: str | None = None
    label: tuple[str, str] | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    before: tuple[datetime, UUID] | None = None
    limit: int = 50


class PublishedDefinition(Struct, frozen=True):
    """A version of a definition; `content` is its JSON text as it was published."""

    name: str
    version: int
    digest: bytes
    content: bytes
    created_at: datetime


class NewProcess(Struct, frozen=True):
    """A process to be started; the same id with another `request_hash`, that of the body, is a conflict."""

    process_id: UUID
    definition: DefinitionRef
    content: bytes | None
    key: str | None
    labels: Mapping[str, str]
    input: Any
    request_hash: bytes
    first_status: int = 201

    def view(self, at: datetime) -> ProcessView:
        """The process as it is when nobody has taken it up yet."""
        return ProcessView(
            process_id=self.process_id,
            definition=self.definition,
            key=self.key,
            labels=self.labels,
            state=ProcessState.CREATED,
            paused=False,
            version=0,
            input=self.input,
            output=None,
            failure=None,
            created_at=at,
            started_at=None,
            updated_at=at,
            ended_at=None,
            quarantined=None,
            owner_session=None,
            owner_epoch=0,
        )


class NewEvent(Struct, frozen=True):
    """An external event; `process_id` is its one addressee, if it has one."""

    event_id: UUID
    type: str
    key: str | None
    data: Any
    process_id: UUID | None = None
    request_hash: bytes | None = None


class Submitted(Struct, frozen=True):
    """What became of a row handed in under an id: `is_replay` when it was there, `conflicts` with another hash.

    `request_hash` and `outcome` are those of the row that is kept.
    """

    is_replay: bool = False
    conflicts: bool = False
    first_status: int | None = None
    request_hash: bytes | None = None
    outcome: str | None = None


class OutboxRow(Struct, frozen=True):
    """An event that waits to be announced; rows of one process go in the order of (version, idx)."""

    process_id: UUID
    version: int
    idx: int
    event_id: UUID
    type: str
    key: str | None
    data: Any
    created_at: datetime


class SessionView(Struct, frozen=True):
    """One life of a node as PostgreSQL sees it. `lock_held` tells whether its own connection is there.

    `address` and `admin_token` are those of its internal endpoint; the age of the last beat is for people to see.
    """

    session_id: UUID
    node: str
    address: str | None
    started_at: datetime
    beat_seq: int
    lease_ok: bool
    state: str
    lock_held: bool
    server_started_at: datetime
    admin_token: str | None = None
    beat_age_seconds: float | None = None

    def __repr__(self) -> str:
        return f"SessionView(session_id={self.session_id}, node={self.node!r}, state={self.state!r})"
