"""decide: the only place where a process changes its mind.

A decision is pure: it reads the plan, the state, one message and the time, and answers with the facts that follow and
the effects that should be performed once the facts are committed. A message that comes too late, twice or for something
that is over changes nothing, and says so in its outcome.
"""

from datetime import datetime, timedelta
from typing import NamedTuple, assert_never

from understudy.domain import messages as m
from understudy.domain.definition import HttpActivity
from understudy.domain.draft import Draft
from understudy.domain.effects import AnyEffect
from understudy.domain.facts import (
    ActivityRedispatched,
    ActivityRetryScheduled,
    ActivityStarted,
    ActivityWaiting,
    AnyFact,
    EventReceived,
    ProcessCancelled,
    ProcessStarted,
)
from understudy.domain.failure import Category, Failure
from understudy.domain.plan import Plan, Step
from understudy.domain.retry import backoff, is_retryable
from understudy.domain.state import Execution, State, Timer, Waiting, timers_of
from understudy.domain.states import ActivityState, ProcessState

APPLIED = "applied"

HTTP_TIMEOUT_DEFAULT = timedelta(seconds=30)
"""How long one attempt of an HTTP activity may take that names no `timeout`."""


class Decision(NamedTuple):
    """Facts in order, the state after them, effects to perform after the commit, and what became of the message.

    `size` is that of the results among the facts, in bytes of JSON.
    """

    state: State
    facts: tuple[AnyFact, ...] = ()
    effects: tuple[AnyEffect, ...] = ()
    outcome: str = APPLIED
    size: int = 0


def decide(plan: Plan, state: State, message: m.AnyMessage, now: datetime) -> Decision:
    """What follows from a message."""
    if state.state.is_terminal:
        return Decision(state, outcome=f"rejected: the process is {state.state}")
    draft = Draft(plan, state, now)
    outcome = _apply(draft, message)
    draft.settle()
    return Decision(draft.state, tuple(draft.facts), tuple(draft.effects), outcome, draft.size)


def recover(plan: Plan, state: State, now: datetime) -> Decision:
    """What a new owner does with the attempts it finds in flight: the same attempt again, its outcome marked unknown.

    The facts ride in the next commit: a repeat that dies before it is repeated by the next owner in the same way.
    """
    draft = Draft(plan, state, now)
    for execution in state.open_executions():
        if execution.state is not ActivityState.RUNNING:
            continue
        activity = plan.steps[execution.activity].activity
        if isinstance(activity, HttpActivity):
            draft.emit(
                ActivityRedispatched(
                    at=draft.now,
                    origin=execution.state,
                    activity=execution.activity,
                    execution_id=execution.execution_id,
                    attempt=execution.attempt,
                )
            )
            repeated = draft.state.executions[execution.activity]
            if activity.on_unknown == "park":
                lost = Failure("http.unknown", Category.EXTERNAL, "the node died while the request was in flight")
                _park(draft, repeated, lost)
            else:
                # The attempt may have been sent long after it started, when its node had no lease: count from now.
                draft.run(repeated, _not_before(activity, draft.plan.steps[execution.activity], draft.now))
            continue
        draft.run(draft.state.executions[execution.activity])
    draft.settle()
    return Decision(draft.state, tuple(draft.facts), tuple(draft.effects))


def _not_before(activity: HttpActivity, step: Step, sent_at: datetime) -> datetime | None:
    """When a repeat may be sent: with `retry_after_timeout` only after the old call has timed out."""
    if activity.on_unknown != "retry_after_timeout":
        return None
    return sent_at + (step.timeout or HTTP_TIMEOUT_DEFAULT)


def _park(draft: Draft, execution: Execution, failure: Failure) -> None:
    final = Failure(failure.type, failure.category, failure.message, failure.details, execution.attempt)
    _wait(draft, execution, Waiting("operator", draft.now), final)


def _apply(draft: Draft, message: m.AnyMessage) -> str:
    match message:
        case m.Begin():
            return _begin(draft)
        case m.ExecutorSucceeded():
            return _executor_succeeded(draft, message)
        case m.ExecutorFailed():
            execution = _running(draft, message)
            return _LATE if execution is None else _attempt_failed(draft, execution, message)
        case m.ExecutorWaits():
            return _executor_waits(draft, message)
        case m.TimerDue():
            return _timer_due(draft, message)
        case m.EventArrived():
            return _event_arrived(draft, message)
        case m.Answered():
            return _answered(draft, message)
        case m.CancelRequested():
            return _cancel(draft, message)
        case m.Faulted():
            draft.fail_process(message.failure)
            return APPLIED
        case _:
            assert_never(message)


_LATE = "rejected: the attempt is over"


def _begin(draft: Draft) -> str:
    if draft.state.state is not ProcessState.CREATED:
        return "rejected: the process has begun"
    timeout = draft.plan.timeout
    deadline_at = None if timeout is None else draft.now + timeout
    draft.emit(ProcessStarted(at=draft.now, origin=draft.state.state, deadline_at=deadline_at))
    draft.enter(draft.plan.start)
    return APPLIED


def _running(draft: Draft, message: m.ExecutorSucceeded | m.ExecutorFailed | m.ExecutorWaits) -> Execution | None:
    """The execution a child speaks of, if that attempt is still the one that runs."""
    execution = draft.state.executions.get(message.activity)
    if execution is None or execution.execution_id != message.execution_id:
        return None
    if execution.attempt != message.attempt or execution.state is not ActivityState.RUNNING:
        return None
    return execution


