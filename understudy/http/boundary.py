"""The one middleware: who calls, what became of the call, and a log line about it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from aiohttp import web
from structlog.typing import FilteringBoundLogger

from understudy.domain.errors import Unreachable
from understudy.http.auth import Authenticator, check_role
from understudy.http.headers import CALLER
from understudy.http.origin import check_origin
from understudy.http.problems import INTERNAL, ProblemBody, path_of, problem, problem_response, response_to

PROCESS_ID = web.RequestKey("process_id", UUID)
PROBES = frozenset({"/livez", "/readyz"})

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def boundary(auth: Authenticator, log: FilteringBoundLogger, make_reference: Callable[[], str]) -> Any:
    """The middleware that everything passes."""
    # Bound here, as finding the configuration again for each line costs as much as the line.
    log = log.bind()

    @web.middleware
    async def cross(request: web.Request, handler: Handler) -> web.StreamResponse:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        path = _template(request)
        try:
            if path not in PROBES:
                _admit(request, auth, path)
            response = await handler(request)
        except Exception as error:  # noqa: BLE001 - no error leaves without an answer and a log line
            response = _answer_to(error, request, log, make_reference)
        said = log.debug if path in PROBES else log.info
        said(
            "http.request",
            method=request.method,
            path=path,
            status=response.status,
            duration_ms=round((loop.time() - begun) * 1000, 3),
            **_context(request),
        )
        return response

    return cross


def _template(request: web.Request) -> str:
    """The path with names in place of ids; the path itself when it leads nowhere."""
    resource = request.match_info.route.resource
    return path_of(request) if resource is None else resource.canonical


def _admit(request: web.Request, auth: Authenticator, path: str) -> None:
    check_origin(request, is_open=auth.is_open)
    caller = auth.caller(request.headers.get("Authorization"))
    request[CALLER] = caller
    check_role(caller, request.method, is_administrative=path.startswith("/admin/"))


def _context(request: web.Request) -> dict[str, str]:
    context = {}
    if PROCESS_ID in request:
        context["process_id"] = str(request[PROCESS_ID])
    if CALLER in request:
        context["caller"] = request[CALLER].name
    return context


def _answer_to(
    error: Exception, request: web.Request, log: FilteringBoundLogger, make_reference: Callable[[], str]
) -> web.Response:
    response = response_to(error, request)
    if response is None:
        reference = make_reference()
        log.error("http.failure", reference=reference, exc_info=error, **_context(request))
        detail = f"The request met an error; the log tells more under the reference {reference}."
        body = problem(INTERNAL, detail, request)
        return problem_response(
            ProblemBody(body.type, body.title, body.status, body.detail, body.instance, reference=reference)
        )
    if isinstance(error, Unreachable):
        log.warning("http.unavailable", reason=str(error), **_context(request))
    return response
