"""Makes definitions, plans and states, and drives a process without a database."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from understudy.domain import messages as m
from understudy.domain.effects import PublishEvent, RunExecutor
from understudy.domain.evolution import evolve
from understudy.domain.facts import AnyFact, fact_of, row_of
from understudy.domain.failure import Category, Failure
from understudy.domain.plan import Plan, compile_plan
from understudy.domain.ports import Assignment
from understudy.domain.process import Decision, decide, recover
from understudy.domain.state import DefinitionRef, State, scope_of, timers_of
from understudy.domain.validation import parse_definition
from understudy.executors.registry import Registry

T0 = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
PROCESS_ID = UUID("01890000-0000-7000-8000-000000000001")


def transform(name: str, output: Any = "x", **fields: Any) -> dict[str, Any]:
    return {"id": name, "type": "transform", "output": output, **fields}


def http(name: str = "call", **fields: Any) -> dict[str, Any]:
    return {"id": name, "type": "http", "request": {"method": "POST", "url": "https://stock.example/x"}, **fields}


def wait(name: str = "w", **fields: Any) -> dict[str, Any]:
    return {"id": name, "type": "wait", **fields}


def manual(name: str = "ask") -> dict[str, Any]:
    return {"id": name, "type": "manual", "title": "Well?"}


def definition(*activities: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    return {"name": "test", "activities": list(activities), **fields}


def plan_of(*activities: Mapping[str, Any], **fields: Any) -> Plan:
    return compile_plan(parse_definition(definition(*activities, **fields)))


def created(process_input: Any = None, process_id: UUID = PROCESS_ID, at: datetime = T0) -> State:
    return State(process_id, DefinitionRef("test", 1, b"digest"), None, process_input, at, at)


def failure(kind: str = "http.status.503", category: Category = Category.EXTERNAL) -> Failure:
    return Failure(kind, category, "it failed")


class Drive:
    """One process in memory: pure activities run inline, effects are collected, time is set by hand."""

    def __init__(self, plan: Plan, state: State | None = None) -> None:
        self.plan = plan
        self.initial = state or created({"n": 1})
        self.state = self.initial
        self.now = T0
        self.facts: list[AnyFact] = []
        self.effects: list[Any] = []
        self.published: list[PublishEvent] = []
        self._registry = Registry({})

    def begin(self) -> "Drive":
        self.tell(m.Begin())
        return self

    def tell(self, message: m.AnyMessage) -> str:
        return self.apply(decide(self.plan, self.state, message, self.now))

    def recover(self) -> None:
        self.effects.clear()
        self.apply(recover(self.plan, self.state, self.now))

    def apply(self, decision: Decision) -> str:
        self.facts.extend(decision.facts)
        self.state = decision.state
        for effect in decision.effects:
            if isinstance(effect, PublishEvent):
                self.published.append(effect)
            elif isinstance(effect, RunExecutor) and self._registry.is_inline(self.plan.steps[effect.activity].type):
                step = self.plan.steps[effect.activity]
                scope = scope_of(self.state, self.plan.steps)
                self.tell(self._registry.perform_inline(Assignment(effect, step, scope, self.now)))
            else:
                self.effects.append(effect)
        return decision.outcome

    @property
    def running(self) -> RunExecutor:
        return next(effect for effect in reversed(self.effects) if isinstance(effect, RunExecutor))

    def succeed(self, output: Any = None) -> str:
        effect = self.running
        return self.tell(m.ExecutorSucceeded(effect.activity, effect.execution_id, effect.attempt, output))

    def fail(self, kind: str = "http.status.503", **fields: Any) -> str:
        effect = self.running
        fields.setdefault("jitter", 0.5)
        return self.tell(
            m.ExecutorFailed(effect.activity, effect.execution_id, effect.attempt, failure(kind), **fields)
        )

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def fire(self, timer_id: str) -> str:
        timer = timers_of(self.state)[timer_id]
        self.now = max(self.now, timer.due_at)
        return self.tell(m.TimerDue(timer_id))

    def answer(self, activity: str, output: Any = None, **fields: Any) -> str:
        execution = self.state.executions[activity]
        return self.tell(
            m.Answered(activity, execution.execution_id, fields.pop("outcome", "complete"), output, **fields)
        )

    @property
    def kinds(self) -> list[str]:
        return [row_of(fact).type for fact in self.facts]

    def folded(self) -> State:
        """The state that the recorded history folds to."""
        state = self.initial
        for fact in self.facts:
            state = evolve(state, fact_of(row_of(fact)))
        return state
