"""What expressions mean: literals, operators, macros, names."""

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from understudy.domain.expression.budget import Budget
from understudy.domain.expression.compiler import compile_expression
from understudy.domain.expression.errors import ExpressionError


class View(Mapping[str, Any]):
    """A map that is not a dict, as the scope holds for activities."""

    def __init__(self, **values: Any) -> None:
        self._values = values

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


SCOPE: dict[str, Any] = {
    "n": 3,
    "x": 2.5,
    "s": "abc",
    "flag": True,
    "nothing": None,
    "list": [1, 2, 3],
    "order": {"id": "o-1", "total": 150, "lines": [{"sku": "a", "n": 2}, {"sku": "b", "n": 1}], "a-b": 1},
    "activities": View(reserve=View(state="COMPLETED", output={"id": 7}), later=View(state="PENDING")),
    "huge": 10**400,
}


def evaluate(source: str, scope: Mapping[str, Any] = SCOPE) -> Any:
    return compile_expression(source).evaluate(scope)


def failure(source: str, scope: Mapping[str, Any] = SCOPE) -> ExpressionError:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(source).evaluate(scope)
    return caught.value


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("1", 1),
        ("-1", -1),
        ("0x1F", 31),
        ("-0x10", -16),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
        ("- 9223372036854775808", -(2**63)),
        ("---1", -1),
        ("--1", 1),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("2.5e-1", 0.25),
        ("true", True),
        ("false", False),
        ("null", None),
        ('"a"', "a"),
        ("'a'", "a"),
        ("''", ""),
        ('""', ""),
        ('"""a"b\nc"""', 'a"b\nc'),
        ("'''it's'''", "it's"),
        ('""""""', ""),
        (r'"\n\t\\\"\x41\u00e9\U0001F600\101\`\?"', '\n\t\\"Aé😀A`?'),
        (r"r'\n'", r"\n"),
        (r'R"""\n"""', r"\n"),
        (r"""r'\' + 'x'""", "\\x"),
        ("[]", []),
        ("[1, 'a', [true],]", [1, "a", [True]]),
        ("{}", {}),
        ("{'a': 1, s: {'b': null},}", {"a": 1, "abc": {"b": None}}),
        ("1 // one\n + 2", 3),
        (" \t\r\n1", 1),
    ],
)
def test_literals(source: str, value: Any) -> None:
    result = evaluate(source)
    assert (result, type(result)) == (value, type(value))


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("7 - 2 - 1", 4),
        ("2 * 7 % 4 / 1", 2),
        ("7 / 2", 3),
        ("-7 / 2", -3),
        ("7 / -2", -3),
        ("-7 / -2", 3),
        ("7 % 3", 1),
        ("-7 % 3", -1),
        ("7 % -3", 1),
        ("1 + 0.5", 1.5),
        ("0.5 + 0.25", 0.75),
        ("3 - 0.5", 2.5),
        ("n * x", 7.5),
        ("7 / 2.0", 3.5),
        ("1 / 0.0", math.inf),
        ("-1 / 0.0", -math.inf),
        ("1 / -0.0", -math.inf),
        ("-x", -2.5),
        ("-n", -3),
        ("--n", 3),
        ("'a' + 'b' + s", "ababc"),
        ("[1] + list + []", [1, 1, 2, 3]),
        ("!flag", False),
        ("!!flag", True),
        ("flag ? 1 : 2", 1),
        ("false ? 1 : flag ? 2 : 3", 2),
        ("false ? 1 : false ? 2 : 3", 3),
        ("true ? (false ? 1 : 2) : 3", 2),
        ("1 < 2 == true", True),
        ("1 + 1 == 2 && 2 * 2 > 3 || false", True),
        ("true || true && false", True),
        ("false && false || true", True),
        ("1 == 1 && 'a' < 'b' && 2 >= 2", True),
        ("1 + 2 < 4 * 5 - 1 && !(3 > 4)", True),
    ],
)
def test_operators(source: str, value: Any) -> None:
    result = evaluate(source)
    assert (result, type(result)) == (value, type(value))


