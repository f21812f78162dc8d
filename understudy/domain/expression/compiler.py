from collections.abc import Mapping
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, Final, assert_never

import msgspec

from understudy.domain.expression import closures
from understudy.domain.expression.budget import Budget
from understudy.domain.expression.errors import ExpressionError
from understudy.domain.expression.frame import Code, Frame, Run
from understudy.domain.expression.functions import FUNCTIONS, METHODS, Function
from understudy.domain.expression.macros import Loop, logic, macro
from understudy.domain.expression.nodes import (
    Call,
    Chain,
    Conditional,
    Has,
    Index,
    ListOf,
    Literal,
    Logic,
    Macro,
    MapOf,
    Node,
    Path,
    Select,
    Unary,
)
from understudy.domain.expression.parser import DEPTH_MAX, MACROS, parse

CACHE_SIZE: Final = 256
NAME_LENGTH_MAX: Final = 40
PATH_KEYS_PER_STEP: Final = 4

_MACRO_NAMES: Final = frozenset(name for name, _ in MACROS)
_NAMES: Final = sorted({*FUNCTIONS, *METHODS, *_MACRO_NAMES, "has"})
_UNSUPPORTED: Final = {
    "matches": "a regular expression may take unbounded time; use contains(), startsWith(), endsWith() or split()",
    "bytes": "JSON has no bytes",
    "uint": "JSON has no unsigned integers; use int()",
    "type": "types are not values; compare or convert instead",
    "dyn": "every value is dynamic; leave it out",
}


class Expression(msgspec.Struct, frozen=True, eq=False):
    """A compiled expression; `references` are the constant paths that start at a name of the scope."""

    source: str
    references: frozenset[tuple[str, ...]]
    is_path: bool
    _run: Run
    _cost: int
    _slot_count: int

    def evaluate(self, scope: Mapping[str, Any], budget: Budget | None = None) -> Any:
        """The value, which may be a part of the scope itself, a datetime or a timedelta.

        A `dict` or `list` in the scope holds plain JSON all the way down; any other Mapping may hold Mappings again.

        Raises:
            ExpressionError: There is no value for this scope, or not within the budget.
        """
        if budget is None:
            budget = Budget()
        try:
            budget.charge(self._cost)
            return self._run(Frame(scope, budget, self._slot_count))
        except ExpressionError as error:
            error.within(self.source)
            raise


@lru_cache(CACHE_SIZE)
def compile_expression(source: str) -> Expression:
    """Compiles an expression.

    Raises:
        ExpressionError: It is not an expression of the language, or larger than the limits allow.
    """
    compiler = _Compiler()
    try:
        node = parse(source)
        code = compiler.code(node)
    except ExpressionError as error:
        error.within(source)
        raise
    is_path = isinstance(node, Path)
    return Expression(source, frozenset(compiler.references), is_path, code.run, code.cost, compiler.slot_count)


