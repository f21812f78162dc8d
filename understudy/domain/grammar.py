"""The fields of a definition and of each type of activity, and the rules between the fields of one object."""

from typing import Any

from understudy.domain.fault import Faults
from understudy.domain.request_rules import check_request
from understudy.domain.shape import (
    Field,
    check_anything,
    check_duration,
    check_object,
    check_schema,
    check_text,
    check_time_limit,
    closed,
    integer,
    kind_of,
    listed,
    number,
    one_of,
    pattern,
)

ACTIVITIES_MAX = 200
CASES_MAX = 200
MAX_ATTEMPTS_MAX = 1000
MAX_VISITS_MAX = 1_000_000

_RESERVED_TYPES = frozenset({"parallel", "for_each", "process", "fail"})
_WAITS = frozenset({"for", "until", "event"})
_COMPENSATION = "compensate_with"


def check_definition(value: Any, faults: Faults) -> None:
    """Look at every field of a raw definition, each on its own."""
    check_object(value, "", faults, _DEFINITION)


def _check_activity(value: Any, pointer: str, faults: Faults) -> None:
    if not isinstance(value, dict):
        check_object(value, pointer, faults, _COMMON)
        return
    if _COMPENSATION in value:
        faults.add(f"{pointer}/{_COMPENSATION}", f"The field '{_COMPENSATION}' is reserved and not available yet.")
    kind = value.get("type")
    fields = ACTIVITY_FIELDS.get(kind) if isinstance(kind, str) else None
    if fields is not None:
        known = {name: member for name, member in value.items() if name != _COMPENSATION}
        check_object(known, pointer, faults, fields)
    else:
        # Without a type only the fields that all activities have can be judged, and those that none has where the
        # type itself may be among them.
        judged = value if "type" not in value else {name: value[name] for name in value if name in _COMMON}
        check_object(judged, pointer, faults, _OF_ANY)
    if kind == "wait":
        _check_wait(value, pointer, faults)


def _check_type(value: Any, pointer: str, faults: Faults) -> None:
    if not isinstance(value, str):
        faults.add(pointer, f"This must be a string, not {kind_of(value)}.")
    elif value in _RESERVED_TYPES:
        faults.add(pointer, f"The type '{value}' is reserved and not available yet.")
    elif value not in ACTIVITY_FIELDS:
        faults.add_unknown(pointer, "type of activity", value, ACTIVITY_FIELDS)


def _check_wait(value: dict[str, Any], pointer: str, faults: Faults) -> None:
    chosen = [name for name in value if name in _WAITS]
    if not chosen:
        faults.add(pointer, "A wait needs one of the fields 'for', 'until' and 'event'.")
    for surplus in chosen[1:]:
        faults.add(
            f"{pointer}/{surplus}", f"A wait has one of 'for', 'until' and 'event', and this one has '{chosen[0]}'."
        )
    if chosen and "event" not in chosen and "timeout" in value:
        faults.add(f"{pointer}/timeout", "Only a wait for an event has a timeout; 'for' and 'until' end by themselves.")


_check_name = pattern(
    "[a-z][a-z0-9-]{0,62}", "A name is a lower-case letter and up to 62 lower-case letters, digits and hyphens."
)
_check_id = pattern(
    "[a-z][a-z0-9_]{0,62}", "An id is a lower-case letter and up to 62 lower-case letters, digits and underscores."
)
_check_event_type = pattern(
    "[A-Za-z0-9][A-Za-z0-9_.:/-]{0,199}",
    "An event type is written out: a letter or digit and up to 199 letters, digits and any of _ . : / -",
)
_check_globs = pattern(
    "[A-Za-z0-9_.*-]{1,200}",
    "An error is named by letters, digits, dots, hyphens and underscores, with * for any text.",
)

_RETRY = {
    "max_attempts": Field(integer(1, MAX_ATTEMPTS_MAX)),
    "initial": Field(check_duration),
    "factor": Field(number(1, 1000)),
    "max": Field(check_duration),
    "jitter": Field(one_of("full", "none")),
    "on": Field(listed(_check_globs)),
    "never": Field(listed(_check_globs)),
}
_CATCH = {
    "errors": Field(listed(_check_globs, at_least=1), is_required=True),
    "next": Field(check_text, is_required=True),
}
_CASE = {"when": Field(check_text, is_required=True), "next": Field(check_text, is_required=True)}
_EVENT_FILTER = {"type": Field(_check_event_type, is_required=True), "key": Field(check_text)}

_COMMON = {
    "id": Field(_check_id, is_required=True),
    "type": Field(_check_type, is_required=True),
    "description": Field(check_text),
    "timeout": Field(check_time_limit),
    "deadline": Field(check_time_limit),
    "retry": Field(closed(_RETRY)),
    "catch": Field(listed(closed(_CATCH))),
    "next": Field(check_text),
    "max_visits": Field(integer(1, MAX_VISITS_MAX)),
}
ACTIVITY_FIELDS = {
    "http": _COMMON
    | {
        "request": Field(check_request, is_required=True),
        "expect": Field(listed(integer(100, 599), at_least=1)),
        "on_unknown": Field(one_of("retry", "retry_after_timeout", "park")),
    },
    "event": _COMMON
    | {
        "event": Field(_check_event_type, is_required=True),
        "data": Field(check_anything),
        "key": Field(check_text),
    },
    "wait": _COMMON
    | {
        "for": Field(check_text),
        "until": Field(check_text),
        "event": Field(closed(_EVENT_FILTER)),
    },
    "decision": _COMMON
    | {
        "cases": Field(listed(closed(_CASE), at_least=1, at_most=CASES_MAX), is_required=True),
        "otherwise": Field(check_text),
    },
    "transform": _COMMON | {"output": Field(check_anything, is_required=True)},
    "manual": _COMMON
    | {
        "title": Field(check_text),
        "instructions": Field(check_text),
        "form": Field(check_schema),
        "assignee": Field(check_text),
    },
}
_OF_ANY = {name: Field(check_anything) for fields in ACTIVITY_FIELDS.values() for name in fields} | {
    _COMPENSATION: Field(check_anything)
}
_OF_ANY |= _COMMON
_DEFINITION = {
    "name": Field(_check_name, is_required=True),
    "description": Field(check_text),
    "input": Field(check_schema),
    "start": Field(check_text),
    "timeout": Field(check_time_limit),
    "activities": Field(listed(_check_activity, at_least=1, at_most=ACTIVITIES_MAX), is_required=True),
    "output": Field(check_anything),
}
