import math
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal
from functools import partial, reduce
from typing import Any, Final, NamedTuple

from understudy.domain.expression import strings
from understudy.domain.expression.arithmetic import add, double
from understudy.domain.expression.budget import Budget
from understudy.domain.expression.comparison import charge_text
from understudy.domain.expression.errors import ExpressionError
from understudy.domain.expression.kinds import NUMBERS, described, integer, is_map
from understudy.domain.expression.rendering import text_of
from understudy.domain.expression.times import (
    ACCESSORS,
    EPOCH,
    TEXT_LENGTH_MAX,
    accessed,
    parse_duration,
    parse_timestamp,
    timestamp_of_seconds,
)

DIGITS_MAX: Final = 15
_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
_DOUBLE: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_BOOLS: Final = {
    **dict.fromkeys(("true", "True", "TRUE", "t", "T", "1"), True),
    **dict.fromkeys(("false", "False", "FALSE", "f", "F", "0"), False),
}
_EXACT: Final = Context(prec=50)


class Function(NamedTuple):
    """A function of the language: `run(budget, *arguments)`, called when the arguments have the types of `parameters`.

    None stands for any type. The last parameter of a variadic function repeats.
    """

    run: Callable[..., Any]
    parameters: tuple[frozenset[type] | None, ...]
    required: int
    is_variadic: bool = False
    cost: int = 1  # steps


def size(_: Budget, value: Any) -> int:
    """Code points of a string, elements of a list, entries of a map."""
    if type(value) is str or type(value) is list or is_map(value):
        return len(value)
    raise ExpressionError("type", f"size() does not take {described(value)}")


def to_int(_: Budget, value: Any) -> int:
    """Doubles are cut towards zero, timestamps are seconds since 1970."""
    match value:
        case bool():
            pass
        case int():
            return value
        case float():
            return _whole("int", math.trunc, value)
        case str():
            if len(value) <= TEXT_LENGTH_MAX and _INTEGER.fullmatch(value):
                return integer(int(value))
            raise ExpressionError("value", "int() was given a text that is not an integer")
        case datetime():
            return (value - EPOCH) // timedelta(seconds=1)
    raise ExpressionError("type", f"int() does not take {described(value)}")


def to_double(_: Budget, value: Any) -> float:
    """Of a number or its text."""
    if type(value) in NUMBERS:
        return double(value)
    if type(value) is not str:
        raise ExpressionError("type", f"double() does not take {described(value)}")
    if len(value) <= TEXT_LENGTH_MAX and _DOUBLE.fullmatch(value):
        return float(value)
    raise ExpressionError("value", "double() was given a text that is not a number")


def to_string(budget: Budget, value: Any) -> str:
    """What `${…}` in a text would write."""
    return text_of(value, budget)


def to_bool(_: Budget, value: Any) -> bool:
    """Of a bool or its text."""
    if type(value) is bool:
        return value
    if type(value) is not str:
        raise ExpressionError("type", f"bool() does not take {described(value)}")
    if len(value) <= TEXT_LENGTH_MAX and value in _BOOLS:
        return _BOOLS[value]
    raise ExpressionError("value", "bool() was given a text that is neither true nor false")


def to_timestamp(_: Budget, value: Any) -> datetime:
    """Of RFC 3339 or of seconds since 1970."""
    if type(value) is datetime:
        return value
    if type(value) is int:
        return timestamp_of_seconds(value)
    if type(value) is str:
        return parse_timestamp(value)
    raise ExpressionError("type", f"timestamp() does not take {described(value)}")


