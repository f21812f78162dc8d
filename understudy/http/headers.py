"""What the headers of a call say about it."""

import re

from aiohttp import web

from understudy.domain.errors import Malformed, Stale
from understudy.http.auth import Caller
from understudy.http.problems import NOT_ACCEPTABLE, Refusal
from understudy.runtime.calls import Call

CALLER = web.RequestKey("caller", Caller)

_IDEMPOTENCY_KEY = re.compile(r"[ -~]{1,255}", re.ASCII)
_VERSION = re.compile(r'(\d{1,19})|"(\d{1,19})"', re.ASCII)
_TAG = re.compile(r'(?:W/)?"[!#-~]*"', re.ASCII)


def call_of(request: web.Request, *, is_conditional: bool = False) -> Call:
    """Where a mutating call came in; a conditional one honours `If-Match`.

    Raises:
        Malformed: a header cannot be read.
        Stale: the header names no version that there could be.
    """
    if_match = _if_match(request) if is_conditional else None
    return Call(request.method, request.path, _idempotency_key(request), request[CALLER].name, if_match)


def _idempotency_key(request: web.Request) -> str | None:
    values = request.headers.getall("Idempotency-Key", None)
    if values is None:
        return None
    if len(values) > 1 or not _IDEMPOTENCY_KEY.fullmatch(values[0]):
        raise Malformed("Idempotency-Key has 1 to 255 printable ASCII characters and stands once")
    return values[0]


def _if_match(request: web.Request) -> int | None:
    values = request.headers.getall("If-Match", None)
    if values is None or values == ["*"]:
        return None
    if len(values) == 1 and (version := _VERSION.fullmatch(values[0])):
        return int(version[1] or version[2])
    if len(values) == 1 and _TAG.fullmatch(values[0]):
        raise Stale("If-Match names no version: send the ETag of the process as it was given, not a weak one")
    raise Malformed('If-Match is one version such as "3", or *')


def refuse_stream(request: web.Request) -> None:
    """Refuse a client that takes nothing but a stream of events.

    Raises:
        Refusal: 406.
    """
    accepted = [part.partition(";")[0].strip().lower() for part in request.headers.get("Accept", "").split(",")]
    if accepted == ["text/event-stream"]:
        raise Refusal(NOT_ACCEPTABLE, "The history is answered as application/json; ask again with ?after=.")
