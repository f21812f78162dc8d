"""Hostile expressions and hostile data: everything ends in a result or a named error, within the budget."""

import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.domain.expression.budget import Budget
from understudy.domain.expression.compiler import compile_expression
from understudy.domain.expression.errors import ExpressionError
from understudy.domain.expression.template import TemplateError, compile_template

MEBI = 1_048_576


def nested(depth: int, wrap: Callable[[Any], Any]) -> Any:
    value: Any = wrap(None)
    for _ in range(depth):
        value = wrap(value)
    return value


def self_nested() -> list[Any]:
    value: list[Any] = []
    value.extend([value] * 10)
    return value


SCOPE: dict[str, Any] = {
    "a": 1,
    "n": list(range(3000)),
    "long": list(range(100_000)),
    "same": list(range(100_000)),
    "empties": [{} for _ in range(50_000)],
    "records": [{"a": i, "b": str(i), "c": [i, {}]} for i in range(10_000)],
    "words": ["w" * 10] * 50_000,
    "map": {str(i): i for i in range(50_000)},
    "s": "a" * MEBI,
    "t": "a" * (MEBI - 1) + "b",
    "wide": "aé" * (MEBI // 2),
    "spaces": " " * MEBI,
    "keyed": {"a" * MEBI: 1},
    "short": "a" * 2400,
    "short_needle": "a" * 600 + "b" + "a" * 599,
    "middle": "a" * 29_999,
    "middle_needle": "a" * 49 + "b" + "a" * 49,
    "deep": nested(10_000, lambda value: [value]),
    "deep_too": nested(10_000, lambda value: [value]),
    "deep_map": nested(10_000, lambda value: {"k": value}),
    "deep_map_too": nested(10_000, lambda value: {"k": value}),
    "self": self_nested(),
    "self_too": self_nested(),
    "parts": "1ns" * 21,
}

COMPILED = [
    ("a" * 4097, "limit.length"),
    ("1" + "+1" * 2000, "limit.nodes"),
    ("a" + ".b" * 2000, "limit.nodes"),
    ("a" + "[0]" * 1000, "limit.nodes"),
    ("a" + "[0]" * 60, "limit.depth"),
    ("a" + "['b']" * 600, "limit.nodes"),
    ("a" + ".trim()" * 500, "limit.nodes"),
    ("a" + ".trim()" * 60, "limit.depth"),
    ("!" * 4000, "syntax"),
    ("-" * 4000, "syntax"),
    ("!-" * 2000, "syntax"),
    ("[" * 4000, "limit.depth"),
    ("[" * 2000 + "]" * 2000, "limit.depth"),
    ("(" * 4000, "limit.depth"),
    ("(" * 2000 + "1" + ")" * 2000, "limit.depth"),
    ("{" * 4000, "limit.depth"),
    ("{'a':" * 500 + "1" + "}" * 500, "limit.depth"),
    ("f(" * 2000, "limit.depth"),
    ("a[" * 2000, "limit.depth"),
    ("a.b(" * 1000, "limit.depth"),
    ("has(" * 1000, "limit.depth"),
    ("a.map(x," * 500, "limit.depth"),
    ("true?1:" * 500 + "2", "limit.nodes"),
    ("true?(" * 500, "limit.depth"),
    ("true?" * 800, "syntax"),
    ("a||b&&" * 600 + "c", "limit.nodes"),
    ("1||1&&1==1+1*-(" * 60, "limit.nodes"),
    ("1||1&&1==1+1*size(" * 20 + "1" + ")" * 20, "limit.depth"),
    ("[" + "1," * 2000 + "1]", "limit.nodes"),
    ("1" * 4000, "overflow"),
    ("0x" + "f" * 4000, "overflow"),
    ("1e" + "9" * 4000, "overflow"),
    ("." * 4000, "syntax"),
    ("'" * 4001, "syntax"),
    ("'" + "\\" * 4001, "syntax"),
    ('"""' + '\\"' * 2000, "syntax"),
    ("//" + "/" * 4000, "syntax"),
]

EVALUATED = [
    ("!" * 4093 + "true", "limit.length"),
    ("!" * 4000 + "true", None),
    ("-" * 4000 + "a", None),
    ("1" + "+1" * 240, None),
    ("(" * 49 + "1" + ")" * 49, None),
    ("n" + ".map(x,x)" * 40, "limit.steps"),
    ("n.all(x, n.all(y, n.all(z, true)))", "limit.steps"),
    ("n.map(x, n.map(y, n))", "limit.steps"),
    ("n.map(x, n)", None),
    ("n.exists(x, n.exists(y, x + y < 0))", "limit.steps"),
    ("n.filter(x, n.exists_one(y, y == x))", "limit.steps"),
    ("n.map(x, [" + "1," * 450 + "1])", "limit.steps"),
    ("long.map(x, x)", "limit.steps"),
    ("map.map(k, k)", "limit.steps"),
    ("n.all(x, x.a || x.b || x.c)", "limit.steps"),
    ("n.exists(x, x.y)", "limit.steps"),
    ("||".join(["nope"] * 240), "missing"),
    ("range(1000000000000)", "limit.size"),
    ("range(131072).map(x, x)", "limit.steps"),
    ("range(9223372036854775807)", "limit.size"),
    ("s == t", None),
    ("s + s", "limit.size"),
    ("s" + "+s" * 240, "limit.size"),
    ("['a']" + ".map(x, x + x)" * 40, "limit.steps"),
    ("[s].map(x, x + x)", "limit.size"),
    ("n.map(x, short + short)", "limit.steps"),
    ("n.map(x, n + n)", "limit.steps"),
    ("long + long", "limit.size"),
    ("n.map(x, s == t)", "limit.steps"),
    ("n.map(x, s < t)", "limit.steps"),
    ("n.map(x, s in [t])", "limit.steps"),
    ("n.map(x, s in keyed)", "limit.steps"),
    ("n.map(x, keyed[s])", "limit.steps"),
    ("n.map(x, get(keyed, s, 1))", "limit.steps"),
    ("n.map(x, {s: 1})", "limit.steps"),
    ("n.map(x, keyed == keyed)", "limit.steps"),
    ("n.map(x, s.contains(t))", "limit.steps"),
    ("n.map(x, s.indexOf('b'))", "limit.steps"),
    ("n.map(x, short.contains(short_needle))", "limit.steps"),
    ("n.map(x, middle.contains(middle_needle))", "limit.steps"),
    ("n.map(x, middle.lastIndexOf(middle_needle))", "limit.steps"),
    ("s.lastIndexOf('b' + short)", None),
    ("n.map(x, middle.replace(middle_needle, 'c'))", "limit.steps"),
    ("n.map(x, middle.split(middle_needle))", "limit.steps"),
    ("n.map(x, s.startsWith(t))", "limit.steps"),
    ("n.map(x, s.endsWith(t))", "limit.steps"),
    ("n.map(x, spaces.trim())", "limit.steps"),
    ("n.map(x, wide.lowerAscii())", "limit.steps"),
    ("n.map(x, wide.upperAscii())", "limit.steps"),
    ("n.map(x, s.substring(1))", "limit.steps"),
    ("short.replace('', short)", "limit.size"),
    ("middle.replace('a', short)", "limit.size"),
    ("s.split('')", "limit.steps"),
    ("middle.split('a').join(short)", "limit.size"),
    ("words.join(s)", "limit.size"),
    ("n.map(x, words.join(''))", "limit.steps"),
    ("deep == deep_too", "limit.depth"),
    ("deep_map == deep_map_too", "limit.depth"),
    ("self == self_too", "limit.steps"),
    ("deep in [deep_too]", "limit.depth"),
    ("string(deep)", "limit.depth"),
    ("string(deep_map)", "limit.depth"),
    ("string(self)", "limit.steps"),
    ("string(records)", "limit.steps"),
    ("string([s, s])", "limit.size"),
    ("string(n.map(x, map))", "limit.size"),
    ("string([map, timestamp(0)])", "limit.steps"),
    ("long == same", "limit.steps"),
    ("empties == empties", "limit.steps"),
    ("n.map(x, 0.5 in n)", "limit.steps"),
    ("n.map(x, 'v' in words)", "limit.steps"),
    ("n.map(x, max(n))", "limit.steps"),
    ("n.map(x, min(words))", "limit.steps"),
    ("n.map(x, sum(n))", "limit.steps"),
    ("n.map(x, duration(parts))", "limit.steps"),
    ("n.map(x, timestamp('2030-01-01T00:00:00.123456789+10:00'))", "limit.steps"),
    ("n.map(x, double(s))", "value"),
    ("int(s)", "value"),
    ("timestamp(s)", "value"),
    ("duration(s)", "value"),
    ("bool(s)", "value"),
]


def outcome(source: str, budget: Budget) -> str | None:
    kind, message = None, ""
    try:
        compile_expression(source).evaluate(SCOPE, budget)
    except ExpressionError as error:
        kind, message = error.kind, error.message
    assert len(message.encode()) < 500
    return kind


def test_the_corpus_is_large() -> None:
    assert len({source for source, _ in COMPILED + EVALUATED}) >= 100


@pytest.mark.parametrize(("source", "kind"), COMPILED, ids=range(len(COMPILED)))
def test_hostile_expressions_do_not_compile(source: str, kind: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(source)
    assert caught.value.kind == kind


@pytest.mark.parametrize(("source", "kind"), EVALUATED, ids=range(len(EVALUATED)))
def test_hostile_evaluations_end_within_the_budget(source: str, kind: str | None) -> None:
    budget = Budget()
    assert outcome(source, budget) == kind
    assert 0 <= budget.spent <= budget.steps_max


@pytest.mark.parametrize(("source", "kind"), EVALUATED, ids=range(len(EVALUATED)))
def test_hostile_templates_end_within_the_budget(source: str, kind: str | None) -> None:
    budget = Budget()
    try:
        compile_template([f"${{{source}}}", f"and ${{{source}}}"]).render(SCOPE, budget)
    except (ExpressionError, TemplateError):
        pass
    else:
        assert kind is None
    assert 0 <= budget.spent <= budget.steps_max


def test_an_exhausted_budget_stays_exhausted() -> None:
    budget = Budget()
    assert outcome("n.map(x, n.map(y, y))", budget) == "limit.steps"
    assert outcome("1", budget) == "limit.steps"


def test_the_deepest_expressions_leave_room_on_the_stack() -> None:
    mixed = "1||1&&1==1+1*-size([" * 6 + "1" + "])" * 6
    sources = [
        "(" * 49 + "1" + ")" * 49,
        "[" * 49 + "]" * 49,
        "a" + ".trim()" * 48,
        "size(" * 49 + "a" + ")" * 49,
        mixed,
    ]

    def below(frames: int) -> list[str | None]:
        return below(frames - 1) if frames else [outcome(source, Budget()) for source in sources]

    compile_expression.cache_clear()
    assert below(sys.getrecursionlimit() // 3) == [None, None, "type", "type", "type"]


@pytest.mark.parametrize(
    ("source", "kind"), [("deep", "limit.depth"), ("deep_map", "limit.depth"), ("self", "limit.steps")]
)
def test_deep_data_cannot_be_rendered_into_something(source: str, kind: str) -> None:
    for template in ({"a": f"${{{source}}}"}, f"x ${{{source}}}", f"${{[{source}]}}"):
        with pytest.raises(ExpressionError) as caught:
            compile_template(template).render(SCOPE)
        assert caught.value.kind == kind


TOKENS = [
    *("a", "b", "x", "n", "s", "map", "self", "deep", "nope", "in", "true", "false", "null", "for"),
    *(
        "0",
        "1",
        "2",
        "9223372036854775807",
        "1.5",
        "1e300",
        "0x1F",
        "1u",
        "'k'",
        '"é"',
        "r'\\'",
        "'\\n'",
        "'''",
        "\\",
        "\0",
    ),
    *(
        "+",
        "-",
        "*",
        "/",
        "%",
        "<",
        "<=",
        ">",
        ">=",
        "==",
        "!=",
        "&&",
        "||",
        "!",
        "?",
        ":",
        ",",
        ".",
        "(",
        ")",
        "[",
        "]",
    ),
    *("{", "}", "//", "\n", "@", "$", "\ud800"),
    *("has(a.b)", "size(", "string(", "int(", "double(", "range(", "min(", "max(", "sum(", "get(map,", "timestamp(0)"),
    *(
        "duration('1s')",
        "round(1.5)",
        ".map(x,",
        ".filter(x,",
        ".all(x,",
        ".exists(x,",
        ".contains('k')",
        ".split('k')",
    ),
    *(".join()", ".getHours()", ".substring(1)", ".replace('a','b')", ".matches('a')", ".k", "[0]", "['k']"),
]


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.lists(st.sampled_from(TOKENS), max_size=30))
def test_any_soup_of_tokens_ends_in_a_value_or_a_named_error(tokens: list[str]) -> None:
    source = "".join(tokens)
    outcome(source, Budget(steps=2000))
    try:
        compile_template({"a": [f"${{{source}}}", source]}).render(SCOPE, Budget(steps=2000))
    except (ExpressionError, TemplateError) as error:
        str(error).encode()


OPERANDS = [
    "a",
    "n",
    "s",
    "map",
    "nope",
    "1",
    "1.5",
    "'k'",
    "true",
    "null",
    "[1, 'k']",
    "{'k': 1}",
    "duration('1s')",
    "timestamp(0)",
]
OPERATORS = ["+", "-", "*", "/", "%", "<", "<=", ">", ">=", "==", "!=", "&&", "||", "in"]


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(
    st.recursive(
        st.sampled_from(OPERANDS),
        lambda inner: (
            st.builds("({} {} {})".format, inner, st.sampled_from(OPERATORS), inner)
            | st.builds("({} ? {} : {})".format, inner, inner, inner)
            | st.builds("[{}].map(x, x == {})".format, inner, inner)
            | st.builds("-{}".format, inner)
            | st.builds("!{}".format, inner)
            | st.builds("string({})".format, inner)
            | st.builds("{}[{}]".format, inner, inner)
            | st.builds("min({}, {})".format, inner, inner)
        ),
        max_leaves=12,
    )
)
def test_any_well_formed_expression_ends_in_a_value_or_a_named_error(source: str) -> None:
    assert (
        outcome(source, Budget(steps=5000)) not in {"syntax", "unsupported", "unknown"}
        or "-!" in source
        or "!-" in source
    )
