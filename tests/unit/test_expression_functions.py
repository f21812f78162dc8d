"""Conversions, text, numbers and times."""

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from understudy.domain.expression.compiler import compile_expression
from understudy.domain.expression.errors import ExpressionError
from understudy.domain.expression.functions import FUNCTIONS, METHODS

SCOPE: dict[str, Any] = {
    "s": "hello world",
    "u": "aÉ😀ß",
    "surrogate": "a\ud800",
    "list": [3, 1.5, 2],
    "order": {"id": "o-1", "null": None},
    "empty": [],
}


def evaluate(source: str) -> Any:
    return compile_expression(source).evaluate(SCOPE)


def kind_of_failure(source: str) -> str:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(source).evaluate(SCOPE)
    return caught.value.kind


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("size(s)", 11),
        ("u.size()", 4),
        ("size(list)", 3),
        ("order.size()", 2),
        ("int(3)", 3),
        ("int(3.9)", 3),
        ("int(-3.9)", -3),
        ("int('-42')", -42),
        ("int(timestamp('1970-01-01T00:01:00.9Z'))", 60),
        ("double(1)", 1.0),
        ("double(1.5)", 1.5),
        ("double('-1.5e3')", -1500.0),
        ("string('a')", "a"),
        ("string(1)", "1"),
        ("string(1.5)", "1.5"),
        ("string(1.0)", "1.0"),
        ("string(true)", "true"),
        ("string(false)", "false"),
        ("string(null)", "null"),
        ("string([1, 'a', {'b': null}])", '[1,"a",{"b":null}]'),
        ("string(timestamp('2030-01-01T00:00:00Z'))", "2030-01-01T00:00:00Z"),
        ("string([duration('90s')])", '["90s"]'),
        ("bool(true)", True),
        ("bool('true')", True),
        ("bool('F')", False),
        ("bool('f')", False),
        ("get(order, 'id', 0)", "o-1"),
        ("get(order, 'null', 0)", None),
        ("get(order, 'x', 5)", 5),
        ("min(3, 1.5, 2)", 1.5),
        ("max(list)", 3),
        ("max('a', 'c', 'b')", "c"),
        ("min(['b', 'a'])", "a"),
        ("max(7)", 7),
        ("sum(list)", 6.5),
        ("sum([1, 2])", 3),
        ("sum(empty)", 0),
        ("abs(-3)", 3),
        ("abs(-3.5)", 3.5),
        ("round(2.5)", 3),
        ("round(-2.5)", -3),
        ("round(2.4999)", 2),
        ("round(7)", 7),
        ("round(1.005, 2)", 1.01),
        ("round(-1.25, 1)", -1.3),
        ("round(3, 2)", 3),
        ("round(1e300, 2)", 1e300),
        ("ceil(1.2)", 2),
        ("ceil(-1.2)", -1),
        ("floor(1.8)", 1),
        ("floor(-1.2)", -2),
        ("floor(3)", 3),
        ("range(0)", []),
        ("range(3)", [0, 1, 2]),
    ],
)
def test_functions(source: str, value: Any) -> None:
    result = evaluate(source)
    assert (result, type(result)) == (value, type(value))


