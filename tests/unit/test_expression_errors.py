"""What is refused, of which kind, and what the message says."""

from enum import StrEnum
from types import MappingProxyType
from typing import Any

import pytest

from understudy.domain.expression.compiler import compile_expression
from understudy.domain.expression.errors import ExpressionError


class Colour(StrEnum):
    RED = "red"


SCOPE: dict[str, Any] = {
    "n": 3,
    "s": "abc",
    "list": [1, 2, 3],
    "order": {"id": "o-1", "total": 150, "deep": {"x": [1]}, "colour": Colour.RED},
    "colour": Colour.RED,
    "view": MappingProxyType({}),
    "nothing": None,
    "huge": 10**400,
    "secrets": {"TOKEN": "hunter2"},
}


def failure(source: str) -> ExpressionError:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(source).evaluate(SCOPE)
    return caught.value


@pytest.mark.parametrize(
    ("source", "position"),
    [
        ("", 0),
        ("  // nothing", 0),
        ("1 +", 3),
        ("1 2", 2),
        ("(1", 2),
        ("(1]", 2),
        ("1)", 1),
        ("[1", 2),
        ("[1 2]", 3),
        ("[,]", 1),
        ("{1}", 2),
        ("{'a': }", 6),
        ("{'a': 1 'b'", 8),
        ("a.", 2),
        ("a.1", 1),
        ("a..b", 2),
        (".a", 0),
        ("a[]", 2),
        ("a.b(", 4),
        ("a.b(1,)", 6),
        ("a?.b", 2),
        ("a ? 1", 5),
        ("a ? b ? 1 : 2 : 3", 6),
        ("a = 1", 2),
        ("a & b", 2),
        ("!-1", 1),
        ("-!a", 1),
        ("== 1", 0),
        ("in", 0),
        ("a.in", 2),
        ("Message{a: 1}", 7),
        ("for", 0),
        ("x.map(while, 1)", 6),
        ("12abc", 0),
        ("0x", 0),
        ("1_000", 0),
        ("'abc", 0),
        ("'''abc'", 2),
        ("'a\nb'", 0),
        (r"'\q'", 1),
        (r"'\400'", 1),
        (r"'\u12'", 1),
        (r"'\U00110000'", 1),
        (r"'\ud83d\ude00'", 0),
        (r"'\000'", 0),
        ("'\0'", 0),
        ("'\ud800'", 0),
        ("@", 0),
        ("a\ud800", 1),
        ("has(a)", 0),
        ("has(a.b, c.d)", 0),
        ("has(a[0])", 0),
        ("has(f().b())", 0),
        ("list.map(1, 2)", 5),
        ("list.map(a.b, 2)", 5),
    ],
)
def test_syntax(source: str, position: int) -> None:
    error = failure(source)
    assert (error.kind, error.position) == ("syntax", position)
    assert f"column {position + 1} of" in error.message
    error.message.encode()


