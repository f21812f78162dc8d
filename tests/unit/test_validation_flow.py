"""Ids, targets, reachability, and what expressions refer to."""

import copy
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.domain.fault import Fault
from understudy.domain.plan import compile_plan
from understudy.domain.validation import faults_of, parse_definition

EXAMPLE = json.loads((Path(__file__).parents[2] / "examples" / "order-fulfilment.json").read_bytes())


def step(name: str, **fields: Any) -> dict[str, Any]:
    return {"id": name, "type": "transform", "output": 1, **fields}


def choice(name: str, *targets: str, **fields: Any) -> dict[str, Any]:
    return {"id": name, "type": "decision", "cases": [{"when": "true", "next": t} for t in targets], **fields}


def faults(*activities: Any, **fields: Any) -> list[Fault]:
    return faults_of({"name": "x", "activities": list(activities), **fields})


def test_the_second_of_two_equal_ids_is_the_fault() -> None:
    assert faults(step("a"), step("b"), step("a")) == [Fault("/activities/2/id", "Activity number 1 has the same id.")]


@pytest.mark.parametrize(
    ("activity", "pointer"),
    [
        (step("first", next="secnd"), "/next"),
        (step("first", catch=[{"errors": ["*"], "next": "secnd"}], next="second"), "/catch/0/next"),
        (choice("first", "second", "secnd"), "/cases/1/next"),
        (choice("first", "second", otherwise="secnd"), "/otherwise"),
    ],
)
def test_an_unknown_target_is_named_with_the_nearest_and_hides_nothing_behind_it(activity: Any, pointer: str) -> None:
    assert faults(activity, step("second")) == [
        Fault(f"/activities/0{pointer}", "There is no activity 'secnd'; did you mean 'second'?")
    ]


def test_an_unknown_target_without_a_likeness_lists_what_there_is() -> None:
    assert faults(step("a", next="@done")) == [
        Fault("/activities/0/next", "There is no activity '@done'; known are 'a', '@end', '@fail'.")
    ]
    [fault] = faults(*(step(f"a{n}") for n in range(20)), step("last", next="@done"))
    assert fault.message == "There is no activity '@done'."


def test_a_near_end_is_suggested_and_leads_nowhere() -> None:
    assert faults(step("a", next="@ende"), step("b")) == [
        Fault("/activities/0/next", "There is no activity '@ende'; did you mean '@end'?"),
        Fault("/activities/1", "Nothing leads to this activity."),
    ]


def test_the_ends_are_targets_but_no_start() -> None:
    assert faults(choice("a", "@end", otherwise="@fail")) == []
    assert faults(step("a"), start="@end") == [
        Fault("/start", "There is no activity '@end'; known are 'a'."),
    ]


def test_the_start_is_an_activity() -> None:
    assert faults(step("a", next="@end"), step("b", next="a"), start="b") == []
    assert faults(step("first"), start="frist") == [
        Fault("/start", "There is no activity 'frist'; did you mean 'first'?")
    ]


def test_an_activity_that_nothing_leads_to_is_a_fault() -> None:
    unreachable = "Nothing leads to this activity."
    assert faults(step("a", next="@end"), step("b")) == [Fault("/activities/1", unreachable)]
    assert faults(step("a", next="c"), step("b"), step("c")) == [Fault("/activities/1", unreachable)]
    assert faults(step("a"), step("b"), start="b") == [Fault("/activities/0", unreachable)]
    assert faults(step("a", next="@end"), step("b", next="c"), step("c", next="b")) == [
        Fault("/activities/1", unreachable),
        Fault("/activities/2", unreachable),
    ]
    # A decision goes where its cases point, never to the next in the list.
    assert faults(choice("a", "c"), step("b"), step("c")) == [Fault("/activities/1", unreachable)]


def test_every_kind_of_edge_leads_on_and_loops_are_fine() -> None:
    assert (
        faults(step("a", next="c", catch=[{"errors": ["*"], "next": "b"}]), step("b", next="@end"), step("c", next="a"))
        == []
    )
    assert faults(choice("a", "c", otherwise="b"), step("b"), step("c", next="a")) == []


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("${inptu.x}", "no name 'inptu'; did you mean 'input'"),
        ("${zzz}", "no name 'zzz'; known are 'input', 'activities', 'process'."),
        ("${activities.secnd.output}", "no activity 'secnd'; did you mean 'second'"),
        ("${has(activities.secnd.error) ? 1 : 2}", "no activity 'secnd'"),
        ("a ${activities.second.outptu} b", "no field of an activity 'outptu'; did you mean 'output'"),
        ("${process.name}", "no field of process 'name'; known are 'id', 'key', 'started_at'"),
        ("${secrets.TOKEN}", "http activity only"),
        ("${[1].exists(x, x == y)}", "no name 'y'"),
    ],
)
def test_what_does_not_exist_cannot_be_referred_to(template: str, reason: str) -> None:
    [fault] = faults(step("first", output={"a/b": [1, template]}), step("second"))
    assert fault.pointer == "/activities/0/output/a~1b/1"
    assert reason in fault.message
    [fault] = faults(step("first"), step("second"), output=template)
    assert fault.pointer == "/output"
    assert reason in fault.message


@pytest.mark.parametrize(
    "template",
    [
        "${input}",
        "${activities.second.output.a.b}",
        "${activities.second.state}",
        "${activities}",
        "${process.key}",
        "$${secrets.x}",
        "${size(activities)}",
        "${input.list.all(x, x > 1)}",
        "${process}",
        "${get(input, 'x', 1)}",
    ],
)
def test_what_exists_can_be_referred_to(template: str) -> None:
    assert faults(step("first", output=[template]), step("second"), output={"x": template}) == []