@pytest.mark.parametrize("source", ["0.0 / 0.0", "(0.0 / 0.0) / 0.0"])
def test_undefined_quotients_are_not_a_number(source: str) -> None:
    assert math.isnan(evaluate(source))


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("1 == 1.0", True),
        ("1 == true", False),
        ("0 == false", False),
        ("1 == '1'", False),
        ("1.0 == '1'", False),
        ("null == null", True),
        ("null == false", False),
        ("1 != 2", True),
        ("'a' == 'a'", True),
        ("9007199254740993 == 9007199254740992.0", False),
        ("9007199254740993 > 9007199254740992.0", True),
        ("[1, [2.0, {'a': null}]] == [1.0, [2, {'a': null}]]", True),
        ("[1] == [true]", False),
        ("[1] == [1, 2]", False),
        ("[[1]] == [[2]]", False),
        ("[1] == {}", False),
        ("[[]] == [{}]", False),
        ("list == 1", False),
        ("{'a': 1} == {'a': 1.0}", True),
        ("{'a': 1} == {'b': 1}", False),
        ("{'a': 1} == {'a': 1, 'b': 2}", False),
        ("{'a': {'b': 1}} == {'a': {'b': 2}}", False),
        ("activities.reserve == {'state': 'COMPLETED', 'output': {'id': 7}}", True),
        ("0.0/0.0 == 0.0/0.0", False),
        ("'B' < 'a' && 'a' < 'é' && 'é' < '😀'", True),
        ("1 < 1.5", True),
        ("2 <= 1", False),
        ("2 > 1", True),
        ("1 >= 1.5", False),
        ("false < true", True),
        ("2 in list", True),
        ("2.0 in list", True),
        ("true in list", False),
        ("'a' in ['b', 'a']", True),
        ("'a' in list", False),
        ("[1] in [[1.0]]", True),
        ("'id' in order", True),
        ("'x' in order", False),
        ("1 in order", False),
        ("'state' in activities.later", True),
    ],
)
def test_comparison(source: str, value: bool) -> None:
    assert evaluate(source) is value


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("order.total", 150),
        ('order["total"]', 150),
        ('order["a-b"]', 1),
        ("order.lines[1].sku", "b"),
        ("order.lines[n - 2].sku", "b"),
        ('order["to" + "tal"]', 150),
        ('{"a": {"b": 1}}.a.b', 1),
        ('{"a": 1}["a"]', 1),
        ("activities.reserve.output.id", 7),
        ("nothing", None),
        ("has(order.total)", True),
        ("has(order.none)", False),
        ('has(order["a-b"])', True),
        ("has(activities.reserve.output)", True),
        ("has(activities.later.output)", False),
        ("has({'a': {'b': 1}}['a'].b)", True),
        ("has(order.lines[0].sku)", True),
        ("has(order.lines[0].price)", False),
    ],
)
def test_names(source: str, value: Any) -> None:
    assert evaluate(source) == value


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("list.all(i, i > 0)", True),
        ("list.all(i, i > 1)", False),
        ("[].all(i, i)", True),
        ("list.exists(i, i == 2)", True),
        ("[].exists(i, i)", False),
        ("list.exists_one(i, i > 2)", True),
        ("list.exists_one(i, i > 1)", False),
        ("list.filter(i, i != 2)", [1, 3]),
        ("list.map(i, i * n)", [3, 6, 9]),
        ("list.map(i, i > 1, i * 10)", [20, 30]),
        ("{'a': 1, 'b': 2}.map(k, k)", ["a", "b"]),
        ("activities.map(k, activities[k].state)", ["COMPLETED", "PENDING"]),
        ("order.lines.map(line, line.sku + string(line.n))", ["a2", "b1"]),
        ("list.map(i, list.map(j, i * j))", [[1, 2, 3], [2, 4, 6], [3, 6, 9]]),
        ("list.map(i, list.filter(i, i > 1))", [[2, 3]] * 3),
        ("list.map(i, i).map(i, i + 1)", [2, 3, 4]),
        ("list.map(n, n)[0] + n", 4),
        ("order.lines.filter(i, has(i.sku) && i.n > 1).map(i, i.sku)", ["a"]),
    ],
)
def test_macros(source: str, value: Any) -> None:
    assert evaluate(source) == value


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("false && order.none", False),
        ("order.none && false", False),
        ("order.none && true && false", False),
        ("1 && false", False),
        ("true || order.none", True),
        ("order.none || true", True),
        ("true || range(1000000) == []", True),
        ("'a' || true", True),
        ("list.all(i, i < 3 ? order.none : false)", False),
        ("list.exists(i, i < 3 ? order.none : true)", True),
        ("list.exists(i, i < 3 ? 5 : true)", True),
    ],
)
def test_a_deciding_operand_absorbs_errors(source: str, value: bool) -> None:
    assert evaluate(source) is value


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("order.none && true", "missing"),
        ("order.none || 1", "missing"),
        ("1 || order.none", "type"),
        ("list.all(i, i > 0 && order.none)", "missing"),
        ("list.exists(i, order.none)", "missing"),
        ("list.exists(i, i)", "type"),
        ("range(1000000) == [] || true", "limit.size"),
        ("list.exists(i, range(1000000) == [])", "limit.size"),
    ],
)
def test_an_error_that_nothing_decides_remains_and_a_limit_always_does(source: str, kind: str) -> None:
    assert failure(source).kind == kind


