"""The expressions of a raw definition: whether they compile, and whether what they refer to exists."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from understudy.domain.duration import DurationError, parse_duration
from understudy.domain.expression.compiler import compile_expression
from understudy.domain.expression.errors import ExpressionError
from understudy.domain.expression.template import TemplateError, Text, compile_template, compile_text
from understudy.domain.fault import Faults
from understudy.domain.instant import InstantError, parse_instant
from understudy.domain.places import Place, conditions_of, templates_of
from understudy.domain.pointer import escape, shown
from understudy.domain.request_rules import check_url

_ROOTS = ("input", "activities", "process", "secrets")
_ACTIVITY_FIELDS = ("output", "error", "state")
_PROCESS_FIELDS = ("id", "key", "started_at")


class _Scope(NamedTuple):
    """What an expression may refer to at its place."""

    ids: dict[str, None]
    has_secrets: bool = False


def check_expressions(definition: dict[str, Any], activities: list[dict[str, Any]], faults: Faults) -> None:
    """Look at every template and condition."""
    ids = {activity["id"]: None for activity in activities if isinstance(activity.get("id"), str)}
    for index, activity in enumerate(activities):
        pointer = f"/activities/{index}"
        scope = _Scope(ids, has_secrets=activity.get("type") == "http")
        for place, value in templates_of(activity):
            here = "/".join((pointer, *place.path))
            if place.is_text:
                _check_text(place, value, here, scope, faults)
            else:
                _check_template(value, here, scope, faults)
        for number, condition in conditions_of(activity):
            _check_condition(condition, f"{pointer}/cases/{number}/when", scope, faults)
    if "output" in definition:
        _check_template(definition["output"], "/output", _Scope(ids), faults)


def _check_text(place: Place, value: str, pointer: str, scope: _Scope, faults: Faults) -> None:
    try:
        text = compile_text(value)
    except TemplateError as error:
        for fault in error.faults:
            faults.add(pointer, fault.message)
        return
    _check_references(text.references, pointer, scope, faults)
    if place.name == "url":
        check_url(text, pointer, faults)
    elif text.is_constant:
        _check_constant(place, text, pointer, faults)


def _check_constant(place: Place, text: Text, pointer: str, faults: Faults) -> None:
    try:
        if place.name == "for":
            parse_duration(text.prefix)
        elif place.name == "until":
            parse_instant(text.prefix)
    except (DurationError, InstantError) as error:
        faults.add(pointer, f"{shown(text.prefix)} cannot be waited for: {error}.")


def _check_template(value: Any, pointer: str, scope: _Scope, faults: Faults) -> None:
    try:
        compile_template(value)
    except TemplateError as error:
        for fault in error.faults:
            faults.add(pointer + fault.pointer, fault.message)
    # String by string, as a fault is to point at the one that refers to what is not there.
    for path, text in _strings(value):
        try:
            references = compile_template(text).references
        except TemplateError:
            continue
        _check_references(references, pointer + path, scope, faults)


def _check_condition(source: str, pointer: str, scope: _Scope, faults: Faults) -> None:
    try:
        references = compile_expression(source).references
    except ExpressionError as error:
        is_template = error.position is not None and source.startswith("${", error.position)
        hint = "`when` is a bare expression: write it without ${…}."
        faults.add(pointer, hint if is_template else error.message)
    else:
        _check_references(references, pointer, scope, faults)


def _check_references(references: Iterable[tuple[str, ...]], pointer: str, scope: _Scope, faults: Faults) -> None:
    for reference in sorted(references):
        match reference:
            case ("secrets", *_) if not scope.has_secrets:
                faults.add(pointer, "Secrets can be used in the request of an http activity only.")
            case ("secrets",):
                faults.add(pointer, "A secret is used by its name, as in secrets.API_KEY.")
            case ("activities", name, *_) if name not in scope.ids:
                faults.add_unknown(pointer, "activity", name, scope.ids)
            case ("activities", _, field, *_) if field not in _ACTIVITY_FIELDS:
                faults.add_unknown(pointer, "field of an activity", field, _ACTIVITY_FIELDS)
            case ("process", field, *_) if field not in _PROCESS_FIELDS:
                faults.add_unknown(pointer, "field of process", field, _PROCESS_FIELDS)
            case (root, *_) if root not in _ROOTS:
                faults.add_unknown(pointer, "name", root, _ROOTS if scope.has_secrets else _ROOTS[:-1])


def _strings(value: Any, pointer: str = "") -> Iterator[tuple[str, str]]:
    """Every string that may hold an expression, with its pointer."""
    if isinstance(value, str):
        if "${" in value:
            yield pointer, value
    elif isinstance(value, dict):
        for key, member in value.items():
            yield from _strings(member, f"{pointer}/{escape(key)}")
    elif isinstance(value, list):
        for index, element in enumerate(value):
            yield from _strings(element, f"{pointer}/{index}")
