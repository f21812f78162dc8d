"""Bodies of calls: closed objects, every fault of them at once, then a request of the service."""

import re
from collections.abc import Mapping
from typing import Any

from understudy.domain.errors import Invalid
from understudy.domain.fault import Faults
from understudy.domain.pointer import escape
from understudy.domain.shape import Check, Field, check_anything, check_object, kind_of, one_of, pattern
from understudy.runtime.calls import AnswerRequest, EventRequest, StartRequest

KEY_LENGTH_MAX = 255
LABELS_MAX = 32
LABEL_VALUE_LENGTH_MAX = 255
REASON_LENGTH_MAX = 1_000

_LABEL_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,62}", re.ASCII)


def start_request(body: Any) -> StartRequest:
    """The request in the body of `POST /processes`; raises Invalid."""
    fields = _checked(body, _START)
    return StartRequest(fields["definition"], fields.get("input"), fields.get("key"), fields.get("labels") or {})


def answer_request(body: Any) -> AnswerRequest:
    """The request in the body of an answer to a manual activity; raises Invalid."""
    fields = _checked(body, _ANSWER)
    return AnswerRequest(fields.get("outcome", "complete"), fields.get("output"), fields.get("error"))


def event_request(body: Any) -> EventRequest:
    """The request in the body of an event; raises Invalid."""
    fields = _checked(body, _EVENT)
    return EventRequest(fields["type"], fields.get("key"), fields.get("id"), fields.get("data"))


def cancel_reason(body: Any) -> str | None:
    """The reason in the body of a cancellation; raises Invalid."""
    reason: str | None = _checked(body, _CANCEL).get("reason")
    return reason


def refuse_fields(body: Any) -> None:
    """Nothing may stand in the body of a command that takes nothing; raises Invalid."""
    _checked(body, {})


def _checked(body: Any, fields: Mapping[str, Field]) -> dict[str, Any]:
    faults = Faults()
    check_object(body, "", faults, fields)
    if faults:
        raise Invalid("the body breaks the contract", faults)
    checked: dict[str, Any] = body
    return checked


def _text(length_max: int, length_min: int = 0) -> Check:
    """The check of an optional text; null is none."""

    def check_length(value: Any, pointer: str, faults: Faults) -> None:
        if value is None:
            return
        if not isinstance(value, str):
            faults.add(pointer, f"This must be a string, not {kind_of(value)}.")
        elif not length_min <= len(value) <= length_max:
            faults.add(pointer, f"This has {len(value)} characters; from {length_min} to {length_max} are allowed.")

    return check_length


def _check_reference(value: Any, pointer: str, faults: Faults) -> None:
    if not isinstance(value, str | dict):
        faults.add(pointer, f"This must be a name, name@version or a whole definition, not {kind_of(value)}.")


def _check_labels(value: Any, pointer: str, faults: Faults) -> None:
    if value is None:
        return
    if not isinstance(value, dict):
        faults.add(pointer, f"This must be an object, not {kind_of(value)}.")
        return
    if len(value) > LABELS_MAX:
        faults.add(pointer, f"There are {len(value)} labels; at most {LABELS_MAX} are allowed.")
        return
    for key, text in value.items():
        here = f"{pointer}/{escape(key)}"
        if not _LABEL_KEY.fullmatch(key):
            faults.add(here, "A label's key has 1 to 63 letters, digits, and after the first also any of '_./-'.")
        if not isinstance(text, str):
            faults.add(here, f"This must be a string, not {kind_of(text)}.")
        elif len(text) > LABEL_VALUE_LENGTH_MAX:
            faults.add(here, f"This has {len(text)} characters; at most {LABEL_VALUE_LENGTH_MAX} are allowed.")


_check_event_type = pattern(
    "[A-Za-z0-9_.:/-]{1,255}", "The type of an event has 1 to 255 letters, digits and any of _ . : / -"
)

_START = {
    "definition": Field(_check_reference, is_required=True),
    "input": Field(check_anything),
    "key": Field(_text(KEY_LENGTH_MAX)),
    "labels": Field(_check_labels),
}
_ANSWER = {
    "outcome": Field(one_of("complete", "fail")),
    "output": Field(check_anything),
    "error": Field(check_anything),
}
_EVENT = {
    "type": Field(_check_event_type, is_required=True),
    "key": Field(_text(KEY_LENGTH_MAX)),
    "id": Field(_text(KEY_LENGTH_MAX, 1)),
    "data": Field(check_anything),
}
_CANCEL = {"reason": Field(_text(REASON_LENGTH_MAX))}
