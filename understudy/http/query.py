"""Query parameters: each is known, stands once and can be read, or the request is malformed."""

import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime

from aiohttp import web

from understudy.domain.duration import DurationError, parse_duration
from understudy.domain.errors import Malformed
from understudy.domain.fault import Faults
from understudy.domain.instant import InstantError, parse_instant
from understudy.domain.pointer import shown
from understudy.domain.states import ProcessState
from understudy.http.limits import HttpLimits
from understudy.http.requests import KEY_LENGTH_MAX

VERSION_MAX = 2**31 - 1
SEQ_MAX = 2**63 - 1

_DIGITS = re.compile(r"\d{1,19}", re.ASCII)
_SECONDS = re.compile(r"\d{1,9}(?:\.\d{1,9})?", re.ASCII)
_DEFINITION = re.compile(r"([a-z][a-z0-9-]{0,62})(?:@(\d{1,9}))?", re.ASCII)
_OFFSET_WITHOUT_PLUS = re.compile(r" (\d{2}:\d{2})$", re.ASCII)
_STATES = {state.value: state for state in ProcessState}
_NOTHING: Mapping[str, str] = {}


def read_query(request: web.Request, known: Collection[str] = ()) -> Mapping[str, str]:
    """The query parameters of a request.

    Raises:
        Malformed: one is not known, stands twice, or holds what is no text.
    """
    if not request.rel_url.raw_query_string:
        return _NOTHING
    query: dict[str, str] = {}
    for name, value in request.query.items():
        if name not in known:
            raise _unknown("query parameter", name, known)
        if name in query:
            raise Malformed(f"the query parameter {name} stands twice")
        if "\0" in value or not _is_text(value):
            raise Malformed(f"the query parameter {name} holds what is no text")
        query[name] = value
    return query


def _unknown(noun: str, name: str, known: Collection[str]) -> Malformed:
    faults = Faults()
    faults.add_unknown("", noun, name, known)
    return Malformed(faults[0].message)


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def whole_number(query: Mapping[str, str], name: str, low: int, high: int, *, default: int) -> int:
    """A parameter that is a whole number within bounds."""
    text = query.get(name)
    if text is None:
        return default
    if not _DIGITS.fullmatch(text) or not low <= int(text) <= high:
        raise Malformed(f"{name} is a whole number from {low} to {high}, not {shown(text)}")
    return int(text)


def version_of(query: Mapping[str, str]) -> int | None:
    """The version that is asked for."""
    return whole_number(query, "version", 1, VERSION_MAX, default=0) or None


def wait_of(query: Mapping[str, str], limits: HttpLimits) -> float | None:
    """For how many seconds the answer may be held; "30s", "PT30S" and "30" are the same."""
    text = query.get("wait")
    if text is None:
        return None
    try:
        seconds = float(text) if _SECONDS.fullmatch(text) else parse_duration(text).total_seconds()
    except DurationError as error:
        raise Malformed(f"wait is {shown(text)}: {error}") from None
    if seconds > limits.wait_seconds_max:
        raise Malformed(f"wait is at most {limits.wait_seconds_max:g}s, not {shown(text)}")
    return seconds


def state_of(query: Mapping[str, str]) -> ProcessState | None:
    """The state that is asked for."""
    text = query.get("state")
    if text is None:
        return None
    state = _STATES.get(text)
    if state is None:
        raise _unknown("state", text, _STATES)
    return state


def definition_of(query: Mapping[str, str]) -> tuple[str | None, int | None]:
    """The definition that is asked for, "name" or "name@version"."""
    text = query.get("definition")
    if text is None:
        return None, None
    match = _DEFINITION.fullmatch(text)
    if match is None:
        raise Malformed(f"a definition is written as name or name@version, not {shown(text)}")
    return match[1], int(match[2]) if match[2] else None


def label_of(query: Mapping[str, str]) -> tuple[str, str] | None:
    """The label that is asked for, "key:value"."""
    text = query.get("label")
    if text is None:
        return None
    key, colon, value = text.partition(":")
    if not key or not colon:
        raise Malformed(f"a label is written as key:value, not {shown(text)}")
    return key, value


def key_of(query: Mapping[str, str]) -> str | None:
    """The process key that is asked for."""
    text = query.get("key")
    if text is not None and len(text) > KEY_LENGTH_MAX:
        raise Malformed(f"a key has at most {KEY_LENGTH_MAX} characters")
    return text


def instant_of(query: Mapping[str, str], name: str) -> datetime | None:
    """A parameter that is a time, in UTC; a plus sign may have become a space on its way."""
    text = query.get(name)
    if text is None:
        return None
    try:
        return parse_instant(_OFFSET_WITHOUT_PLUS.sub(r"+\1", text)).astimezone(UTC)
    except (InstantError, OverflowError) as error:
        raise Malformed(f"{name} is {shown(text)}: {error}") from None
