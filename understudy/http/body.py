"""Reading a request's body: within its size and its time, as JSON."""

import asyncio
from typing import Any

from aiohttp import web

from understudy.domain.errors import Invalid, Malformed, TooLarge
from understudy.domain.fault import Fault
from understudy.domain.json_guard import JsonError, decode_json
from understudy.http.limits import HttpLimits
from understudy.http.problems import (
    EXPECTATION_FAILED,
    REQUEST_TIMEOUT,
    TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE,
    Refusal,
    problem,
    problem_response,
)

# Clients that are given bytes call them octets, which tells nothing; no web page can send that without being asked.
_JSON_TYPES = frozenset({"application/json", "application/octet-stream"})
_UTF_8 = frozenset({"", "utf-8", "utf8", "us-ascii"})


async def read_json(request: web.Request, limits: HttpLimits) -> Any:
    """The JSON value of a body that must be there.

    Raises:
        Malformed: it is not JSON.
        TooLarge: it is over its limit.
        Invalid: it is JSON that cannot be stored (see domain/json_guard.py).
        Refusal: 415, 408.
    """
    body = await read_body(request, limits)
    if not body:
        raise Malformed("a JSON body is needed")
    return _decode(body)


async def read_command(request: web.Request, limits: HttpLimits) -> Any:
    """The JSON value of a command's body; an empty body is an empty object. Raises as `read_json`."""
    body = await read_body(request, limits)
    return _decode(body) if body else {}


async def read_body(request: web.Request, limits: HttpLimits) -> bytes:
    """The bytes of a JSON body, refused before they are read where the headers tell enough."""
    length = request.content_length
    if length is not None and length > limits.body_size_max:
        raise _too_large(limits)
    if request.can_read_body:
        _check_type(request)
    content = request.content
    try:
        if content.is_eof():
            body = content.read_nowait()
        else:
            async with asyncio.timeout(limits.body_seconds):
                body = await _read_all(request, limits)
    except TimeoutError:
        detail = f"The body did not arrive within {limits.body_seconds:g} seconds."
        raise Refusal(REQUEST_TIMEOUT, detail) from None
    except (web.RequestPayloadError, ConnectionError):
        raise Malformed("the body ends or is chunked in a way that HTTP does not allow") from None
    if len(body) > limits.body_size_max:
        raise _too_large(limits)
    return body


async def _read_all(request: web.Request, limits: HttpLimits) -> bytes:
    body = bytearray()
    while True:
        chunk = await request.content.readany()
        body += chunk
        if not chunk:
            return bytes(body)
        if len(body) > limits.body_size_max:
            raise _too_large(limits)


def _too_large(limits: HttpLimits) -> TooLarge:
    return TooLarge(f"a body has at most {limits.body_size_max} bytes")


def _check_type(request: web.Request) -> None:
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Refusal(UNSUPPORTED_MEDIA_TYPE, "Send the body without a Content-Encoding.")
    header = request.headers.get("Content-Type")
    if header is None or header == "application/json":
        return
    essence, _, parameters = header.partition(";")
    essence = essence.strip().lower()
    if essence not in _JSON_TYPES and not (essence.startswith("application/") and essence.endswith("+json")):
        raise Refusal(UNSUPPORTED_MEDIA_TYPE, "Send JSON, with the Content-Type application/json.")
    if _charset(parameters) not in _UTF_8:
        raise Refusal(UNSUPPORTED_MEDIA_TYPE, "Send JSON in UTF-8.")


def _charset(parameters: str) -> str:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip('"').lower()
    return ""


def _decode(body: bytes) -> Any:
    try:
        return decode_json(body)
    except JsonError as error:
        if error.malformed:
            raise Malformed(error.message) from None
        raise Invalid("the body holds what cannot be kept", [Fault(error.pointer, error.message)]) from None


def expectation(limits: HttpLimits) -> Any:
    """The handler of `Expect`: it lets a client send its body only when the body's length is within the limit."""

    async def expect(request: web.Request) -> web.StreamResponse | None:
        if request.headers.get("Expect", "").lower() != "100-continue":
            body = problem(EXPECTATION_FAILED, "The only expectation that is met is 100-continue.", request)
        elif (request.content_length or 0) > limits.body_size_max:
            body = problem(TOO_LARGE, str(_too_large(limits)), request)
        else:
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            # The head of the answer proper has yet to be sent.
            request.writer.output_size = 0
            return None
        response = problem_response(body)
        response.force_close()
        return response

    return expect
