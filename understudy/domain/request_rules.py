"""What an outgoing request may look like; where it leads is judged at run time, by the address it resolves to."""

import re
from typing import Any

from understudy.domain.expression.template import Text
from understudy.domain.fault import Faults
from understudy.domain.pointer import escape, shown
from understudy.domain.shape import (
    Field,
    check_anything,
    check_object,
    check_text,
    kind_of,
    mapped,
)

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
RESERVED_HEADERS = frozenset({"host", "content-length", "transfer-encoding", "connection", "idempotency-key"})
CONTENTS = ("body", "form", "text")

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_SCHEME = re.compile(r"https?://", re.IGNORECASE)
_AUTHORITY = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^\s/?#@\[\]:\\%]+)(?::(?P<port>[0-9]{1,5}))?")
_AFTER_HOST = re.compile(r"/(?!/)|\?")
_BLANK = re.compile(r"[\x00-\x20\x7f\\]")


def check_request(value: Any, pointer: str, faults: Faults) -> None:
    """Look at the fields of a request and at the rules between them."""
    check_object(value, pointer, faults, _REQUEST)
    if not isinstance(value, dict):
        return
    contents = [name for name in value if name in CONTENTS]
    for surplus in contents[1:]:
        message = f"A request has one of 'body', 'form' and 'text', and this one has '{contents[0]}'."
        faults.add(f"{pointer}/{surplus}", message)
    if contents and value.get("method") in ("GET", "HEAD"):
        faults.add(f"{pointer}/{contents[0]}", f"A {value['method']} request has no content.")


def check_url(text: Text, pointer: str, faults: Faults) -> None:
    """Look at what stands literally in a URL: where it leads must come from there alone, or from one expression."""
    literal, is_constant = text.prefix, text.is_constant
    if not literal and not is_constant:
        if text.next_literal and not _AFTER_HOST.match(text.next_literal):
            faults.add(
                pointer, "An expression that gives the start of a URL gives scheme, host and port: / or ? follow."
            )
        return
    scheme = _SCHEME.match(literal)
    if scheme is None:
        faults.add(pointer, "A URL starts with http:// or https://, or with one expression that gives the start of it.")
        return
    if _BLANK.search(literal):
        faults.add(pointer, "A URL has no blanks, backslashes or control characters.")
        return
    if "#" in literal:
        faults.add(pointer, "A URL of a request has no fragment (#).")
        return
    authority = re.split(r"[/?]", literal[scheme.end() :], maxsplit=1)
    if len(authority) == 1 and not is_constant:
        message = (
            "The host must be complete, with a / after it, before the first expression; or the URL starts with one."
        )
        faults.add(pointer, message)
    elif "@" in authority[0]:
        faults.add(pointer, "A URL carries no user name or password; use a header and a secret.")
    elif (match := _AUTHORITY.fullmatch(authority[0])) is None or not 0 < int(match["port"] or 80) < 65536:
        faults.add(pointer, f"{shown(authority[0])} is no host, or its port is none.")


def _check_method(value: Any, pointer: str, faults: Faults) -> None:
    if not isinstance(value, str):
        faults.add(pointer, f"This must be a string, not {kind_of(value)}.")
    elif value not in METHODS:
        faults.add_unknown(pointer, "method", value, METHODS)


def _check_headers(value: Any, pointer: str, faults: Faults) -> None:
    mapped(_check_header_value)(value, pointer, faults)
    seen: dict[str, str] = {}
    for name in value if isinstance(value, dict) else ():
        here = f"{pointer}/{escape(name)}"
        if not _TOKEN.fullmatch(name):
            faults.add(here, f"{shown(name)} cannot be the name of a header.")
        elif name.lower() in RESERVED_HEADERS:
            faults.add(here, f"The header {shown(name)} is set by the engine.")
        elif name.lower() in seen:
            faults.add(here, f"This is the header {shown(seen[name.lower()])} again.")
        seen.setdefault(name.lower(), name)


def _check_header_value(value: Any, pointer: str, faults: Faults) -> None:
    if not isinstance(value, str):
        faults.add(pointer, f"This must be a string, not {kind_of(value)}.")
    elif _CONTROL.search(value):
        faults.add(pointer, "A header has no line breaks or control characters.")


def _check_parameter(value: Any, pointer: str, faults: Faults) -> None:
    for index, element in enumerate(value) if isinstance(value, list) else [(None, value)]:
        if not isinstance(element, str | int | float):
            here = pointer if index is None else f"{pointer}/{index}"
            faults.add(here, f"This must be a string, a number, a boolean or a list of them, not {kind_of(element)}.")


_REQUEST = {
    "method": Field(_check_method, is_required=True),
    "url": Field(check_text, is_required=True),
    "headers": Field(_check_headers),
    "query": Field(mapped(_check_parameter)),
    "body": Field(check_anything),
    "form": Field(mapped(_check_parameter)),
    "text": Field(check_text),
}
