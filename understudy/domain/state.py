"""The state of one process: an immutable value, folded from its facts."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from msgspec import UNSET, Struct, UnsetType, to_builtins

from understudy.domain.failure import Failure
from understudy.domain.states import ActivityState, ProcessState

STATE_SCHEMA = 1
"""The version of the shape of the stored state; a node does not claim a newer one."""

WaitingKind = Literal["manual", "timer", "event", "operator"]


class AwaitedEvent(Struct, frozen=True):
    """The event that a wait is for; a missing key matches a missing key only."""

    type: str
    key: str | None = None


class Waiting(Struct, frozen=True, omit_defaults=True):
    """What an execution in state WAITING waits for, and until when."""

    kind: WaitingKind
    since: datetime
    due_at: datetime | None = None
    event: AwaitedEvent | None = None
    title: str | None = None
    instructions: str | None = None
    assignee: str | None = None


class Execution(Struct, frozen=True):
    """One visit of an activity. `generation` and `is_unknown` rule its idempotency key (protocol.md, section 10)."""

    execution_id: UUID
    activity: str
    type: str
    visit: int
    attempt: int
    state: ActivityState
    started_at: datetime
    attempt_started_at: datetime
    ended_at: datetime | None = None
    output: Any | UnsetType = UNSET
    failure: Failure | None = None
    generation: int = 0
    is_unknown: bool = False
    next_attempt_at: datetime | None = None
    deadline_at: datetime | None = None
    waiting: Waiting | None = None


class DefinitionRef(Struct, frozen=True):
    """The definition a process is pinned to; an inline one has no version. `digest` is the SHA-256 of its content."""

    name: str
    version: int | None
    digest: bytes


class State(Struct, frozen=True):
    """A process. `executions` holds the latest visit of each activity reached, `active` the open ones."""

    process_id: UUID
    definition: DefinitionRef
    key: str | None
    input: Any
    created_at: datetime
    updated_at: datetime
    state: ProcessState = ProcessState.CREATED
    paused: bool = False
    seq: int = 1
    started_at: datetime | None = None
    ended_at: datetime | None = None
    deadline_at: datetime | None = None
    executions: Mapping[str, Execution] = {}
    active: tuple[UUID, ...] = ()
    last: str | None = None
    output: Any = None
    failure: Failure | None = None

    def open_executions(self) -> list[Execution]:
        """The executions that have not ended."""
        if not self.active:
            return []
        return [execution for execution in self.executions.values() if execution.execution_id in self.active]

    @property
    def is_ready(self) -> bool:
        """Whether work is due now: a process not begun, or an effect in flight (protocol.md, section 2)."""
        if self.state is ProcessState.CREATED:
            return True
        return any(execution.state is ActivityState.RUNNING for execution in self.open_executions())


class Timer(Struct, frozen=True):
    """Something that falls due. `activity` is empty for the timeout of the whole process."""

    timer_id: str
    kind: Literal["process", "deadline", "retry", "wait", "timeout"]
    due_at: datetime
    activity: str = ""
    execution_id: UUID | None = None


def timers_of(state: State) -> dict[str, Timer]:
    """Every timer that a state implies: derived, so that timers and state cannot disagree."""
    if state.state.is_terminal:
        return {}
    return {timer.timer_id: timer for timer in _timers(state)}


def _timers(state: State) -> Iterator[Timer]:
    if state.deadline_at is not None:
        yield Timer("process", "process", state.deadline_at)
    for execution in state.open_executions():
        label, ident = f"{execution.activity}:{execution.visit}", execution.execution_id
        if execution.deadline_at is not None:
            yield Timer(f"{label}:deadline", "deadline", execution.deadline_at, execution.activity, ident)
        if execution.next_attempt_at is not None:
            yield Timer(f"{label}:retry", "retry", execution.next_attempt_at, execution.activity, ident)
        if execution.waiting is not None and execution.waiting.due_at is not None:
            kind: Literal["wait", "timeout"] = "wait" if execution.waiting.kind == "timer" else "timeout"
            yield Timer(f"{label}:{kind}", kind, execution.waiting.due_at, execution.activity, ident)


def subscriptions_of(state: State) -> dict[UUID, AwaitedEvent]:
    """The events a process waits for, by execution id."""
    return {
        execution.execution_id: execution.waiting.event
        for execution in state.open_executions()
        if execution.waiting is not None and execution.waiting.event is not None
    }


class ActivityScope(Mapping[str, Any]):
    """What `activities` means in an expression: every activity has a state, the reached ones an output or an error."""

    __slots__ = ("_executions", "_known")

    def __init__(self, executions: Mapping[str, Execution], known: Mapping[str, Any]) -> None:
        self._executions = executions
        self._known = known

    def __getitem__(self, activity: str) -> dict[str, Any]:
        execution = self._executions.get(activity)
        if execution is None:
            if activity in self._known:
                return {"state": ActivityState.PENDING.value}
            raise KeyError(activity)
        seen: dict[str, Any] = {"state": execution.state.value}
        if execution.output is not UNSET:
            seen["output"] = execution.output
        if execution.failure is not None:
            seen["error"] = to_builtins(execution.failure)
        return seen

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


def scope_of(state: State, known: Mapping[str, Any]) -> dict[str, Any]:
    """The names an expression sees; `known` has the activity ids of the definition as keys."""
    started = state.started_at
    return {
        "input": state.input,
        "activities": ActivityScope(state.executions, known),
        "process": {
            "id": str(state.process_id),
            "key": state.key,
            "started_at": None if started is None else started.isoformat().replace("+00:00", "Z"),
        },
    }
