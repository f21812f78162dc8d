"""The types of the language, and the Python types that carry them."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from types import NoneType
from typing import Any, Final

from understudy.domain.expression.errors import ExpressionError

INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**63 - 1
JSON_DEPTH_MAX: Final = 64

NAMES: Final[dict[type, str]] = {
    NoneType: "null",
    bool: "bool",
    int: "int",
    float: "double",
    str: "string",
    list: "list",
    dict: "map",
    datetime: "timestamp",
    timedelta: "duration",
}
NUMBERS: Final = frozenset((int, float))
SCALARS: Final = frozenset((NoneType, bool, int, float, str, datetime, timedelta))


def kind_of(value: Any) -> str:
    """The name of a value's type in the language, or of its Python type when the language has none."""
    name = NAMES.get(type(value))
    if name is not None:
        return name
    return "map" if isinstance(value, Mapping) else type(value).__name__


def described(value: Any) -> str:
    """The type with its article, for messages."""
    name = kind_of(value)
    return name if name == "null" else f"an {name}" if name == "int" else f"a {name}"


def known(value: Any) -> Any:
    """The value itself, unless the language has no type for it."""
    if type(value) in NAMES or isinstance(value, Mapping):
        return value
    raise ExpressionError("type", f"{type(value).__name__} is not a type of JSON")


def integer(value: int) -> int:
    """The value itself, if it fits in 64 bits."""
    if INT_MIN <= value <= INT_MAX:
        return value
    raise ExpressionError("overflow", "the integer does not fit in 64 bits")


def is_map(value: Any) -> bool:
    """Whether keys can be looked up in the value."""
    return type(value) is dict or isinstance(value, Mapping)