@pytest.mark.parametrize(
    ("source", "kind", "words"),
    [
        ("1u", "unsupported", "leave the 'u' out"),
        ("0x1U", "unsupported", "unsigned"),
        ("b'a'", "unsupported", "bytes"),
        ("rb'a'", "unsupported", "bytes"),
        ("s.matches('a+')", "unsupported", "regular expression"),
        ("matches(s, 'a+')", "unsupported", "unbounded"),
        ("type(1)", "unsupported", "types are not values"),
        ("uint(1)", "unsupported", "int()"),
        ("lenght(s)", "unknown", "there is no function lenght()"),
        ("s.containz('a')", "unknown", "is contains() meant?"),
        ("f" * 100 + "(1)", "unknown", "there is no function ffff"),
        ("contains(s, 'a')", "unknown", "value.contains(…)"),
        ("n.abs()", "unknown", "abs(value)"),
        ("a.has(b.c)", "unknown", "has(value)"),
        ("list.all(x)", "unknown", "list.all(variable, expression)"),
        ("size()", "type", "takes 1 argument, not 0"),
        ("min()", "type", "takes at least 1 argument, not 0"),
        ("get(order, 'a')", "type", "takes 3 arguments, not 2"),
        ("s.substring()", "type", "takes 1 to 2 arguments, not 0"),
        ("s.trim(1)", "type", "takes 0 arguments, not 1"),
        ("9223372036854775808", "overflow", "64 bits"),
        ("99999999999999999999", "overflow", "64 bits"),
        ("1e999", "overflow", "too large for a double"),
        ("9223372036854775807 + 1", "overflow", "64 bits (column 21 of"),
        ("-9223372036854775807 - 2", "overflow", "64 bits"),
        ("9223372036854775807 * 2", "overflow", "64 bits"),
        ("-9223372036854775808 / -1", "overflow", "64 bits"),
        ("-(-9223372036854775808)", "overflow", "64 bits"),
        ("abs(-9223372036854775808)", "overflow", "64 bits"),
        ("huge + 1.5", "overflow", "64 bits"),
        ("huge * huge", "overflow", "64 bits"),
        ("double(huge)", "overflow", "64 bits"),
        ("1 / 0", "division", "division by zero"),
        ("1 % 0", "division", "modulus by zero"),
        ("nobody", "missing", 'there is no "nobody" (column 1 of'),
        ("nobody.x", "missing", 'there is no "nobody"'),
        ("order.deep.y", "missing", 'there is no "y" in order.deep (column 12 of'),
        ("list.map(i, order.none)", "missing", 'there is no "none" in order'),
        ("list.map(i, {'a': i}).map(m, m.b)", "missing", 'there is no "b" in m'),
        ("{'a': 1}.b", "missing", 'there is no "b"'),
        ("order['x' + 'y']", "missing", "there is no such key"),
        ("list[3]", "missing", "outside the list"),
        ("list[-1]", "missing", "outside the list"),
        ("s.x", "type", 'a string has no keys: there is no "x" in s'),
        ("nothing.x", "type", "null has no keys"),
        ("list.x", "type", "a list has no keys"),
        ("n['a' + 'b']", "type", "an int has no keys"),
        ("list['a' + 'b']", "type", "a list is indexed by an int, not by a string"),
        ("order[1]", "type", "a map cannot be indexed by an int"),
        ("has(s.x)", "type", "has() looks into a map, not into a string"),
        ("colour", "type", "Colour is not a type of JSON"),
        ("order.colour", "type", "Colour is not a type of JSON"),
        ("[order].map(o, o.colour)", "type", "Colour is not a type of JSON"),
        ("1 + 'a'", "type", "'+' does not take an int and a string; use string()"),
        ("1 + {}", "type", "'+' does not take an int and a map"),
        ("view + 1", "type", "'+' does not take a map and an int"),
        ("1 + true", "type", "'+' does not take an int and a bool"),
        ("'a' - 'b'", "type", "'-' does not take a string and a string"),
        ("'a' * 3", "type", "'*' does not take"),
        ("[] / 1", "type", "'/' does not take"),
        ("1 / 'a'", "type", "'/' does not take"),
        ("1.5 % 1", "type", "'%' does not take a double and an int"),
        ("1 % 1.5", "type", "'%' does not take an int and a double"),
        ("1 + 2 + 'a'", "type", "(column 7 of"),
        ("-'a'", "type", "'-' does not take a string"),
        ("!1", "type", "'!' takes a bool, not an int"),
        ("1 < 'a'", "type", "'<' does not compare an int with a string"),
        ("null <= null", "type", "'<=' does not compare null with null"),
        ("[] > []", "type", "'>' does not compare a list with a list"),
        ("true >= 1", "type", "'>=' does not compare"),
        ("1 in 'abc'", "type", "not a string; use contains()"),
        ("1 in 2", "type", "not an int"),
        ("1 ? 2 : 3", "type", "'?' takes a bool, not an int"),
        ("1 && true", "type", "'&&' takes a bool, not an int"),
        ("n.map(i, i)", "type", "map() walks a list or the keys of a map, not an int"),
        ("list.filter(i, i)", "type", "filter() takes a bool, not an int"),
        ("list.all(i, i)", "type", "all() takes a bool, not an int"),
        ("{1: 2}", "type", "the keys of a map are strings, not an int"),
        ("{'a': 1, 'a': 2}", "value", "the same key twice"),
        ("s.contains(1)", "type", "contains() takes string here, not int"),
        ("abs('a')", "type", "abs() takes double or int here, not string"),
    ],
)
def test_every_error_has_a_kind_and_says_why(source: str, kind: str, words: str) -> None:
    error = failure(source)
    assert error.kind == kind
    assert words in error.message
    assert str(error) == error.message


@pytest.mark.parametrize(
    "source",
    [
        "int(secrets.TOKEN)",
        "double(secrets.TOKEN)",
        "bool(secrets.TOKEN)",
        "timestamp(secrets.TOKEN)",
        "duration(secrets.TOKEN)",
        "order[secrets.TOKEN]",
        "secrets.TOKEN.x",
        "secrets.TOKEN + 1",
        "secrets.TOKEN.substring(100)",
        "{secrets.TOKEN: 1, secrets.TOKEN: 2}",
        "[secrets.TOKEN].sum()",
        "sum([secrets.TOKEN])",
    ],
)
def test_no_message_quotes_a_value_of_the_scope(source: str) -> None:
    assert "hunter2" not in failure(source).message


def test_long_expressions_are_shown_around_the_place() -> None:
    start = failure("@" + " + 1" * 100).message
    middle = failure("1 + " * 50 + "@" + " + 1" * 50).message
    end = failure("1 + " * 100 + "@").message
    assert [message.count("…") for message in (start, middle, end)] == [1, 2, 1]
    assert all("@" in message and len(message) < 200 for message in (start, middle, end))


def test_an_error_without_a_place_names_what_is_known() -> None:
    error = ExpressionError("type", "wrong")
    assert error.message == "wrong"
    assert error.within("a + b").within("other").message == "wrong (in `a + b`)"
    assert error.at(2).at(0).message == "wrong (column 3 of `a + b`)"