def _executor_succeeded(draft: Draft, message: m.ExecutorSucceeded) -> str:
    execution = _running(draft, message)
    if execution is None:
        return _LATE
    if message.publish is not None:
        draft.effects.append(message.publish)
    draft.succeed(execution, message.output, message.next)
    return APPLIED


def _executor_waits(draft: Draft, message: m.ExecutorWaits) -> str:
    execution = _running(draft, message)
    if execution is None:
        return _LATE
    _wait(draft, execution, message.waiting)
    return APPLIED


def _wait(draft: Draft, execution: Execution, waiting: Waiting, failure: Failure | None = None) -> None:
    draft.emit(
        ActivityWaiting(
            at=draft.now,
            origin=execution.state,
            activity=execution.activity,
            execution_id=execution.execution_id,
            attempt=execution.attempt,
            waiting=waiting,
            failure=failure,
        )
    )


def _attempt_failed(draft: Draft, execution: Execution, message: m.ExecutorFailed) -> str:
    step = draft.plan.steps[execution.activity]
    source = message.failure
    failure = Failure(source.type, source.category, source.message, source.details, execution.attempt)
    activity = step.activity
    if message.is_unknown and isinstance(activity, HttpActivity) and activity.on_unknown == "park":
        _park(draft, execution, failure)
        return APPLIED
    if not is_retryable(step.retry, failure.type) or execution.attempt >= step.retry.max_attempts:
        draft.fail(execution, failure)
        return APPLIED
    retry_after = None if message.retry_after is None else timedelta(seconds=message.retry_after)
    due_at = draft.now + backoff(step.retry, execution.attempt, message.jitter, retry_after)
    if message.is_unknown and isinstance(activity, HttpActivity):
        due_at = max(due_at, _not_before(activity, step, execution.attempt_started_at) or due_at)
    draft.emit(
        ActivityRetryScheduled(
            at=draft.now,
            origin=execution.state,
            activity=execution.activity,
            execution_id=execution.execution_id,
            attempt=execution.attempt,
            failure=failure,
            next_attempt_at=due_at,
            is_unknown=message.is_unknown,
        )
    )
    return APPLIED


def _timer_due(draft: Draft, message: m.TimerDue) -> str:
    timer = timers_of(draft.state).get(message.timer_id)
    if timer is None or draft.now < timer.due_at:
        return "rejected: nothing is due"
    if timer.kind == "process":
        failure = Failure("timeout", Category.TIMEOUT, "the process ran out of its timeout")
        draft.close_all(failure)
        draft.fail_process(failure)
        return APPLIED
    _fire(draft, draft.state.executions[timer.activity], timer)
    return APPLIED


def _fire(draft: Draft, execution: Execution, timer: Timer) -> None:
    match timer.kind:
        case "retry":
            _next_attempt(draft, execution)
        case "wait":
            draft.wake()
            draft.succeed(execution, {"fired_at": draft.now.isoformat().replace("+00:00", "Z")})
        case "timeout":
            draft.wake()
            draft.fail(
                execution, Failure("timeout", Category.TIMEOUT, f"activity {execution.activity} ran out of its timeout")
            )
        case _:
            draft.wake()
            message = f"activity {execution.activity} passed its deadline"
            draft.fail(execution, Failure("deadline", Category.TIMEOUT, message))


def _next_attempt(draft: Draft, execution: Execution) -> None:
    """The next attempt: under a new idempotency key only if every request under the old one failed definitely."""
    if draft.refuses_more():
        return
    was_sent = execution.failure is None or execution.failure.type != "http.connect"
    is_definite = was_sent and not execution.is_unknown
    draft.emit(
        ActivityStarted(
            at=draft.now,
            origin=execution.state,
            activity=execution.activity,
            execution_id=execution.execution_id,
            attempt=execution.attempt + 1,
            activity_type=execution.type,
            visit=execution.visit,
            generation=execution.generation + 1 if is_definite else execution.generation,
            deadline_at=execution.deadline_at,
        )
    )
    draft.run(draft.state.executions[execution.activity])


def _event_arrived(draft: Draft, message: m.EventArrived) -> str:
    execution = next(
        (found for found in draft.state.open_executions() if found.execution_id == message.execution_id), None
    )
    if execution is None or execution.waiting is None or execution.waiting.event is None:
        return "rejected: nothing waits for the event"
    draft.emit(
        EventReceived(
            at=draft.now,
            origin=execution.state,
            activity=execution.activity,
            execution_id=execution.execution_id,
            attempt=execution.attempt,
            event_id=message.event_id,
            event=message.type,
            key=message.key,
        )
    )
    draft.wake()
    draft.succeed(execution, message.data)
    return APPLIED


def _answered(draft: Draft, message: m.Answered) -> str:
    execution = draft.state.executions.get(message.activity)
    if execution is None or execution.execution_id != message.execution_id:
        return "rejected: the activity is not the one that was asked"
    if execution.waiting is None or execution.waiting.kind != "manual":
        return "rejected: the activity does not wait for an answer"
    draft.wake()
    if message.outcome == "complete":
        draft.succeed(execution, message.output)
    else:
        rejected = Failure(
            "manual.rejected", Category.EXECUTION, f"activity {execution.activity} was answered with fail"
        )
        draft.fail(execution, message.failure or rejected)
    return APPLIED


def _cancel(draft: Draft, message: m.CancelRequested) -> str:
    draft.close_all(Failure("cancelled", Category.EXECUTION, message.reason or "the process was cancelled"))
    draft.emit(ProcessCancelled(at=draft.now, origin=draft.state.state, reason=message.reason))
    return APPLIED
