"""From a value of the language to plain JSON or to text."""

import math
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from types import NoneType
from typing import Any, Final

import msgspec

from understudy.domain.expression.budget import Budget
from understudy.domain.expression.errors import ExpressionError
from understudy.domain.expression.kinds import JSON_DEPTH_MAX, integer, known
from understudy.domain.expression.times import duration_text, timestamp_text

ELEMENTS_PER_STEP: Final = 8
ELEMENT_SIZE: Final = 8  # characters a number or a bracket counts for
UNTOUCHED: Final = frozenset((NoneType, bool, int, str, dict, list))
_CONSTANT_TEXTS: Final = {None: "null", True: "true", False: "false"}


class Meter:
    """Adds up the size of one value while it is put together; parts that occur twice count twice."""

    __slots__ = ("budget", "size")

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.size = 0

    def add(self, size: int) -> None:
        """Counts characters."""
        self.size += size
        if self.size > self.budget.size_max:
            raise ExpressionError("limit.size", f"the value would be longer than {self.budget.size_max} characters")


def plain(value: Any, meter: Meter, depth: int = 0) -> Any:
    """The value as plain JSON, for a place `depth` containers deep; the same object when it is plain already."""
    return value if _survey(value, meter, depth) else _rewritten(value, meter.budget)


def _survey(value: Any, meter: Meter, depth: int) -> bool:
    """Whether the value is plain; raises when it cannot become plain JSON within the limits.

    Walks level by level, and pays for a container before it looks inside: the same one may occur thousands of times.
    """
    is_plain = True
    level: list[Any] = [[value]]
    while level:
        following: list[Any] = []
        for container in level:
            meter.budget.charge(len(container) // ELEMENTS_PER_STEP + 1)
            meter.add(len(container) * ELEMENT_SIZE)
            if type(container) is not list:
                meter.add(sum(map(len, container)))
            is_plain &= _survey_elements(container if type(container) is list else container.values(), meter, following)
        if following and depth >= JSON_DEPTH_MAX:
            raise ExpressionError("limit.depth", f"the value would be nested deeper than {JSON_DEPTH_MAX}")
        level = following
        depth += 1
    return is_plain


def _survey_elements(elements: Collection[Any], meter: Meter, following: list[Any]) -> bool:
    """The same for the elements of one container; the containers among them are left to the next level."""
    is_plain = True
    size = 0
    for element in elements:
        kind = type(element)
        if kind is str:
            size += len(element)
        elif kind is int:
            integer(element)
        elif kind is dict or kind is list:
            following.append(element)
        elif kind is float:
            if not math.isfinite(element):
                raise ExpressionError("value", "infinity and NaN cannot be written as JSON")
        elif kind is not bool and element is not None:
            is_plain = False
            if isinstance(known(element), Mapping):
                following.append(element)
    meter.add(size)
    return is_plain


def _rewritten(value: Any, budget: Budget) -> Any:
    """A plain copy; its depth is known to be small."""
    kind = type(value)
    if kind is datetime:
        return timestamp_text(value)
    if kind is timedelta:
        return duration_text(value)
    if kind is list:
        budget.build_list(len(value))
        return [_rewritten(element, budget) for element in value]
    if kind is dict or isinstance(value, Mapping):
        budget.build_list(len(value))
        return {key: _rewritten(element, budget) for key, element in value.items()}
    return value


def text_of(value: Any, budget: Budget) -> str:
    """How a value is written into a text: strings and times as they are, everything else as compact JSON."""
    kind = type(value)
    if kind is str:
        text: str = value
    elif kind is bool or value is None:
        return _CONSTANT_TEXTS[value]
    elif kind is int:
        return str(integer(value))
    else:
        ready = plain(value, Meter(budget))
        text = ready if type(ready) is str else _json(ready)
    budget.build(len(text))
    return text


def _json(value: Any) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:
        raise ExpressionError("value", "a text holds half of a surrogate pair") from None
