"""The language as a definition's author meets it; its corners are in the unit tests."""

from typing import Any

import pytest

from tests.system.client import Client, assert_problem, define, transform

GIVEN = {
    "n": 7,
    "d": 2.5,
    "s": "Grüße",
    "l": [3, 1, 2],
    "m": {"a": 1, "b c": 2},
    "at": "2026-03-01T10:30:00Z",
    "orders": [{"id": 1, "total": 9.5}, {"id": 2, "total": 20}],
}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("input.n + 1", 8),
        ("input.n + input.d", 9.5),
        ("input.n / 2", 3),
        ("input.n % 4", 3),
        ("-input.n", -7),
        ("input.d > 2 && input.n == 7.0", True),
        ("input.n in input.l || 3 in input.l", True),
        ("'a' in input.m", True),
        ("input.m['b c']", 2),
        ("input.l[0]", 3),
        ("input.s + '!'", "Grüße!"),
        ("size(input.s)", 5),
        ("size(input.l) + size(input.m)", 5),
        ("has(input.m.a) && !has(input.m.z)", True),
        ("has(input.m.z) ? 1 : 2", 2),
        ("get(input.m, 'z', 'none')", "none"),
        ("get(input.m, 'a', 'none')", 1),
        ("input.orders.filter(o, o.total > 10).map(o, o.id)", [2]),
        ("input.orders.all(o, o.total > 5)", True),
        ("input.orders.exists(o, o.id == 3)", False),
        ("input.s.startsWith('Gr') && input.s.endsWith('ße') && input.s.contains('ü')", True),
        ("'a,b'.split(',')", ["a", "b"]),
        ("[1, 2] + [3]", [1, 2, 3]),
        ("{'x': input.n, 'y': [input.d]}", {"x": 7, "y": [2.5]}),
        ("timestamp(input.at) + duration('90m')", "2026-03-01T12:00:00Z"),
        ("timestamp(input.at) < timestamp('2027-01-01T00:00:00Z')", True),
        ("timestamp(input.at).getFullYear()", 2026),
        ("int('12') + int(2.9)", 14),
        ("string(1.5) + string(true)", "1.5true"),
        ("false && 1 / 0 == 1", False),
        ("true || input.absent", True),
        ("input == input", True),
        ("process.id != '' && process.key == null", True),
        ("activities.shape.state", "RUNNING"),
        ("max(input.l) - min(1, 2)", 2),
    ],
)
async def test_an_expression_has_a_value(api: Client, expression: str, value: Any) -> None:
    process = await api.run(define(transform("shape", f"${{{expression}}}")), GIVEN)
    assert process["state"] == "COMPLETED", process["error"]
    assert process["output"] == value
    assert type(process["output"]) is type(value)


@pytest.mark.parametrize(
    "expression",
    ["1 + 'a'", "input.absent", "input.l[3]", "input.n / 0", "9223372036854775807 + 1", "timestamp('soon')"],
)
async def test_without_a_value_the_activity_fails_and_says_why(api: Client, expression: str) -> None:
    process = await api.run(define(transform("shape", f"${{{expression}}}")), GIVEN)
    assert process["error"]["type"] == "expression"
    assert process["error"]["category"] == "validation"
    assert "column" in process["error"]["message"]


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "1 +",
        "input..n",
        "'open",
        "for x in y",
        "__import__('os')",
        "input.n = 1",
        "lambda: 1",
        "a" * 4097,
        "(" * 60,
    ],
)
async def test_what_does_not_compile_is_refused_with_the_definition(api: Client, expression: str) -> None:
    answer = await api.post("/processes", {"definition": define(transform("shape", f"${{{expression}}}"))})
    assert_problem(answer, 422)
    assert {fault["pointer"] for fault in answer.body["errors"]} == {"/definition/activities/0/output"}


@pytest.mark.parametrize(
    "expression",
    [
        "range(1000000000)",
        "range(20000).map(x, range(20000))",
        "range(300).all(a, range(300).all(b, range(300).all(c, true)))",
        "range(200).map(x, input.text + input.text)",
        "[input.text].map(a, [a+a].map(b, [b+b].map(c, [c+c].map(d, [d+d].map(e, e+e)))))",
        "input.text.split('')",
        "input.text.replace('x', input.text)",
    ],
)
async def test_a_bomb_ends_in_a_named_error(api: Client, expression: str) -> None:
    process = await api.run(define(transform("shape", f"${{{expression}}}")), {"text": "x" * 100_000})
    assert process["state"] == "FAILED"
    assert process["error"]["type"] in {"expression", "limit.output"}
    assert (await api.run(define(transform("shape", 1))))["output"] == 1


async def test_a_template_that_repeats_a_large_value_is_bounded(api: Client) -> None:
    output = {f"copy{number}": "${input}" for number in range(20)}
    process = await api.run(define(transform("shape", output)), "x" * 100_000)
    assert process["error"]["type"] in {"expression", "limit.output"}


async def test_doubling_in_a_loop_meets_a_limit(api: Client) -> None:
    definition = define(
        transform("double", "${(has(activities.keep.output) ? activities.keep.output : 'x') * 1}"),
        transform("keep", 1),
    )
    definition["activities"] = [
        transform("double", "${has(activities.keep.output) ? activities.keep.output + activities.keep.output : 'xx'}"),
        transform("keep", "${activities.double.output}", next="double"),
    ]
    process = await api.run(definition)
    assert process["state"] == "FAILED"
    assert process["error"]["type"] in {"expression", "limit.output", "limit.visits"}
    assert len(await api.history(process["id"])) < 200