def test_a_rounded_undefined_number_stays_undefined() -> None:
    assert math.isnan(evaluate("round(0.0 / 0.0, 2)"))


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("s.contains('lo w')", True),
        ("s.contains('x')", False),
        ("s.startsWith('hello')", True),
        ("s.endsWith('world')", True),
        ("u.lowerAscii()", "aÉ😀ß"),
        ("(u + 'Z').lowerAscii()", "aÉ😀ßz"),
        ("u.upperAscii()", "AÉ😀ß"),
        ("surrogate.upperAscii() == surrogate", False),
        ("'\\u00a0 a b\\n'.trim()", "a b"),
        ("u.substring(1)", "É😀ß"),
        ("u.substring(1, 3)", "É😀"),
        ("u.substring(4)", ""),
        ("u.charAt(2)", "😀"),
        ("u.charAt(4)", ""),
        ("s.indexOf('o')", 4),
        ("s.indexOf('o', 5)", 7),
        ("s.indexOf('x')", -1),
        ("s.indexOf('')", 0),
        ("s.lastIndexOf('o')", 7),
        ("s.lastIndexOf('hello')", 0),
        ("s.lastIndexOf('x')", -1),
        ("s.lastIndexOf('')", 11),
        ("s.replace('o', '0')", "hell0 w0rld"),
        ("s.replace('o', '0', 1)", "hell0 world"),
        ("s.replace('o', '0', 0)", "hello world"),
        ("'ab'.replace('', '-')", "-a-b-"),
        ("'a,b,c'.split(',')", ["a", "b", "c"]),
        ("'a,b,c'.split(',', 2)", ["a", "b,c"]),
        ("'a,b,c'.split(',', 1)", ["a,b,c"]),
        ("'a,b,c'.split(',', 0)", []),
        ("'a,b,c'.split(',', -1)", ["a", "b", "c"]),
        ("''.split(',')", [""]),
        ("'abc'.split('')", ["a", "b", "c"]),
        ("'abc'.split('', 2)", ["a", "bc"]),
        ("''.split('')", []),
        ("['a', 'b'].join('-')", "a-b"),
        ("['a', 'b'].join()", "ab"),
        ("[].join('-')", ""),
    ],
)
def test_methods_of_strings(source: str, value: Any) -> None:
    assert evaluate(source) == value


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("timestamp('2030-01-31T12:00:00+02:00')", datetime(2030, 1, 31, 10, tzinfo=UTC)),
        ("timestamp('2030-01-31t12:00:00.1234567z')", datetime(2030, 1, 31, 12, 0, 0, 123456, UTC)),
        ("timestamp(timestamp(60))", datetime(1970, 1, 1, 0, 1, tzinfo=UTC)),
        ("duration('1h30m')", timedelta(minutes=90)),
        ("duration('-1.5s')", timedelta(seconds=-1.5)),
        ("duration('500ms') + duration('1us')", timedelta(microseconds=500_001)),
        ("duration('7d')", timedelta(days=7)),
        ("duration('0')", timedelta()),
        ("duration('PT30S')", timedelta(seconds=30)),
        ("duration('P1W2DT3H4M5.5S')", timedelta(days=9, hours=3, minutes=4, seconds=5.5)),
        ("duration(duration('1s'))", timedelta(seconds=1)),
        ("duration('1m') - duration('1s')", timedelta(seconds=59)),
        ("timestamp('2030-01-02T00:00:00Z') - timestamp('2030-01-01T00:00:00Z')", timedelta(days=1)),
        ("timestamp('2030-01-02T00:00:00Z') - duration('1d')", datetime(2030, 1, 1, tzinfo=UTC)),
        ("timestamp('2030-01-01T00:00:00Z') + duration('1d')", datetime(2030, 1, 2, tzinfo=UTC)),
        ("duration('1d') + timestamp('2030-01-01T00:00:00Z')", datetime(2030, 1, 2, tzinfo=UTC)),
        ("timestamp(0) < timestamp(1)", True),
        ("timestamp('2030-01-01T01:00:00+01:00') == timestamp('2030-01-01T00:00:00Z')", True),
        ("duration('60s') == duration('1m')", True),
        ("max(duration('1s'), duration('1m'))", timedelta(minutes=1)),
        ("min([timestamp(2), timestamp(1)])", datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)),
        ("sum([duration('1s'), duration('2s')])", timedelta(seconds=3)),
        ("string(timestamp('2030-01-01T00:00:00.120Z'))", "2030-01-01T00:00:00.12Z"),
        ("string(duration('1.5s'))", "1.5s"),
        ("string(duration('-90m'))", "-5400s"),
        ("timestamp('2030-03-31T12:34:56.789Z').getFullYear()", 2030),
        ("timestamp('2030-03-31T12:34:56.789Z').getMonth()", 2),
        ("timestamp('2030-03-31T12:34:56.789Z').getDate()", 31),
        ("timestamp('2030-03-31T12:34:56.789Z').getDayOfMonth()", 30),
        ("timestamp('2030-03-31T12:34:56.789Z').getDayOfWeek()", 0),
        ("timestamp('2030-03-31T12:34:56.789Z').getDayOfYear()", 89),
        ("timestamp('2030-03-31T12:34:56.789Z').getHours()", 12),
        ("timestamp('2030-03-31T12:34:56.789Z').getMinutes()", 34),
        ("timestamp('2030-03-31T12:34:56.789Z').getSeconds()", 56),
        ("timestamp('2030-03-31T12:34:56.789Z').getMilliseconds()", 789),
        ("duration('90m').getHours()", 1),
        ("duration('-90m').getHours()", -1),
        ("duration('90m').getMinutes()", 90),
        ("duration('90m').getSeconds()", 5400),
        ("duration('123.321s').getMilliseconds()", 321),
        ("duration('-1.5s').getMilliseconds()", -500),
    ],
)
def test_times(source: str, value: Any) -> None:
    assert evaluate(source) == value


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("size(1)", "type"),
        ("int(true)", "type"),
        ("int(null)", "type"),
        ("int('1_0')", "value"),
        ("int('٣')", "value"),
        ("int('" + "9" * 64 + "')", "overflow"),
        ("int('" + "9" * 65 + "')", "value"),
        ("int(1e30)", "overflow"),
        ("int(1.0 / 0.0)", "overflow"),
        ("double(true)", "type"),
        ("double('nan')", "value"),
        ("double('" + "1" * 65 + "')", "value"),
        ("string(1.0 / 0.0)", "value"),
        ("string([0.0 / 0.0])", "value"),
        ("string([surrogate])", "value"),
        ("bool(1)", "type"),
        ("bool('" + "t" * 65 + "')", "value"),
        ("timestamp('tomorrow')", "value"),
        ("timestamp('2030-02-30T00:00:00Z')", "value"),
        ("timestamp('2030-01-01')", "value"),
        ("timestamp('9999-12-31T23:59:59-10:00')", "value"),
        ("timestamp(9223372036854775807)", "overflow"),
        ("timestamp(1.5)", "type"),
        ("duration('1x')", "value"),
        ("duration('P')", "value"),
        ("duration('PT')", "value"),
        ("duration('P1Y')", "value"),
        ("duration('" + "1" * 70 + "s')", "value"),
        ("duration('" + "1" * 40 + "d')", "overflow"),
        ("duration(1)", "type"),
        ("timestamp('9999-12-31T00:00:00Z') + duration('2d')", "overflow"),
        ("duration('999999999d') + duration('1d')", "overflow"),
        ("timestamp(1) + timestamp(1)", "type"),
        ("duration('1s') - timestamp(1)", "type"),
        ("duration('1s') + 1", "type"),
        ("timestamp(1) < duration('1s')", "type"),
        ("s.getHours()", "type"),
        ("duration('1s').getMonth()", "type"),
        ("get(s, 'a', 1)", "type"),
        ("min([])", "value"),
        ("max(1, 'a')", "type"),
        ("min([true, false])", "type"),
        ("min(duration('1s'), timestamp(1))", "type"),
        ("sum(['a'])", "type"),
        ("sum([1, duration('1s')])", "type"),
        ("sum([9223372036854775807, 1])", "overflow"),
        ("round(1.0 / 0.0)", "overflow"),
        ("round(1e30)", "overflow"),
        ("round(1.5, 16)", "value"),
        ("round(1.5, -1)", "value"),
        ("floor(0.0 / 0.0)", "overflow"),
        ("range(-1)", "value"),
        ("s.substring(-1)", "value"),
        ("s.substring(3, 2)", "value"),
        ("s.substring(0, 12)", "value"),
        ("s.charAt(12)", "value"),
        ("s.indexOf('o', 12)", "value"),
        ("s.split('o', 'x')", "type"),
        ("[1].join()", "type"),
        ("s.join()", "type"),
    ],
)
def test_failures(source: str, kind: str) -> None:
    assert kind_of_failure(source) == kind


def test_the_reference_names_every_function() -> None:
    reference = (Path(__file__).parents[2] / "docs" / "reference" / "expressions.md").read_text(encoding="utf-8")
    assert [name for name in {*FUNCTIONS, *METHODS} if f"{name}(" not in reference] == []