@pytest.mark.parametrize(
    ("source", "references"),
    [
        ("activities.reserve.output.body.id", {("activities", "reserve", "output", "body", "id")}),
        ('activities["reserve"].output', {("activities", "reserve", "output")}),
        ("input", {("input",)}),
        ("input.items[0].sku", {("input", "items")}),
        ("input[name].x", {("input",), ("name",)}),
        ("input.name.contains(process.key)", {("input", "name"), ("process", "key")}),
        ("has(activities.a.error)", {("activities", "a", "error")}),
        ("has(input.x) ? input.x.y : 1", {("input", "x"), ("input", "x", "y")}),
        ("input.items.map(i, i.sku + process.id)", {("input", "items"), ("process", "id")}),
        ("input.map(i, has(i.x))", {("input",)}),
        ("input.map(i, i).exists(j, i == j)", {("input",), ("i",)}),
        ("get(activities.a.output, 'k', 0)", {("activities", "a", "output")}),
        ("{'a': x}.a + [y][0]", {("x",), ("y",)}),
        ("1 + 2", set()),
    ],
)
def test_references_are_the_free_constant_paths(source: str, references: set[tuple[str, ...]]) -> None:
    assert compile_expression(source).references == references


def test_expressions_share_a_budget() -> None:
    budget = Budget(steps=20)
    expression = compile_expression("list.map(i, i)")
    assert expression.evaluate(SCOPE, budget) == [1, 2, 3]
    assert budget.spent == 8
    expression.evaluate(SCOPE, budget)
    with pytest.raises(ExpressionError, match="more than 20 steps") as caught:
        expression.evaluate(SCOPE, budget)
    assert caught.value.kind == "limit.steps"
    assert budget.spent == 20


def test_an_evaluation_leaves_no_trace_in_the_expression() -> None:
    expression = compile_expression("items.map(i, i)")
    assert expression.evaluate({"items": [1]}) == [1]
    with pytest.raises(ExpressionError):
        expression.evaluate({})
    assert expression.evaluate({"items": [2]}) == [2]
    assert compile_expression("items.map(i, i)") is expression


def test_times_may_come_from_the_scope() -> None:
    assert evaluate("t < t + duration('1s')", {"t": datetime(2030, 1, 1, tzinfo=UTC)}) is True
