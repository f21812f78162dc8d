"""The inline executors: pure functions of an assignment."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.factories import PROCESS_ID, T0, created, manual, plan_of, transform, wait
from understudy.domain.effects import RunExecutor
from understudy.domain.expression.errors import ExpressionError
from understudy.domain.failure import Category
from understudy.domain.identity import execution_id, idempotency_key
from understudy.domain.messages import ExecutorFailed, ExecutorSucceeded, ExecutorWaits
from understudy.domain.ports import Assignment, ExecutorResult
from understudy.domain.state import AwaitedEvent, scope_of
from understudy.executors.registry import INLINE, Registry

IDENT = execution_id(PROCESS_ID, "it", 1)


def assignment(activity: dict[str, Any], process_input: Any = None) -> Assignment:
    """An attempt of the activity `it`, which `other` follows."""
    plan = plan_of({**activity, "id": "it"}, transform("other"), transform("third"))
    effect = RunExecutor("it", IDENT, 2, idempotency_key(PROCESS_ID, "it", 1, 0))
    state = created(process_input)
    return Assignment(effect, plan.steps["it"], scope_of(state, plan.steps), T0)


def perform(activity: dict[str, Any], process_input: Any = None) -> ExecutorResult:
    return Registry({}).perform_inline(assignment(activity, process_input))


def succeeded(activity: dict[str, Any], process_input: Any = None) -> ExecutorSucceeded:
    result = perform(activity, process_input)
    assert isinstance(result, ExecutorSucceeded), result
    assert (result.activity, result.execution_id, result.attempt) == ("it", IDENT, 2)
    return result


def failed(activity: dict[str, Any], process_input: Any = None) -> ExecutorFailed:
    result = perform(activity, process_input)
    assert isinstance(result, ExecutorFailed), result
    assert (result.activity, result.execution_id, result.attempt) == ("it", IDENT, 2)
    assert not result.is_unknown
    return result


def waits(activity: dict[str, Any], process_input: Any = None) -> ExecutorWaits:
    result = perform(activity, process_input)
    assert isinstance(result, ExecutorWaits), result
    assert (result.activity, result.execution_id, result.attempt) == ("it", IDENT, 2)
    return result


# Registry


def test_only_pure_activities_are_inline() -> None:
    registry = Registry({})
    assert [kind for kind in ("http", *INLINE) if not registry.is_inline(kind)] == ["http"]


async def test_an_effect_goes_to_the_executor_of_its_type() -> None:
    given = assignment(transform("it"))
    seen: list[Assignment] = []

    async def record(assignment: Assignment) -> ExecutorResult:
        seen.append(assignment)
        return ExecutorSucceeded("it", IDENT, 2, "done")

    result = await Registry({"transform": record}).perform(given)
    assert isinstance(result, ExecutorSucceeded)
    assert (result.output, seen) == ("done", [given])


@pytest.mark.parametrize(
    "activity",
    [
        transform("it", "${input.missing}"),
        {"type": "decision", "cases": [{"when": "input.missing == 1", "next": "other"}]},
        {"type": "event", "event": "go", "data": "${input.missing}"},
        {"type": "event", "event": "go", "key": "${input.missing}"},
        {"type": "manual", "title": "${input.missing}"},
        {"type": "wait", "for": "${input.missing}"},
        {"type": "wait", "event": {"type": "go", "key": "${input.missing}"}},
    ],
)
def test_an_expression_without_a_value_fails_the_attempt(activity: dict[str, Any]) -> None:
    result = failed(activity, {"there": 1})
    assert (result.failure.type, result.failure.category) == ("expression", Category.VALIDATION)
    assert "missing" in result.failure.message


# Transformation


def test_a_transformation_renders_its_output() -> None:
    assert succeeded(transform("it", {"n": "${input.n + 1}", "s": "a${input.n}b"}), {"n": 1}).output == {
        "n": 2,
        "s": "a1b",
    }


# Decision


CASES = [{"when": "input.n > 10", "next": "third"}, {"when": "input.n > 5", "next": "other"}]


@pytest.mark.parametrize(("n", "number", "target"), [(11, 0, "third"), (6, 1, "other")])
def test_a_decision_takes_the_first_case_that_is_true(n: int, number: int, target: str) -> None:
    result = succeeded({"type": "decision", "cases": CASES, "otherwise": "@end"}, {"n": n})
    assert (result.output, result.next) == ({"case": number, "next": target}, target)


def test_a_decision_without_a_true_case_goes_otherwise() -> None:
    result = succeeded({"type": "decision", "cases": CASES, "otherwise": "@end"}, {"n": 1})
    assert (result.output, result.next) == ({"case": None, "next": "@end"}, "@end")


def test_a_decision_with_nowhere_to_go_fails() -> None:
    assert failed({"type": "decision", "cases": CASES}, {"n": 1}).failure.type == "decision.no_match"


def test_a_condition_that_is_neither_true_nor_false_fails() -> None:
    result = failed({"type": "decision", "cases": [{"when": "input.n", "next": "other"}]}, {"n": 1})
    assert result.failure.type == "input"
    assert "case 0" in result.failure.message


# Wait


def test_a_wait_for_a_length_of_time_is_due_then() -> None:
    waiting = waits(wait(**{"for": "PT1M"})).waiting
    assert (waiting.kind, waiting.since, waiting.due_at) == ("timer", T0, T0 + timedelta(minutes=1))


def test_a_length_of_time_may_come_from_an_expression() -> None:
    assert waits(wait(**{"for": "${input.days}d"}), {"days": 2}).waiting.due_at == T0 + timedelta(days=2)


@pytest.mark.parametrize(
    ("text", "due_at"),
    [
        ("2030-06-01T12:00:00Z", datetime(2030, 6, 1, 12, tzinfo=UTC)),
        ("2030-06-01T12:00:00+02:00", datetime(2030, 6, 1, 10, tzinfo=UTC)),
        ("2001-01-01T00:00:00Z", datetime(2001, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_wait_until_a_point_in_time_is_due_then(text: str, due_at: datetime) -> None:
    found = waits(wait(until="${input}"), text).waiting.due_at
    assert found == due_at
    assert found is not None
    assert found.utcoffset() == timedelta()


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("for", "soon"),
        ("for", "-5s"),
        ("for", ""),
        ("until", "tomorrow"),
        ("until", "2030-06-01T12:00:00"),
        ("until", "9" * 400),
    ],
)
def test_a_time_that_is_none_fails_the_attempt(field: str, text: str) -> None:
    result = failed(wait(**{field: "${input}"}), text)
    assert (result.failure.type, result.failure.category) == ("input", Category.VALIDATION)
    assert len(result.failure.message) < 300


def test_the_end_of_time_is_a_time() -> None:
    due_at = waits(wait(until="${input}"), "9999-12-31T23:59:59Z").waiting.due_at
    assert due_at is not None
    assert due_at.year == 9998


def test_a_wait_for_an_event_names_type_and_key() -> None:
    waiting = waits(wait(event={"type": "paid", "key": "${input.id}"}, timeout="1h"), {"id": 7}).waiting
    assert (waiting.kind, waiting.event) == ("event", AwaitedEvent("paid", "7"))
    assert waiting.due_at == T0 + timedelta(hours=1)


def test_a_wait_for_an_event_without_a_key_or_a_timeout_has_neither() -> None:
    waiting = waits(wait(event={"type": "paid"})).waiting
    assert (waiting.event, waiting.due_at) == (AwaitedEvent("paid", None), None)


# Manual


def test_a_manual_activity_shows_its_texts_and_waits() -> None:
    activity = {**manual(), "title": "Ship ${input.n}?", "instructions": "Look twice.", "assignee": "ops"}
    waiting = waits({**activity, "timeout": "2d"}, {"n": 3}).waiting
    assert (waiting.kind, waiting.title, waiting.instructions, waiting.assignee) == (
        "manual",
        "Ship 3?",
        "Look twice.",
        "ops",
    )
    assert waiting.due_at == T0 + timedelta(days=2)


def test_a_manual_activity_may_say_nothing() -> None:
    waiting = waits({"type": "manual"}).waiting
    assert (waiting.title, waiting.instructions, waiting.due_at) == (None, None, None)


# Event trigger


def test_an_event_has_the_id_of_its_execution() -> None:
    result = succeeded({"type": "event", "event": "paid", "key": "${input.id}", "data": {"n": "${input.n}"}}, _PAID)
    assert result.output == {"event_id": str(IDENT)}
    assert result.publish is not None
    assert (result.publish.event_id, result.publish.type) == (IDENT, "paid")
    assert (result.publish.key, result.publish.data) == ("7", {"n": 1.5})


_PAID = {"id": 7, "n": 1.5}


def test_an_event_may_have_neither_key_nor_payload() -> None:
    publish = succeeded({"type": "event", "event": "paid"}).publish
    assert publish is not None
    assert (publish.key, publish.data) == (None, None)


def test_errors_of_expressions_are_what_the_registry_catches() -> None:
    with pytest.raises(ExpressionError):
        INLINE["transform"](assignment(transform("it", "${input.missing}"), {}))
