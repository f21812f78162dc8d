from datetime import timedelta
from typing import Any

import pytest

from understudy.domain.expression.template import Template, Text
from understudy.domain.plan import Plan, compile_plan
from understudy.domain.retry import RetryPolicy
from understudy.domain.validation import parse_definition


def plan(*activities: dict[str, Any], **fields: Any) -> Plan:
    return compile_plan(parse_definition({"name": "x", "activities": list(activities), **fields}))


def step(name: str, **fields: Any) -> dict[str, Any]:
    return {"id": name, "type": "transform", "output": 1, **fields}


CALL = {
    "id": "call",
    "type": "http",
    "request": {
        "method": "POST",
        "url": "${input.base}/x",
        "headers": {"a": "${input.a}"},
        "query": {"q": ["${input.q}"]},
        "body": {"n": "${input.n}"},
    },
}


def test_defaults_are_applied() -> None:
    compiled = plan(step("a"), step("b"))
    assert compiled.start == "a"
    assert (compiled.timeout, compiled.output, compiled.input_schema) == (None, None, None)
    first = compiled.steps["a"]
    assert (first.id, first.type, first.next, first.max_visits) == ("a", "transform", "b", 1000)
    assert (first.timeout, first.deadline, first.catch, first.conditions, first.form) == (None, None, (), (), None)
    assert first.retry == RetryPolicy(
        max_attempts=3, initial=timedelta(seconds=1), factor=2.0, maximum=timedelta(seconds=60), jitter=True
    )
    assert compiled.steps["b"].next == "@end"


def test_what_the_author_wrote_wins() -> None:
    compiled = plan(
        step(
            "a",
            next="@fail",
            timeout="1s",
            deadline="2m",
            max_visits=7,
            retry={
                "max_attempts": 9,
                "initial": "0s",
                "factor": 1,
                "max": "3s",
                "jitter": "none",
                "on": ["a"],
                "never": ["b"],
            },
            catch=[{"errors": ["http.*"], "next": "@end"}],
        ),
        step("b", next="a"),
        start="b",
        timeout="1d",
        input={"type": "integer"},
        output={"n": "${input + 1}"},
    )
    assert compiled.start == "b"
    assert compiled.timeout == timedelta(days=1)
    assert compiled.input_schema is not None
    assert compiled.input_schema.faults("x")
    assert compiled.output is not None
    assert compiled.output.render({"input": 2}) == {"n": 3}
    first = compiled.steps["a"]
    assert (first.next, first.max_visits) == ("@fail", 7)
    assert (first.timeout, first.deadline) == (timedelta(seconds=1), timedelta(minutes=2))
    assert first.retry == RetryPolicy(
        max_attempts=9,
        initial=timedelta(),
        factor=1.0,
        maximum=timedelta(seconds=3),
        jitter=False,
        on=("a",),
        never=("b",),
    )
    assert [(clause.errors, clause.next) for clause in first.catch] == [(("http.*",), "@end")]


def test_a_null_output_is_an_output() -> None:
    output = plan(step("a"), output=None).output
    assert output is not None
    assert output.render({}) is None


def test_the_templates_that_are_there_are_compiled_by_name() -> None:
    templates = plan(CALL).steps["call"].templates
    assert {name: type(template) for name, template in templates.items()} == {
        "url": Text,
        "headers": Template,
        "query": Template,
        "body": Template,
    }
    scope = {"input": {"base": "https://example.com", "a": "b", "q": 5, "n": 6}}
    assert {name: template.render(scope) for name, template in templates.items()} == {
        "url": "https://example.com/x",
        "headers": {"a": "b"},
        "query": {"q": [5]},
        "body": {"n": 6},
    }


@pytest.mark.parametrize(
    ("activity", "names"),
    [
        ({"id": "a", "type": "http", "request": {"method": "PUT", "url": "http://x/", "form": {}}}, ["url", "form"]),
        ({"id": "a", "type": "http", "request": {"method": "PUT", "url": "http://x/", "text": ""}}, ["url", "text"]),
        ({"id": "a", "type": "http", "request": {"method": "PUT", "url": "http://x/", "body": None}}, ["url", "body"]),
        ({"id": "a", "type": "event", "event": "x"}, []),
        ({"id": "a", "type": "event", "event": "x", "data": None, "key": "k"}, ["data", "key"]),
        ({"id": "a", "type": "wait", "for": "1s"}, ["for"]),
        ({"id": "a", "type": "wait", "until": "2026-11-25T08:30:00Z"}, ["until"]),
        ({"id": "a", "type": "wait", "event": {"type": "x"}}, []),
        ({"id": "a", "type": "wait", "event": {"type": "x", "key": "k"}}, ["event.key"]),
        ({"id": "a", "type": "manual", "title": "t", "instructions": "i"}, ["title", "instructions"]),
        ({"id": "a", "type": "transform", "output": {}}, ["output"]),
    ],
)
def test_each_type_has_its_templates(activity: dict[str, Any], names: list[str]) -> None:
    assert list(plan(activity).steps["a"].templates) == names


def test_the_cases_of_a_decision_are_compiled_in_order() -> None:
    cases = [{"when": "input > 5", "next": "@end"}, {"when": "input > 1", "next": "@fail"}]
    decision = plan({"id": "a", "type": "decision", "cases": cases}).steps["a"]
    assert [condition.evaluate({"input": 3}) for condition in decision.conditions] == [False, True]
    assert decision.next == "@end"


def test_the_form_of_a_manual_activity_is_compiled() -> None:
    form = plan({"id": "a", "type": "manual", "form": {"required": ["ok"]}}).steps["a"].form
    assert form is not None
    assert [fault.pointer for fault in form.faults({}, "/output")] == ["/output"]
    assert plan({"id": "a", "type": "manual"}).steps["a"].form is None
