"""evolve: how a fact changes the state of a process. The same function folds a recorded history."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from msgspec import UNSET
from msgspec.structs import replace

from understudy.domain.facts import (
    ActivityCompleted,
    ActivityFact,
    ActivityFailed,
    ActivityRedispatched,
    ActivityRetryScheduled,
    ActivityStarted,
    ActivityWaiting,
    AnyFact,
    EventReceived,
    ProcessCancelled,
    ProcessCompleted,
    ProcessContinued,
    ProcessFailed,
    ProcessStarted,
    ProcessWaiting,
)
from understudy.domain.state import Execution, State
from understudy.domain.states import ActivityState, ProcessState, check_activity, check_process


def evolve(state: State, fact: AnyFact) -> State:
    """The state after a fact.

    Raises:
        IllegalTransition: the fact does not fit the state.
    """
    return _STEPS[type(fact)](state, fact)


def _enter(state: State, fact: AnyFact, target: ProcessState, **changes: Any) -> State:
    check_process(state.state, target)
    return replace(state, state=target, seq=state.seq + 1, updated_at=fact.at, **changes)


def _keep(state: State, fact: ActivityFact, execution: Execution, **changes: Any) -> State:
    executions = {**state.executions, fact.activity: execution}
    return replace(state, executions=executions, seq=state.seq + 1, updated_at=fact.at, **changes)


def _move(state: State, fact: ActivityFact, target: ActivityState, **changes: Any) -> Execution:
    execution = state.executions[fact.activity]
    check_activity(execution.state, target)
    return replace(execution, state=target, **changes)


def _without(active: tuple[UUID, ...], ended: UUID) -> tuple[UUID, ...]:
    return tuple(ident for ident in active if ident != ended)


def _process_started(state: State, fact: ProcessStarted) -> State:
    return _enter(state, fact, ProcessState.IN_PROGRESS, started_at=fact.at, deadline_at=fact.deadline_at)


def _process_waiting(state: State, fact: ProcessWaiting) -> State:
    return _enter(state, fact, ProcessState.WAITING)


def _process_continued(state: State, fact: ProcessContinued) -> State:
    return _enter(state, fact, ProcessState.IN_PROGRESS)


def _process_completed(state: State, fact: ProcessCompleted) -> State:
    return _enter(state, fact, ProcessState.COMPLETED, output=fact.output, ended_at=fact.at)


def _process_failed(state: State, fact: ProcessFailed) -> State:
    return _enter(state, fact, ProcessState.FAILED, failure=fact.failure, ended_at=fact.at)


def _process_cancelled(state: State, fact: ProcessCancelled) -> State:
    return _enter(state, fact, ProcessState.CANCELLED, ended_at=fact.at)


def _activity_started(state: State, fact: ActivityStarted) -> State:
    if fact.attempt == 1:
        execution = Execution(
            execution_id=fact.execution_id,
            activity=fact.activity,
            type=fact.activity_type,
            visit=fact.visit,
            attempt=1,
            state=ActivityState.RUNNING,
            started_at=fact.at,
            attempt_started_at=fact.at,
            generation=fact.generation,
            deadline_at=fact.deadline_at,
        )
        return _keep(state, fact, execution, active=(*state.active, fact.execution_id))
    execution = _move(
        state,
        fact,
        ActivityState.RUNNING,
        attempt=fact.attempt,
        generation=fact.generation,
        attempt_started_at=fact.at,
        next_attempt_at=None,
    )
    return _keep(state, fact, execution)


def _activity_redispatched(state: State, fact: ActivityRedispatched) -> State:
    execution = state.executions[fact.activity]
    return _keep(state, fact, replace(execution, is_unknown=True, attempt_started_at=fact.at))


def _activity_waiting(state: State, fact: ActivityWaiting) -> State:
    execution = _move(state, fact, ActivityState.WAITING, waiting=fact.waiting, failure=fact.failure)
    if fact.failure is not None:
        execution = replace(execution, is_unknown=True)
    return _keep(state, fact, execution)


def _activity_retry_scheduled(state: State, fact: ActivityRetryScheduled) -> State:
    execution = _move(
        state,
        fact,
        ActivityState.PENDING,
        failure=fact.failure,
        next_attempt_at=fact.next_attempt_at,
        is_unknown=state.executions[fact.activity].is_unknown or fact.is_unknown,
    )
    return _keep(state, fact, execution)


def _ended(state: State, fact: ActivityFact, target: ActivityState, **changes: Any) -> Execution:
    return _move(state, fact, target, ended_at=fact.at, deadline_at=None, next_attempt_at=None, waiting=None, **changes)


def _activity_completed(state: State, fact: ActivityCompleted) -> State:
    execution = _ended(state, fact, ActivityState.COMPLETED, output=fact.output, failure=None)
    return _keep(state, fact, execution, active=_without(state.active, fact.execution_id), last=fact.activity)


def _activity_failed(state: State, fact: ActivityFailed) -> State:
    execution = _ended(state, fact, ActivityState.FAILED, output=UNSET, failure=fact.failure)
    return _keep(state, fact, execution, active=_without(state.active, fact.execution_id))


def _event_received(state: State, fact: EventReceived) -> State:
    return replace(state, seq=state.seq + 1, updated_at=fact.at)


_STEPS: dict[type, Callable[[State, Any], State]] = {
    ProcessStarted: _process_started,
    ProcessWaiting: _process_waiting,
    ProcessContinued: _process_continued,
    ProcessCompleted: _process_completed,
    ProcessFailed: _process_failed,
    ProcessCancelled: _process_cancelled,
    ActivityStarted: _activity_started,
    ActivityRedispatched: _activity_redispatched,
    ActivityWaiting: _activity_waiting,
    ActivityRetryScheduled: _activity_retry_scheduled,
    ActivityCompleted: _activity_completed,
    ActivityFailed: _activity_failed,
    EventReceived: _event_received,
}
