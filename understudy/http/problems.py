"""RFC 9457: every error as `application/problem+json`, whoever noticed it.

`type` is one of the `/problems/…` references below; they identify a kind of problem and need not be fetched.
"""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import NamedTuple

from aiohttp import web
from msgspec import UNSET, Struct, UnsetType, json

from understudy.domain.errors import (
    Conflict,
    Invalid,
    KeyReused,
    Malformed,
    NotFound,
    Stale,
    TooLarge,
    UnderstudyError,
    Unreachable,
)
from understudy.domain.fault import Fault
from understudy.http.answers import STANDARD_HEADERS

PROBLEM_TYPE = "application/problem+json; charset=utf-8"
_INSTANCE_MAX = 500
_encode = json.Encoder().encode


class Kind(NamedTuple):
    """A kind of problem."""

    slug: str
    status: int
    title: str


MALFORMED = Kind("malformed-request", 400, "The request cannot be read")
UNAUTHENTICATED = Kind("unauthenticated", 401, "Who are you?")
FORBIDDEN = Kind("forbidden", 403, "This is not allowed")
NOT_FOUND = Kind("not-found", 404, "There is nothing here")
METHOD_NOT_ALLOWED = Kind("method-not-allowed", 405, "The method does not apply here")
NOT_ACCEPTABLE = Kind("not-acceptable", 406, "No such representation")
REQUEST_TIMEOUT = Kind("request-timeout", 408, "The request took too long to arrive")
CONFLICT = Kind("conflict", 409, "The state does not allow it")
STALE = Kind("stale", 412, "Somebody else was quicker")
TOO_LARGE = Kind("too-large", 413, "Over a limit")
UNSUPPORTED_MEDIA_TYPE = Kind("unsupported-media-type", 415, "Not JSON")
EXPECTATION_FAILED = Kind("expectation-failed", 417, "No such expectation")
INVALID = Kind("invalid", 422, "The request breaks the contract")
KEY_REUSED = Kind("idempotency-key-reused", 422, "The idempotency key belongs to another request")
INTERNAL = Kind("internal", 500, "Something is wrong here")
UNAVAILABLE = Kind("unavailable", 503, "Try again later")

_KINDS: Mapping[type[UnderstudyError], Kind] = {
    Malformed: MALFORMED,
    NotFound: NOT_FOUND,
    Conflict: CONFLICT,
    Stale: STALE,
    TooLarge: TOO_LARGE,
    Invalid: INVALID,
    KeyReused: KEY_REUSED,
    Unreachable: UNAVAILABLE,
}
_BY_STATUS = {kind.status: kind for kind in (NOT_FOUND, METHOD_NOT_ALLOWED, TOO_LARGE)}


class Refusal(Exception):
    """A request that HTTP's own rules refuse before the service hears of it."""

    def __init__(self, kind: Kind, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.kind = kind
        self.headers = headers or {}


class FaultBody(Struct, frozen=True):
    """One place that is wrong."""

    pointer: str
    message: str


class ProblemBody(Struct, frozen=True, omit_defaults=True):
    """A problem on the wire; `reference` finds the log line, `servers` tells which server has which problem."""

    type: str
    title: str
    status: int
    detail: str
    instance: str | UnsetType = UNSET
    errors: list[FaultBody] | UnsetType = UNSET
    reference: str | UnsetType = UNSET
    servers: dict[str, str | None] | UnsetType = UNSET


def fault_bodies(faults: Iterable[Fault]) -> list[FaultBody]:
    """Faults as they are written in answers."""
    return [FaultBody(fault.pointer, _clean(fault.message)) for fault in faults]


def problem(kind: Kind, detail: str, request: web.BaseRequest | None) -> ProblemBody:
    """A problem of a kind with a request."""
    instance = UNSET if request is None else path_of(request)
    return ProblemBody(f"/problems/{kind.slug}", kind.title, kind.status, _clean(detail), instance)


def problem_response(body: ProblemBody, headers: Mapping[str, str] | None = None) -> web.Response:
    """The answer that carries a problem."""
    all_headers = {**STANDARD_HEADERS, "Content-Type": PROBLEM_TYPE, **(headers or {})}
    return web.Response(body=_encode(body), status=body.status, headers=all_headers)


def response_to(error: Exception, request: web.BaseRequest) -> web.Response | None:
    """The answer to an error that is meant for the caller; None for one that is not."""
    if isinstance(error, Refusal):
        response = problem_response(problem(error.kind, str(error), request), error.headers)
        if error.kind is REQUEST_TIMEOUT:
            response.force_close()
        return response
    if isinstance(error, UnderstudyError):
        kind = next((_KINDS[parent] for parent in type(error).__mro__ if parent in _KINDS), None)
        return None if kind is None else _response_of(kind, error, request)
    if isinstance(error, web.HTTPException):
        return _response_to_aiohttp(error, request)
    return None


def path_of(request: web.BaseRequest) -> str:
    """The path of a request as printable ASCII."""
    path = request.rel_url.raw_path[:_INSTANCE_MAX]
    return path if path.isascii() and path.isprintable() else path.encode("ascii", "backslashreplace").decode()


def _response_of(kind: Kind, error: UnderstudyError, request: web.BaseRequest) -> web.Response:
    if kind is UNAVAILABLE:
        # What exactly does not answer concerns the operator, and stands in the log.
        body = problem(kind, "A server behind this one does not answer now.", request)
        return problem_response(body, {"Retry-After": "1"})
    body = problem(kind, _sentence(str(error)), request)
    if isinstance(error, Invalid) and error.faults:
        body = _with_errors(body, error.faults)
    return problem_response(body)


def _with_errors(body: ProblemBody, faults: Iterable[Fault]) -> ProblemBody:
    return ProblemBody(body.type, body.title, body.status, body.detail, body.instance, fault_bodies(faults))


def _response_to_aiohttp(error: web.HTTPException, request: web.BaseRequest) -> web.Response:
    headers = {}
    if isinstance(error, web.HTTPMethodNotAllowed):
        allow = ", ".join(sorted(error.allowed_methods))
        headers["Allow"] = allow
        detail = f"This path understands {allow}."
    elif error.status == HTTPStatus.NOT_FOUND:
        detail = "There is no such path."
    else:
        detail = f"{error.reason}."
    kind = _BY_STATUS.get(error.status)
    if kind is None:
        kind = Kind(error.reason.lower().replace(" ", "-"), error.status, error.reason)
    return problem_response(problem(kind, detail, request), headers)


def _sentence(text: str) -> str:
    """A message that begins like one and ends like one."""
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "?", "!")) else f"{text}."


def _clean(text: str) -> str:
    """Text without what UTF-8 cannot carry."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
