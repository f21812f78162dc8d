"""Successful answers: JSON bytes with the headers that every answer has."""

from collections.abc import Mapping
from typing import Any

from aiohttp import web
from msgspec import json

STANDARD_HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Server": "understudy",
}
REPLAYED = {"Idempotency-Replayed": "true"}

_HEADERS = {"Content-Type": "application/json; charset=utf-8", **STANDARD_HEADERS}
_encode = json.Encoder().encode


def answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """An answer that carries a value as JSON."""
    return web.Response(body=_encode(value), status=status, headers={**_HEADERS, **headers} if headers else _HEADERS)
