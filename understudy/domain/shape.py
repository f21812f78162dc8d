"""The walk over a raw definition: closed objects described by tables of fields, and checks of single values."""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from understudy.domain.duration import DurationError, parse_duration
from understudy.domain.fault import Faults
from understudy.domain.pointer import escape, shown
from understudy.domain.schema import Schema, SchemaError

Check: TypeAlias = Callable[[Any, str, Faults], None]


class Field(NamedTuple):
    """What a field may hold."""

    check: Check
    is_required: bool = False


def check_object(value: Any, pointer: str, faults: Faults, fields: Mapping[str, Field]) -> None:
    """Look at every field of a closed object."""
    if not isinstance(value, dict):
        faults.add(pointer, f"This must be an object, not {kind_of(value)}.")
        return
    for name, member in value.items():
        field = fields.get(name)
        here = f"{pointer}/{escape(name)}"
        if field is None:
            faults.add_unknown(here, "field", name, fields)
        else:
            field.check(member, here, faults)
    for name, field in fields.items():
        if field.is_required and name not in value:
            faults.add(pointer, f"The field {shown(name)} is missing.")


def closed(fields: Mapping[str, Field]) -> Check:
    """The check of an object with these fields."""
    return lambda value, pointer, faults: check_object(value, pointer, faults, fields)


def listed(check: Check, *, at_least: int = 0, at_most: int | None = None) -> Check:
    """The check of a list whose elements each pass `check`."""

    def check_list(value: Any, pointer: str, faults: Faults) -> None:
        if not isinstance(value, list):
            faults.add(pointer, f"This must be a list, not {kind_of(value)}.")
            return
        if len(value) < at_least:
            faults.add(pointer, f"This list needs at least {at_least} element.")
        if at_most is not None and len(value) > at_most:
            faults.add(pointer, f"This list has {len(value)} elements; at most {at_most} are allowed.")
        for index, element in enumerate(value[:at_most]):
            check(element, f"{pointer}/{index}", faults)

    return check_list


def mapped(check: Check) -> Check:
    """The check of an object with free names whose values each pass `check`."""

    def check_map(value: Any, pointer: str, faults: Faults) -> None:
        if not isinstance(value, dict):
            faults.add(pointer, f"This must be an object, not {kind_of(value)}.")
            return
        for name, member in value.items():
            check(member, f"{pointer}/{escape(name)}", faults)

    return check_map


def one_of(*choices: str) -> Check:
    """The check of a string that is one of few."""

    def check_choice(value: Any, pointer: str, faults: Faults) -> None:
        if value not in choices or not isinstance(value, str):
            faults.add(pointer, f"This must be one of {', '.join(map(shown, choices))}.")

    return check_choice


def pattern(expression: str, message: str) -> Check:
    """The check of a string that matches wholly."""
    compiled = re.compile(expression, re.ASCII)

    def check_pattern(value: Any, pointer: str, faults: Faults) -> None:
        if not isinstance(value, str):
            faults.add(pointer, f"This must be a string, not {kind_of(value)}.")
        elif not compiled.fullmatch(value):
            faults.add(pointer, message)

    return check_pattern


def integer(low: int, high: int) -> Check:
    """The check of a whole number within bounds."""

    def check_integer(value: Any, pointer: str, faults: Faults) -> None:
        if type(value) is not int or not low <= value <= high:
            faults.add(pointer, f"This must be a whole number from {low} to {high}.")

    return check_integer


def number(low: float, high: float) -> Check:
    """The check of a number within bounds."""

    def check_number(value: Any, pointer: str, faults: Faults) -> None:
        if type(value) not in (int, float) or not low <= value <= high:
            faults.add(pointer, f"This must be a number from {low:g} to {high:g}.")

    return check_number


def check_text(value: Any, pointer: str, faults: Faults) -> None:
    """Look at a string with any content."""
    if not isinstance(value, str):
        faults.add(pointer, f"This must be a string, not {kind_of(value)}.")


def check_anything(_value: Any, _pointer: str, _faults: Faults) -> None:
    """Let any JSON value pass."""


def check_duration(value: Any, pointer: str, faults: Faults) -> None:
    """Look at a duration, which may be zero."""
    _check_duration(value, pointer, faults, is_zero_allowed=True)


def check_time_limit(value: Any, pointer: str, faults: Faults) -> None:
    """Look at a duration within which something must be done."""
    _check_duration(value, pointer, faults, is_zero_allowed=False)


def check_schema(value: Any, pointer: str, faults: Faults) -> None:
    """Look at a JSON Schema."""
    try:
        Schema(value)
    except SchemaError as error:
        faults.add(pointer + error.pointer, error.message)


def kind_of(value: Any) -> str:
    """A JSON value's type in words."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "a list"
        case _:
            return "an object"


def _check_duration(value: Any, pointer: str, faults: Faults, *, is_zero_allowed: bool) -> None:
    if not isinstance(value, str):
        faults.add(pointer, f"This must be a duration such as '30s', not {kind_of(value)}.")
        return
    try:
        duration = parse_duration(value)
    except DurationError as error:
        faults.add(pointer, f"{shown(value)} is no duration: {error}.")
        return
    if not duration and not is_zero_allowed:
        faults.add(pointer, "A time limit must be longer than nothing.")
