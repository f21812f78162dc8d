"""The shapes of answers (product.md, section 4), built from the views of the stores."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import UNSET, Raw, Struct, UnsetType

from understudy.domain.failure import Failure
from understudy.domain.live import ActorView
from understudy.domain.state import AwaitedEvent, Execution, Waiting, WaitingKind
from understudy.domain.states import ActivityState, ProcessState
from understudy.domain.views import ProcessView, PublishedDefinition, RecordedRow


class DefinitionName(Struct, frozen=True):
    """The definition a process is pinned to; an inline one has no version."""

    name: str
    version: int | None


class ActivityBody(Struct, frozen=True):
    """One execution; `next_attempt_at` is there while it backs off."""

    id: str
    type: str
    state: ActivityState
    visit: int
    attempt: int
    execution_id: UUID
    started_at: datetime
    ended_at: datetime | None
    output: Any
    error: Failure | None
    next_attempt_at: datetime | UnsetType = UNSET


class WaitingBody(Struct, frozen=True):
    """What an activity waits for; `deadline` is when that ends at the latest."""

    activity: str
    kind: WaitingKind
    since: datetime
    deadline: datetime | None
    event: AwaitedEvent | UnsetType = UNSET
    title: str | UnsetType = UNSET
    instructions: str | UnsetType = UNSET
    assignee: str | UnsetType = UNSET


class ProcessBody(Struct, frozen=True):
    """A process; lists leave out its activities and what it waits for."""

    id: UUID
    definition: DefinitionName
    key: str | None
    state: ProcessState
    version: int
    paused: bool
    input: Any
    output: Any
    error: Failure | None
    labels: Mapping[str, str]
    created_at: datetime
    started_at: datetime | None
    updated_at: datetime
    ended_at: datetime | None
    activities: list[ActivityBody] | UnsetType = UNSET
    waiting_on: list[WaitingBody] | UnsetType = UNSET


class HistoryBody(Struct, frozen=True, rename={"origin": "from"}):
    """A row of the history."""

    seq: int
    at: datetime
    type: str
    origin: str | None
    to: str | None
    activity: str | None
    execution_id: UUID | None
    attempt: int | None
    node: str | None
    epoch: int | None
    data: Mapping[str, Any]


class DefinitionItem(Struct, frozen=True):
    """A version of a definition as lists show it."""

    name: str
    version: int
    created_at: datetime


class DefinitionBody(DefinitionItem, frozen=True):
    """A version of a definition with its content as it was published."""

    definition: Raw


class ActorBody(Struct, frozen=True):
    """A live actor."""

    process_id: UUID
    definition: DefinitionName
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


class Listing(Struct, frozen=True):
    """A page of a list; `next_cursor` is null at its end."""

    items: list[Any]
    next_cursor: str | None


class LiveListing(Listing, frozen=True):
    """A page of what nodes tell about themselves; `unanswered` are those that should have and did not."""

    unanswered: tuple[UUID, ...] = ()


class EventBody(Struct, frozen=True):
    """What became of an event."""

    event_id: UUID
    delivered: int


def process_body(view: ProcessView) -> ProcessBody:
    """A process as it is read alone: with the latest visit of each activity it has reached."""
    executions = view.executions
    activities = [activity_body(execution) for execution in executions]
    waiting_on = [
        _waiting_body(found, found.waiting)
        for found in executions
        if found.state is ActivityState.WAITING and found.waiting is not None
    ]
    return _process_body(view, activities, waiting_on)


def process_item(view: ProcessView) -> ProcessBody:
    """A process as lists show it."""
    return _process_body(view, UNSET, UNSET)


def _process_body(
    view: ProcessView, activities: list[ActivityBody] | UnsetType, waiting_on: list[WaitingBody] | UnsetType
) -> ProcessBody:
    return ProcessBody(
        view.process_id,
        DefinitionName(view.definition.name, view.definition.version),
        view.key,
        view.state,
        view.version,
        view.paused,
        view.input,
        view.output,
        view.failure,
        view.labels,
        view.created_at,
        view.started_at,
        view.updated_at,
        view.ended_at,
        activities,
        waiting_on,
    )


def activity_body(execution: Execution) -> ActivityBody:
    """An execution as it is read."""
    return ActivityBody(
        execution.activity,
        execution.type,
        execution.state,
        execution.visit,
        execution.attempt,
        execution.execution_id,
        execution.started_at,
        execution.ended_at,
        None if execution.output is UNSET else execution.output,
        execution.failure,
        UNSET if execution.next_attempt_at is None else execution.next_attempt_at,
    )


def _waiting_body(execution: Execution, waiting: Waiting) -> WaitingBody:
    ends = [end for end in (waiting.due_at, execution.deadline_at) if end is not None]
    return WaitingBody(
        execution.activity,
        waiting.kind,
        waiting.since,
        min(ends, default=None),
        waiting.event or UNSET,
        waiting.title or UNSET,
        waiting.instructions or UNSET,
        waiting.assignee or UNSET,
    )


def history_body(recorded: RecordedRow) -> HistoryBody:
    """A history row as it is read."""
    row = recorded.row
    return HistoryBody(
        recorded.seq,
        row.at,
        row.type,
        row.origin,
        row.target,
        row.activity,
        row.execution_id,
        row.attempt,
        recorded.node,
        recorded.epoch,
        _with_names_of_the_api(row.data),
    )


def _with_names_of_the_api(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """The content of a fact under the names that the rest of the API has for the same things."""
    if "failure" not in content and "waiting" not in content:
        return content
    named = {"error" if name == "failure" else name: value for name, value in content.items()}
    waiting = named.get("waiting")
    if isinstance(waiting, Mapping):
        named["waiting"] = {"deadline" if name == "due_at" else name: value for name, value in waiting.items()}
    return named


def definition_body(version: PublishedDefinition) -> DefinitionBody:
    """A version of a definition as it is read alone."""
    return DefinitionBody(version.name, version.version, version.created_at, Raw(version.content))


def definition_item(version: PublishedDefinition) -> DefinitionItem:
    """A version of a definition as lists show it."""
    return DefinitionItem(version.name, version.version, version.created_at)


def actor_body(view: ActorView) -> ActorBody:
    """A live actor as it is read."""
    return ActorBody(
        view.process_id,
        DefinitionName(view.definition.name, view.definition.version),
        view.key,
        view.state,
        view.node,
        view.session,
        view.epoch,
        view.version,
        view.mailbox_depth,
        view.current_activities,
        view.children_in_flight,
        view.last_commit_at,
        view.started_at,
        view.age_seconds,
    )
