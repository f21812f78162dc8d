"""Our evaluator against another implementation of CEL on generated expressions, where both define the result.

Left out by construction: arithmetic on an int and a double, which we allow; the least of all ints and doubles of large
ints, where the other one is not exact; the order of NaN, which is an error there; and what CEL leaves to those who
implement it (texts of doubles, the size of what is not ASCII).
"""

from collections.abc import Callable
from random import Random
from typing import Any

import cel
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from understudy.domain.expression.compiler import compile_expression
from understudy.domain.expression.errors import ExpressionError

SCOPE: dict[str, Any] = {
    "n": 7,
    "zero": 0,
    "low": -(2**62) - 1,
    "price": 2.5,
    "name": "Ada Lovelace",
    "empty": "",
    "yes": True,
    "none": None,
    "counts": [3, -1, 3, 0],
    "tags": ["new", "vip", "Ada"],
    "order": {"total": 150, "lines": [1, 2, 3], "buyer": {"name": "Bo", "age": 41}},
    "stock": {"new": 1, "vip": -5, "": 0},
}
DEPTH = 3
ERROR = "an error"

Draw = Callable[..., Any]
Make = Callable[["Writer", int], str]


class Writer:
    """Writes an expression of a wanted type; `names` are the ints that macros around it have bound."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._names: list[str] = []

    def write(self, kind: str, depth: int) -> str:
        makes = BRANCHES[kind] if depth == DEPTH else LEAVES[kind] + BRANCHES[kind] if depth > 0 else LEAVES[kind]
        make: Make = self.choose(*makes)
        return make(self, depth - 1)

    def operand(self, kind: str, depth: int) -> str:
        return f"({self.write(kind, depth)})"

    def choose(self, *options: Any) -> Any:
        return self._chance.choice(options)

    def number(self, low: int, high: int) -> int:
        return self._chance.randint(low, high)

    def name_of_an_int(self) -> str:
        name: str = self.choose("n", "zero", "low", "order.total", "order.buyer.age", "stock.vip", *self._names)
        return name

    def chain(self, kind: str, operators: tuple[str, ...], depth: int) -> str:
        """Operands in parentheses, operators without: precedence and associativity are for the parsers."""
        parts = [self.operand(kind, depth)]
        for _ in range(self.number(1, 3)):
            parts += [self.choose(*operators), self.operand(kind, depth)]
        return " ".join(parts)

    def conditional(self, kind: str, depth: int) -> str:
        return f"{self.operand('bool', depth)} ? {self.write(kind, depth)} : {self.write(kind, depth)}"

    def loop(self, macro: str, kind: str, depth: int) -> str:
        """A macro over ints whose last argument is of a kind and sees the element."""
        elements = self.operand("ints", depth)
        name = f"x{len(self._names)}"
        self._names.append(name)
        body = self.write(kind, depth)
        self._names.pop()
        return f"{elements}.{macro}({name}, {body})"

    def text(self) -> str:
        drawn = "".join(self.choose(*"aAdvo \"'\\\n\t{}$") for _ in range(self.number(0, 4)))
        escaped = drawn.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\t", "\\t")
        return f"'{escaped}'"


def compared(writer: Writer, depth: int) -> str:
    kind = writer.choose("int", "double", "string", "int", "bool")
    operator = writer.choose("==", "!=", "<", "<=", ">", ">=")
    if kind == "double":
        depth = 0
    return f"{writer.operand(kind, depth)} {operator} {writer.operand(kind, depth)}"


def equal(writer: Writer, depth: int) -> str:
    kinds = ("int", "double", "string", "bool", "null", "ints", "strings", "map")
    one = writer.choose(*kinds)
    other = writer.choose(one, one, *kinds)
    return f"{writer.operand(one, depth)} {writer.choose('==', '!=')} {writer.operand(other, depth)}"


def alike(writer: Writer, depth: int) -> str:
    values = ("1", "1.0", "true", "0", "false", "'1'", "null", "[1]")
    return f"{writer.choose(*values)} {writer.choose('==', '!=')} {writer.choose(*values)}"


def searched(writer: Writer, depth: int) -> str:
    kind, container = writer.choose(("int", "ints"), ("string", "strings"), ("string", "map"), ("double", "ints"))
    return f"{writer.operand(kind, depth)} in {writer.operand(container, depth)}"


def examined(writer: Writer, depth: int) -> str:
    method = writer.choose("contains", "startsWith", "endsWith")
    return f"{writer.operand('string', depth)}.{method}({writer.write('string', depth)})"


def measured(writer: Writer, depth: int) -> str:
    value = writer.write(writer.choose("string", "ints", "strings", "map"), depth)
    return f"size({value})" if writer.choose(True, False) else f"({value}).size()"


def a_list(kind: str) -> Make:
    return lambda writer, depth: f"[{', '.join(writer.write(kind, depth) for _ in range(writer.number(0, 3)))}]"


def a_map(writer: Writer, depth: int) -> str:
    keys = ["a", "b", "vip"][: writer.number(0, 3)]
    return "{" + ", ".join(f"'{key}': {writer.write('int', depth)}" for key in keys) + "}"


def a_double(writer: Writer, depth: int) -> str:
    return f"{writer.number(-40, 40) / 8}"


LEAVES: dict[str, list[Make]] = {
    "int": [lambda w, d: str(w.number(-9, 9)), lambda w, d: w.name_of_an_int(), lambda w, d: "9223372036854775807"],
    "double": [a_double, lambda w, d: w.choose("price", "0.0", "1e300")],
    "string": [lambda w, d: w.text(), lambda w, d: w.choose("name", "empty", "tags[1]", "order.buyer.name")],
    "bool": [
        lambda w, d: w.choose("true", "false", "yes", "true", "false", "1 / zero == 1"),
        lambda w, d: w.choose("has(order.total)", "has(order.no)"),
    ],
    "null": [lambda w, d: "null", lambda w, d: "none"],
    "ints": [lambda w, d: w.choose("counts", "order.lines", "[]"), lambda w, d: "[1, 2, 1]"],
    "strings": [lambda w, d: w.choose("tags", "[]", "['a', 'A']")],
    "map": [lambda w, d: w.choose("stock", "order.buyer", "{}")],
}
BRANCHES: dict[str, list[Make]] = {
    "int": [
        lambda w, d: w.chain("int", ("+", "-", "*", "/", "%"), d),
        lambda w, d: w.conditional("int", d),
        lambda w, d: f"-{w.operand('int', d)}",
        lambda w, d: f"{w.operand('ints', d)}[{w.write('int', 0)}]",
        lambda w, d: f"{w.operand('map', d)}[{w.write('string', 0)}]",
        lambda w, d: f"{w.operand('map', d)}.vip",
        lambda w, d: f"int({w.write('double', d)})",
        lambda w, d: f"int(string({w.write('int', d)}))",
        measured,
    ],
    "double": [
        lambda w, d: w.chain("double", ("+", "-", "*", "/"), d),
        lambda w, d: w.conditional("double", d),
        lambda w, d: f"-{w.operand('double', d)}",
        lambda w, d: f"double({measured(w, d)})",
        lambda w, d: f"double(string({measured(w, d)}))",
    ],
    "string": [
        lambda w, d: w.chain("string", ("+",), d),
        lambda w, d: w.conditional("string", d),
        lambda w, d: f"{w.operand('strings', d)}[{w.write('int', 0)}]",
        lambda w, d: f"string({w.write('int', d)})",
    ],
    "bool": [
        lambda w, d: w.chain("bool", ("&&", "||"), d),
        lambda w, d: w.conditional("bool", d),
        lambda w, d: f"!{w.operand('bool', d)}",
        lambda w, d: w.loop(w.choose("all", "exists", "exists_one"), "bool", d),
        lambda w, d: f"has({w.operand('map', d)}.{w.choose('a', 'vip', 'age')})",
        compared,
        equal,
        alike,
        searched,
        examined,
    ],
    "null": [lambda w, d: w.conditional("null", d)],
    "ints": [
        a_list("int"),
        lambda w, d: w.chain("ints", ("+",), d),
        lambda w, d: w.conditional("ints", d),
        lambda w, d: w.loop("map", "int", d),
        lambda w, d: w.loop("filter", "bool", d),
    ],
    "strings": [a_list("string"), lambda w, d: w.loop("map", "string", d), lambda w, d: w.conditional("strings", d)],
    "map": [a_map, lambda w, d: w.conditional("map", d)],
}


@st.composite
def expressions(draw: Draw) -> str:
    """Expressions of every type."""
    # Drawn one by one, choices would tend to the first of their options, and few expressions would hold much.
    writer = Writer(draw(st.randoms(use_true_random=True)))
    return writer.write(writer.choose(*BRANCHES), DEPTH)


def ours(source: str) -> Any:
    try:
        return compile_expression(source).evaluate(SCOPE)
    except ExpressionError as error:
        assert not error.kind.startswith("limit"), source  # noqa: PT017 - an error is a result like any other
        return ERROR


def theirs(source: str) -> Any:
    try:
        return cel.evaluate(source, SCOPE)
    except (ValueError, TypeError, RuntimeError, ArithmeticError, LookupError):
        return ERROR


def shown(value: Any) -> str:
    """A value with the types of its parts; the order of keys does not count."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {shown(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(shown, value)) + "]"
    return repr(value)


@settings(
    max_examples=1_000,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
@given(expressions())
def test_both_come_to_the_same_result(source: str) -> None:
    assert shown(ours(source)) == shown(theirs(source))