def to_duration(budget: Budget, value: Any) -> timedelta:
    """Of a text such as 1h30m or PT30S."""
    if type(value) is timedelta:
        return value
    if type(value) is str:
        budget.charge(min(len(value), TEXT_LENGTH_MAX) // 4)
        return parse_duration(value)
    raise ExpressionError("type", f"duration() does not take {described(value)}")


def get(budget: Budget, target: Any, key: str, default: Any) -> Any:
    """The value of a key, or the default where there is no such key."""
    if not is_map(target):
        raise ExpressionError("type", f"get() takes a map, not {described(target)}")
    charge_text(key, budget)
    return target[key] if key in target else default  # noqa: SIM401 - a Mapping may be anything with a key test


def extreme(name: str, choose: Callable[[Any], Any], budget: Budget, *arguments: Any) -> Any:
    """The least or the greatest of the arguments, or of the elements of a list."""
    elements = arguments[0] if len(arguments) == 1 and type(arguments[0]) is list else arguments
    budget.charge(len(elements) // 8)
    if not elements:
        raise ExpressionError("value", f"{name}() of an empty list has no value")
    types = set(map(type, elements))
    if types == {str}:
        budget.charge(sum(map(len, elements)) // 1024)
    elif not (types <= NUMBERS or types in ({datetime}, {timedelta})):
        raise ExpressionError("type", f"{name}() takes numbers, or strings, or times, not a mixture")
    return choose(elements)


def total(budget: Budget, elements: list[Any]) -> Any:
    """`sum(list)` of numbers or durations; 0 for an empty list."""
    budget.charge(len(elements) // 2)
    types = set(map(type, elements))
    if not types <= NUMBERS and types != {timedelta}:
        raise ExpressionError("type", "sum() takes numbers or durations")
    return reduce(lambda one, other: add(one, other, budget), elements) if elements else 0


def absolute(_: Budget, number: float) -> float:
    """`abs(number)`."""
    return integer(abs(number)) if type(number) is int else abs(number)


def rounded(_: Budget, number: float, digits: int | None = None) -> float:
    """Halves away from zero: to an int, or with `digits` to a double with so many decimals."""
    if digits is None:
        return _whole("round", _half_away, number)
    if not 0 <= digits <= DIGITS_MAX:
        raise ExpressionError("value", f"round() takes 0 to {DIGITS_MAX} digits")
    if type(number) is int or not abs(number) < 2.0**53:
        return number
    # The shortest text of a double is the number its author wrote: 1.005 becomes 1.01.
    exact = Decimal(repr(number)).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP, _EXACT)
    return float(exact)


def whole(name: str, rounding: Callable[[float], int], _: Budget, number: float) -> int:
    """`ceil(number)` and `floor(number)`: to an int."""
    return _whole(name, rounding, number)


def _whole(name: str, rounding: Callable[[float], int], number: float) -> int:
    if not math.isfinite(number):
        raise ExpressionError("overflow", f"{name}() has no integer for infinity and NaN")
    return integer(rounding(number))


def _half_away(number: float) -> int:
    below = math.floor(abs(number))
    magnitude = below + (abs(number) - below >= 0.5)
    return magnitude if number >= 0 else -magnitude


def up_to(budget: Budget, length: int) -> list[int]:
    """`range(n)`: 0 to n - 1."""
    if length < 0:
        raise ExpressionError("value", "range() takes no negative number")
    budget.build_list(length)
    return list(range(length))


def part_of_time(name: str, _: Budget, value: Any) -> int:
    """`timestamp.getHours()` and its like."""
    return accessed(name, value)


_ANY: Final = None
_STRING: Final = frozenset((str,))
_INT: Final = frozenset((int,))
_LIST: Final = frozenset((list,))

FUNCTIONS: Final = {
    "size": Function(size, (_ANY,), 1),
    "int": Function(to_int, (_ANY,), 1),
    "double": Function(to_double, (_ANY,), 1),
    "string": Function(to_string, (_ANY,), 1, cost=2),
    "bool": Function(to_bool, (_ANY,), 1),
    "timestamp": Function(to_timestamp, (_ANY,), 1, cost=5),
    "duration": Function(to_duration, (_ANY,), 1, cost=5),
    "get": Function(get, (_ANY, _STRING, _ANY), 3),
    "min": Function(partial(extreme, "min", min), (_ANY,), 1, is_variadic=True),
    "max": Function(partial(extreme, "max", max), (_ANY,), 1, is_variadic=True),
    "sum": Function(total, (_LIST,), 1),
    "abs": Function(absolute, (NUMBERS,), 1),
    "round": Function(rounded, (NUMBERS, _INT), 1, cost=3),
    "ceil": Function(partial(whole, "ceil", math.ceil), (NUMBERS,), 1),
    "floor": Function(partial(whole, "floor", math.floor), (NUMBERS,), 1),
    "range": Function(up_to, (_INT,), 1),
}

METHODS: Final = {
    "size": Function(size, (_ANY,), 1),
    "contains": Function(strings.contains, (_STRING, _STRING), 2),
    "startsWith": Function(strings.starts_with, (_STRING, _STRING), 2),
    "endsWith": Function(strings.ends_with, (_STRING, _STRING), 2),
    "lowerAscii": Function(strings.lower_ascii, (_STRING,), 1),
    "upperAscii": Function(strings.upper_ascii, (_STRING,), 1),
    "trim": Function(strings.trim, (_STRING,), 1),
    "substring": Function(strings.substring, (_STRING, _INT, _INT), 2),
    "charAt": Function(strings.character_at, (_STRING, _INT), 2),
    "indexOf": Function(strings.index_of, (_STRING, _STRING, _INT), 2),
    "lastIndexOf": Function(strings.last_index_of, (_STRING, _STRING), 2),
    "replace": Function(strings.replace, (_STRING, _STRING, _STRING, _INT), 3),
    "split": Function(strings.split, (_STRING, _STRING, _INT), 2),
    "join": Function(strings.join, (_LIST, _STRING), 1),
    **{name: Function(partial(part_of_time, name), (_ANY,), 1) for name in ACCESSORS},
}