class _Compiler:
    """Turns nodes into closures; knows which names are macro variables at the moment."""

    def __init__(self) -> None:
        self.references: set[tuple[str, ...]] = set()
        self.slot_count = 0
        self._slots: dict[str, int] = {}
        self._loops = 0
        self._depth = 0

    def code(self, node: Node) -> Code:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise ExpressionError("limit.depth", f"an expression is nested at most {DEPTH_MAX} deep", node.position)
        code = self._code(node)
        self._depth -= 1
        return code

    def _code(self, node: Node) -> Code:
        match node:
            case Literal(value):
                return Code(closures.constant(value), 1)
            case Path():
                return self._path(node)
            case Select(target, key, position):
                code = self.code(target)
                return Code(closures.select(code.run, key, position), code.cost + 1)
            case Index(target, index, position):
                runs, cost = self._codes(target, index)
                return Code(closures.indexed(runs[0], runs[1], position), cost + 1)
            case Has(target, key, position):
                code = self._path(target, key) if isinstance(target, Path) else self.code(target)
                return Code(closures.has(code.run, key, position), code.cost + 1)
            case Call():
                return self._call(node)
            case Macro():
                return self._macro(node)
            case Unary(operator, count, operand, position):
                code = self.code(operand)
                return Code(closures.unary(operator, count, code.run, position), code.cost + 1)
            case _:
                return self._wide(node)

    def _wide(self, node: Chain | Logic | Conditional | ListOf | MapOf) -> Code:
        match node:
            case Chain(first, links):
                runs, cost = self._codes(first, *(operand for _, operand, _ in links))
                joined = zip(links, runs[1:], strict=True)
                parts = tuple((operator, run, position) for (operator, _, position), run in joined)
                return Code(closures.operations(runs[0], parts), cost + len(links))
            case Logic(operator, operands, position):
                runs, cost = self._codes(*operands)
                return Code(logic(operator, runs, position), cost + 1)
            case Conditional(branches, otherwise, position):
                runs, cost = self._codes(otherwise, *(part for branch in branches for part in branch))
                pairs = tuple(zip(runs[1::2], runs[2::2], strict=True))
                return Code(closures.conditional(pairs, runs[0], position), cost + 1)
            case ListOf(elements):
                runs, cost = self._codes(*elements)
                return Code(closures.list_of(runs), cost + 1)
            case MapOf(entries, position):
                runs, cost = self._codes(*(part for entry in entries for part in entry))
                pairs = tuple(zip(runs[::2], runs[1::2], strict=True))
                return Code(closures.map_of(pairs, position), cost + 1)
            case _:
                assert_never(node)

    def _codes(self, *nodes: Node) -> tuple[tuple[Run, ...], int]:
        codes = [self.code(node) for node in nodes]
        return tuple(code.run for code in codes), sum(code.cost for code in codes)

    def _path(self, path: Path, *tested: str) -> Code:
        """A path, which `has()` refers to with one more key than it reads."""
        cost = 1 + len(path.keys) // PATH_KEYS_PER_STEP
        slot = self._slots.get(path.root)
        if slot is not None:
            return Code(closures.bound_path(path, slot), cost)
        self.references.add((path.root, *path.keys, *tested))
        return Code(closures.free_path(path), cost)

    def _call(self, node: Call) -> Code:
        function = _function(node)
        runs, cost = self._codes(*node.arguments)
        return Code(closures.call(node.name, function, runs, node.position), cost + function.cost)

    def _macro(self, node: Macro) -> Code:
        target = self.code(node.target)
        outer, slot = self._slots, self._loops
        self._slots = {**outer, node.variable: slot}
        self._loops += 1
        self.slot_count = max(self.slot_count, self._loops)
        bodies, cost = self._codes(*node.bodies)
        self._slots, self._loops = outer, slot
        loop = Loop(node.name, target.run, slot, cost + 1, node.position)
        return Code(macro(loop, bodies), target.cost + 1)


def _function(call: Call) -> Function:
    """The function that is meant, if it takes so many arguments."""
    name, position = call.name, call.position
    if name in _UNSUPPORTED:
        raise ExpressionError("unsupported", f"{name}() is not offered: {_UNSUPPORTED[name]}", position)
    function = (METHODS if call.is_method else FUNCTIONS).get(name)
    if function is None:
        raise ExpressionError("unknown", _unknown(call), position)
    given, wanted = len(call.arguments), len(function.parameters)
    if given < function.required or (given > wanted and not function.is_variadic):
        subject = 1 if call.is_method else 0
        least, most = function.required - subject, wanted - subject
        count = f"at least {least}" if function.is_variadic else f"{least}" if least == most else f"{least} to {most}"
        reason = f"{name}() takes {count} argument{'' if most == 1 else 's'}, not {given - subject}"
        raise ExpressionError("type", reason, position)
    return function


def _unknown(call: Call) -> str:
    name = call.name
    if name in _MACRO_NAMES:
        return f"{name}() is called as list.{name}(variable, expression)"
    if name in METHODS:
        return f"{name}() is called on a value: value.{name}(…)"
    if name in FUNCTIONS or name == "has":
        return f"{name}() is not called on a value: {name}(value)"
    nearest = get_close_matches(name, _NAMES, 1) if len(name) <= NAME_LENGTH_MAX else []
    return f"there is no function {name[:NAME_LENGTH_MAX]}()" + (f"; is {nearest[0]}() meant?" if nearest else "")
