"""The parts of an expression as closures over a frame."""

from typing import Any, Final, NoReturn

from understudy.domain.expression import arithmetic, comparison
from understudy.domain.expression.errors import ExpressionError
from understudy.domain.expression.frame import Frame, Run
from understudy.domain.expression.functions import Function
from understudy.domain.expression.kinds import NAMES, described, is_map, kind_of, known
from understudy.domain.expression.nodes import Path

_OPERATIONS: Final = {
    "+": arithmetic.add,
    "-": arithmetic.subtract,
    "*": arithmetic.multiply,
    "/": arithmetic.divide,
    "%": arithmetic.modulo,
    "==": comparison.equal,
    "!=": comparison.unequal,
    "<": comparison.less,
    "<=": comparison.less_or_equal,
    ">": comparison.greater,
    ">=": comparison.greater_or_equal,
    "in": comparison.contained,
}


def constant(value: Any) -> Run:
    """A literal."""
    return lambda _: value


def free_path(path: Path) -> Run:
    """Names that start in the scope."""
    root, keys = path.root, path.keys

    def run(frame: Frame) -> Any:
        try:
            value = frame.scope[root]
            for key in keys:
                value = value[key]
        except (KeyError, TypeError):
            _fail(_root(frame, path), path)
        return value if type(value) in NAMES else _known(value, path)

    return run


def bound_path(path: Path, slot: int) -> Run:
    """Names that start at a macro variable."""
    keys = path.keys

    def run(frame: Frame) -> Any:
        value = frame.slots[slot]
        try:
            for key in keys:
                value = value[key]
        except (KeyError, TypeError):
            _fail(frame.slots[slot], path)
        return value if type(value) in NAMES else _known(value, path)

    return run


def _root(frame: Frame, path: Path) -> Any:
    try:
        return comparison.member(frame.scope, path.root, f'"{path.root}"')
    except ExpressionError as error:
        error.at(path.position)
        raise


def _fail(value: Any, path: Path) -> NoReturn:
    """Looks the keys up once more, one by one, to name the one that is missing."""
    depth = 0
    while True:
        place = ".".join((path.root, *path.keys[:depth]))
        try:
            value = comparison.member(value, path.keys[depth], f'"{path.keys[depth]}" in {place}')
        except ExpressionError as error:
            error.at(path.key_positions[depth])
            raise
        depth += 1


def _known(value: Any, path: Path) -> Any:
    try:
        return known(value)
    except ExpressionError as error:
        error.at(path.position)
        raise


def select(target: Run, key: str, position: int) -> Run:
    """A constant key of a computed value."""

    def run(frame: Frame) -> Any:
        value = target(frame)
        try:
            return comparison.member(value, key, f'"{key}"')
        except ExpressionError as error:
            error.at(position)
            raise

    return run


def indexed(target: Run, index: Run, position: int) -> Run:
    """A computed index."""
    return chain(target, ((comparison.indexed, index, position),))


def has(target: Run, key: str, position: int) -> Run:
    """Whether a map has a key."""

    def run(frame: Frame) -> bool:
        value = target(frame)
        if is_map(value):
            return key in value
        raise ExpressionError("type", f"has() looks into a map, not into {described(value)}", position)

    return run


def call(name: str, function: Function, arguments: tuple[Run, ...], position: int) -> Run:
    """A function whose arguments have been counted."""
    operation, parameters = function.run, function.parameters

    def run(frame: Frame) -> Any:
        values = [argument(frame) for argument in arguments]
        for value, types in zip(values, parameters):  # noqa: B905 - optional and repeated parameters
            if types is not None and type(value) not in types:
                wanted = " or ".join(sorted(NAMES[accepted] for accepted in types))
                raise ExpressionError("type", f"{name}() takes {wanted} here, not {kind_of(value)}", position)
        try:
            return operation(frame.budget, *values)
        except ExpressionError as error:
            error.at(position)
            raise

    return run


def operations(first: Run, links: tuple[tuple[str, Run, int], ...]) -> Run:
    """Binary operators, from left to right."""
    return chain(first, tuple((_OPERATIONS[operator], operand, position) for operator, operand, position in links))


def chain(first: Run, links: tuple[tuple[Any, Run, int], ...]) -> Run:
    """`operation(operation(first, operand), operand)` and so on."""
    if len(links) > 1:

        def run_all(frame: Frame) -> Any:
            value = first(frame)
            for operation, operand, position in links:
                right = operand(frame)
                try:
                    value = operation(value, right, frame.budget)
                except ExpressionError as error:
                    error.at(position)
                    raise
            return value

        return run_all

    [(operation, operand, position)] = links

    def run(frame: Frame) -> Any:
        left, right = first(frame), operand(frame)
        try:
            return operation(left, right, frame.budget)
        except ExpressionError as error:
            error.at(position)
            raise

    return run


def unary(operator: str, count: int, operand: Run, position: int) -> Run:
    """`!` or `-`; an even number of them still tests the operand."""
    operation = arithmetic.negate if operator == "-" else _inverted
    times = 2 - count % 2

    def run(frame: Frame) -> Any:
        value = operand(frame)
        try:
            for _ in range(times):
                value = operation(value)
        except ExpressionError as error:
            error.at(position)
            raise
        return value

    return run


def _inverted(value: Any) -> bool:
    if type(value) is bool:
        return not value
    raise ExpressionError("type", f"'!' takes a bool, not {described(value)}")


def conditional(branches: tuple[tuple[Run, Run], ...], otherwise: Run, position: int) -> Run:
    """`condition ? value : … : otherwise`."""

    def run(frame: Frame) -> Any:
        for condition, value in branches:
            test = condition(frame)
            if test is True:
                return value(frame)
            if test is not False:
                raise ExpressionError("type", f"'?' takes a bool, not {described(test)}", position)
        return otherwise(frame)

    return run


def list_of(elements: tuple[Run, ...]) -> Run:
    """A list literal."""
    return lambda frame: [element(frame) for element in elements]


def map_of(entries: tuple[tuple[Run, Run], ...], position: int) -> Run:
    """A map literal; JSON wants its keys to be strings, and different ones."""

    def run(frame: Frame) -> dict[str, Any]:
        values = {}
        for key, value in entries:
            name = key(frame)
            if type(name) is not str:
                raise ExpressionError("type", f"the keys of a map are strings, not {described(name)}", position)
            comparison.charge_text(name, frame.budget)
            if name in values:
                raise ExpressionError("value", "a map literal has the same key twice", position)
            values[name] = value(frame)
        return values

    return run