def call(**request: Any) -> dict[str, Any]:
    return {"id": "call", "type": "http", "request": {"method": "POST", "url": "https://example.com/", **request}}


def test_secrets_are_for_requests_and_used_by_name() -> None:
    assert faults(call(headers={"authorization": "Bearer ${secrets.TOKEN}"}, text="${secrets.OTHER}")) == []
    [fault] = faults(call(body={"all": "${secrets}"}))
    assert fault == Fault("/activities/0/request/body/all", "A secret is used by its name, as in secrets.API_KEY.")
    [fault] = faults(call(url="https://example.com/${inptu.x}"))
    assert fault.pointer == "/activities/0/request/url"
    [fault] = faults(call(query={"a": ["${zzz}"]}))
    assert "'secrets'" in fault.message


@pytest.mark.parametrize(
    ("activity", "pointer"),
    [
        (step("a", output={"x": ["${1 +}"]}), "/output/x/0"),
        (call(url="https://example.com/${1 +}"), "/request/url"),
        (call(headers={"a": "${"}), "/request/headers/a"),
        ({"id": "a", "type": "event", "event": "x", "data": {"y": "${unknown_function(1)}"}}, "/data/y"),
        ({"id": "a", "type": "event", "event": "x", "key": "${(}"}, "/key"),
        ({"id": "a", "type": "wait", "for": "${1 1}"}, "/for"),
        ({"id": "a", "type": "wait", "until": "${}"}, "/until"),
        ({"id": "a", "type": "wait", "until": "tomorrow"}, "/until"),
        ({"id": "a", "type": "wait", "event": {"type": "x", "key": "${"}}, "/event/key"),
        ({"id": "a", "type": "manual", "title": "${'}"}, "/title"),
        ({"id": "a", "type": "manual", "instructions": "${" + "(" * 5000 + "}"}, "/instructions"),
        ({"id": "a", "type": "decision", "cases": [{"when": "1 +", "next": "@end"}]}, "/cases/0/when"),
        ({"id": "a", "type": "decision", "cases": [{"when": "activities.b.output", "next": "@end"}]}, "/cases/0/when"),
    ],
)
def test_an_expression_that_does_not_compile_is_pointed_at(activity: Any, pointer: str) -> None:
    [fault] = faults(activity)
    assert fault.pointer == f"/activities/0{pointer}"
    assert fault.message


def test_faults_in_one_template_do_not_hide_each_other() -> None:
    found = faults(step("a", output={"broken": "${1 +}", "unknown": ["${zzz}"], "fine": "${input.x}"}))
    assert [fault.pointer for fault in found] == ["/activities/0/output/broken", "/activities/0/output/unknown/0"]


LONG = "a" * 38


@pytest.mark.parametrize(
    "raw",
    [
        {"name": "x", "activities": [step(f"{LONG}{n:02}", next=f"{LONG}{n:02}b") for n in range(99)]},
        {
            "name": "x",
            "activities": [step(f"a{n:050}", catch=[{"errors": ["*"], "next": "q" * 60}] * 10) for n in range(200)],
        },
        {"name": "x", "activities": [step("a", output=["${zzz.a}"] * 15_000)]},
        {"name": "x", "activities": [{}] * 80_000},
        {"name": "x", "activities": [step("a", output="${" * 130_000)]},
        {"name": "x", "activities": [step("a", output="${'" * 80_000)]},
        {"n" * 60 + str(n): n for n in range(3000)},
    ],
    ids=["alike", "catches", "references", "empty", "openings", "quotes", "fields"],
)
def test_garbage_of_the_greatest_size_is_judged_in_bounded_time(raw: Any) -> None:
    started = time.perf_counter()
    assert 1 <= len(faults_of(raw)) <= 100
    assert time.perf_counter() - started < 5


_WORDS = st.sampled_from(
    [
        "name",
        "activities",
        "id",
        "type",
        "http",
        "wait",
        "next",
        "@end",
        "request",
        "url",
        "cases",
        "${",
        "${input.x}",
        "a",
        "1s",
        "event",
        "output",
        "retry",
        "catch",
        "$ref",
        "#",
        "form",
        "properties",
        "pattern",
        "when",
        "for",
        "start",
        "secrets",
    ]
)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | _WORDS,
    lambda values: st.lists(values, max_size=5) | st.dictionaries(_WORDS | st.text(max_size=5), values, max_size=5),
    max_leaves=15,
)


def containers(value: Any) -> list[Any]:
    if not isinstance(value, dict | list):
        return []
    members = value.values() if isinstance(value, dict) else value
    return [value, *(inner for member in members for inner in containers(member))]


@st.composite
def mutations(draw: st.DrawFn) -> Any:
    raw = copy.deepcopy(EXAMPLE)
    for _ in range(draw(st.integers(1, 4))):
        places = [place for place in containers(raw) if place]
        place = places[draw(st.integers(0, len(places) - 1))]
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = draw(st.sampled_from(keys))
        match draw(st.sampled_from(["replace", "delete", "rename"])):
            case "replace":
                place[key] = draw(_VALUES)
            case "rename" if isinstance(place, dict):
                place[draw(_WORDS)] = place.pop(key)
            case _:
                del place[key]
    return raw


@settings(derandomize=True, deadline=None, max_examples=300)
@given(_VALUES | mutations())
def test_no_json_breaks_the_validation_and_what_passes_can_be_compiled(raw: Any) -> None:
    found = faults_of(raw)
    assert all(fault.message for fault in found)
    assert all(fault.pointer == "" or fault.pointer.startswith("/") for fault in found)
    if not found:
        compile_plan(parse_definition(raw))
