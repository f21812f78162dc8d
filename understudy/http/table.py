"""How a family of routes presents itself, and what stands in their paths."""

import re
from collections.abc import Awaitable, Callable
from typing import NamedTuple
from uuid import UUID

from aiohttp import web

from understudy.domain.errors import NotFound
from understudy.domain.pointer import shown
from understudy.http.boundary import PROCESS_ID

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)


class Route(NamedTuple):
    """One call."""

    method: str
    path: str
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]]


def process_id_of(request: web.Request) -> UUID:
    """The process in the path; raises NotFound for what cannot be an id."""
    process_id = request[PROCESS_ID] = _id_of(request, "process_id", "process")
    return process_id


def node_id_of(request: web.Request) -> UUID:
    """The node in the path; raises NotFound for what cannot be an id."""
    return _id_of(request, "node_id", "node")


def _id_of(request: web.Request, name: str, noun: str) -> UUID:
    text = request.match_info[name]
    if not _UUID.fullmatch(text):
        raise NotFound(f"no {noun} {shown(text)}")
    return UUID(text)
