"""A decision while it is being made: facts as they come, the state after them, the moves that messages share."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from msgspec import UNSET
from msgspec.json import Encoder

from understudy.domain.effects import AbortExecutor, AnyEffect, RunExecutor
from understudy.domain.evolution import evolve
from understudy.domain.expression.errors import ExpressionError
from understudy.domain.facts import (
    ActivityCompleted,
    ActivityFailed,
    ActivityStarted,
    AnyFact,
    ProcessCompleted,
    ProcessContinued,
    ProcessFailed,
    ProcessWaiting,
)
from understudy.domain.failure import Category, Failure
from understudy.domain.identity import execution_id, idempotency_key
from understudy.domain.json_guard import JsonError, check_json
from understudy.domain.plan import Plan
from understudy.domain.retry import matches
from understudy.domain.state import Execution, State, scope_of
from understudy.domain.states import ActivityState, ProcessState

OUTPUT_SIZE_MAX = 1_048_576
HISTORY_ROWS_MAX = 50_000
_HISTORY_RESERVE = 16
"""Rows kept back so that a process over the limit can still record its end."""

_encode: Callable[[Any], bytes] = Encoder().encode


class Draft:
    """Collects what a decision consists of; `state` is always the state after the facts so far."""

    __slots__ = ("_refused", "effects", "facts", "now", "plan", "size", "state")

    def __init__(self, plan: Plan, state: State, now: datetime) -> None:
        self.plan = plan
        self.state = state
        self.now = max(now, state.updated_at)
        self.facts: list[AnyFact] = []
        self.effects: list[AnyEffect] = []
        self.size = 0
        self._refused: set[str] = set()

    def emit(self, fact: AnyFact) -> None:
        """Let a fact happen."""
        self.state = evolve(self.state, fact)
        self.facts.append(fact)

    def wake(self) -> None:
        """Leave WAITING, because something that was waited for has come."""
        if self.state.state is ProcessState.WAITING:
            self.emit(ProcessContinued(at=self.now, origin=ProcessState.WAITING))

    def settle(self) -> None:
        """Enter WAITING when nothing runs and at least one activity waits."""
        if self.state.state is not ProcessState.IN_PROGRESS:
            return
        states = {execution.state for execution in self.state.open_executions()}
        if states == {ActivityState.WAITING}:
            self.emit(ProcessWaiting(at=self.now, origin=self.state.state))

    def go(self, target: str, origin: Execution) -> None:
        """Follow the flow to an activity or to an end."""
        if target == "@end":
            self._complete()
        elif target == "@fail":
            self._fail_on_purpose(origin)
        else:
            self.enter(target)

    def enter(self, activity: str) -> None:
        """Visit an activity: a new execution with its first attempt."""
        if self.refuses_more():
            return
        step = self.plan.steps[activity]
        latest = self.state.executions.get(activity)
        visit = 1 if latest is None else latest.visit + 1
        ident = execution_id(self.state.process_id, activity, visit)
        self.emit(
            ActivityStarted(
                at=self.now,
                origin=ActivityState.PENDING,
                activity=activity,
                execution_id=ident,
                attempt=1,
                activity_type=step.type,
                visit=visit,
                deadline_at=None if step.deadline is None else self.now + step.deadline,
            )
        )
        if visit > step.max_visits:
            self._refused.add(activity)
            message = f"activity {activity} was entered more than {step.max_visits} times"
            self.fail(self.state.executions[activity], Failure("limit.visits", Category.EXECUTION, message))
            return
        self.run(self.state.executions[activity])

    def refuses_more(self) -> bool:
        """Fail the process when its history has no room for another attempt; whether that happened."""
        if self.state.seq < HISTORY_ROWS_MAX - _HISTORY_RESERVE:
            return False
        message = f"the history reached its limit of {HISTORY_ROWS_MAX} rows"
        self.fail_process(Failure("limit.history", Category.EXECUTION, message))
        return True

    def run(self, execution: Execution, not_before: datetime | None = None) -> None:
        """Have the current attempt performed."""
        key = idempotency_key(self.state.process_id, execution.activity, execution.visit, execution.generation)
        self.effects.append(RunExecutor(execution.activity, execution.execution_id, execution.attempt, key, not_before))

    def succeed(self, execution: Execution, output: Any, target: str | None = None) -> None:
        """End an execution with a result and go on, unless the result is one that cannot be kept."""
        refused = self._refusal(output)
        if refused is not None:
            self.fail(execution, refused)
            return
        self.emit(
            ActivityCompleted(
                at=self.now,
                origin=execution.state,
                activity=execution.activity,
                execution_id=execution.execution_id,
                attempt=execution.attempt,
                output=output,
            )
        )
        self.go(target or self.plan.steps[execution.activity].next, self.state.executions[execution.activity])

    def fail(self, execution: Execution, failure: Failure) -> None:
        """End an execution with an error and go where it is caught, or fail the process."""
        final = self.close(execution, failure)
        for clause in self.plan.steps[execution.activity].catch:
            if matches(clause.errors, final.type):
                if clause.next in self._refused:
                    # It was entered too often a moment ago: caught there again, it would be entered without end.
                    break
                self.go(clause.next, self.state.executions[execution.activity])
                return
        self.fail_process(final)

    def close(self, execution: Execution, failure: Failure) -> Failure:
        """End one execution with an error; the error with its attempt."""
        final = Failure(failure.type, failure.category, failure.message, failure.details, execution.attempt)
        if execution.state is ActivityState.RUNNING:
            self.effects.append(AbortExecutor(execution.execution_id))
        self.emit(
            ActivityFailed(
                at=self.now,
                origin=execution.state,
                activity=execution.activity,
                execution_id=execution.execution_id,
                attempt=execution.attempt,
                failure=final,
            )
        )
        return final

    def close_all(self, failure: Failure) -> None:
        """End every open execution with an error that nothing catches."""
        for execution in self.state.open_executions():
            self.close(execution, failure)

    def fail_process(self, failure: Failure) -> None:
        """End the process with an error, and what is still open with it."""
        self.close_all(Failure("cancelled", Category.EXECUTION, f"the process failed: {failure.message}"))
        self.emit(ProcessFailed(at=self.now, origin=self.state.state, failure=failure))

    def _fail_on_purpose(self, origin: Execution) -> None:
        details = None if origin.output is UNSET else origin.output
        message = f"activity {origin.activity} ended the process with @fail"
        self.fail_process(Failure("failed", Category.EXECUTION, message, details))

    def _complete(self) -> None:
        state = self.state
        if self.plan.output is None:
            output = None if state.last is None else state.executions[state.last].output
            output = None if output is UNSET else output
        else:
            try:
                output = self.plan.output.render(scope_of(state, self.plan.steps))
            except ExpressionError as error:
                message = f"the output of the process: {error}"
                self.fail_process(Failure("expression", Category.VALIDATION, message))
                return
            refused = self._refusal(output)
            if refused is not None:
                self.fail_process(refused)
                return
        self.close_all(Failure("cancelled", Category.EXECUTION, "the process reached its end"))
        self.emit(ProcessCompleted(at=self.now, origin=state.state, output=output))

    def _refusal(self, output: Any) -> Failure | None:
        """Why a result cannot be kept, if so."""
        try:
            check_json(output)
        except JsonError as error:
            return Failure("input", Category.VALIDATION, f"the output cannot be kept: {error}")
        size = len(_encode(output))
        self.size += size
        if size > OUTPUT_SIZE_MAX:
            message = f"the output has {size} bytes, over the limit of {OUTPUT_SIZE_MAX}"
            return Failure("limit.output", Category.EXECUTION, message)
        return None
