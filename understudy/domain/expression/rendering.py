"""From a value of the language to plain JSON or to text."""

import math
from collections.abc import Mapping
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
    return value if _survey(value, meter, depth) else _rewritten(value)


def _survey(value: Any, meter: Meter, depth: int) -> bool:
    """Whether the value is plain; raises when it cannot become plain JSON within the limits."""
    is_plain = True
    pending: list[tuple[Any, int]] = [((value,), depth)]
    while pending:
        elements, level = pending.pop()
        meter.budget.charge(len(elements) // ELEMENTS_PER_STEP + 1)
        size = len(elements) * ELEMENT_SIZE
        for element in elements:
            kind = type(element)
            if kind is str:
                size += len(element)
            elif kind is int:
                integer(element)
            elif kind is dict or kind is list:
                if level >= JSON_DEPTH_MAX:
                    raise ExpressionError("limit.depth", f"the value would be nested deeper than {JSON_DEPTH_MAX}")
                if kind is dict:
                    size += sum(map(len, element))
                    element = element.values()  # noqa: PLW2901 - the keys are done
                pending.append((element, level + 1))
            elif kind is float:
                if not math.isfinite(element):
                    raise ExpressionError("value", "infinity and NaN cannot be written as JSON")
            elif kind is not bool and element is not None:
                is_plain = False
                if isinstance(known(element), Mapping):
                    pending.append(((dict(element),), level))
        meter.add(size)
    return is_plain


def _rewritten(value: Any) -> Any:
    """A plain copy; its depth is known to be small."""
    kind = type(value)
    if kind is list:
        return [_rewritten(element) for element in value]
    if kind is datetime:
        return timestamp_text(value)
    if kind is timedelta:
        return duration_text(value)
    if kind is dict or isinstance(value, Mapping):
        return {key: _rewritten(element) for key, element in value.items()}
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
