"""Publishing, reading and checking definitions."""

import re

from aiohttp import web

from understudy.domain.errors import Invalid, NotFound
from understudy.domain.fault import Fault
from understudy.domain.pointer import shown
from understudy.http.answers import REPLAYED, answer
from understudy.http.body import read_json
from understudy.http.headers import call_of
from understudy.http.limits import HttpLimits
from understudy.http.paging import limit_of, name_cursor, name_of, number_cursor, number_of, page
from understudy.http.problems import fault_bodies
from understudy.http.query import VERSION_MAX, read_query, version_of
from understudy.http.schemas import definition_body, definition_item
from understudy.http.table import Route
from understudy.runtime.service import Service

_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}", re.ASCII)


class DefinitionRoutes:
    """`/definitions`."""

    def __init__(self, service: Service, limits: HttpLimits) -> None:
        self._service = service
        self._limits = limits

    def table(self) -> list[Route]:
        return [
            Route("GET", "/definitions", self.latest),
            Route("POST", "/definitions:validate", self.validate),
            Route("PUT", "/definitions/{name}", self.publish),
            Route("GET", "/definitions/{name}", self.show),
            Route("GET", "/definitions/{name}/versions", self.versions),
        ]

    async def publish(self, request: web.Request) -> web.Response:
        """Publish a definition under the name in the path."""
        read_query(request)
        call = call_of(request)
        name = request.match_info["name"]
        raw = await read_json(request, self._limits)
        if not _NAME.fullmatch(name):
            faults = self._service.validate(raw) or [Fault("/name", f"The path says {shown(name)}.")]
            raise Invalid("the definition has faults", faults)
        published = await self._service.publish(name, raw, call)
        version = published.definition
        headers = {"Location": f"/definitions/{version.name}?version={version.version}"}
        return answer(
            definition_body(version), published.status, headers | REPLAYED if published.is_replay else headers
        )

    async def validate(self, request: web.Request) -> web.Response:
        """Tell every fault of a definition; one that could not even be stored has its fault like any other."""
        read_query(request)
        try:
            faults = self._service.validate(await read_json(request, self._limits))
        except Invalid as refused:
            faults = list(refused.faults)
        return answer({"valid": not faults, "errors": fault_bodies(faults)})

    async def show(self, request: web.Request) -> web.Response:
        version = version_of(read_query(request, ("version",)))
        return answer(definition_body(await self._service.definition(_name_of(request), version)))

    async def latest(self, request: web.Request) -> web.Response:
        query = read_query(request, ("limit", "cursor"))
        limit = limit_of(query, self._limits)
        found = await self._service.definitions(limit + 1, name_of(query))
        return answer(page(found, limit, definition_item, lambda version: name_cursor(version.name)))

    async def versions(self, request: web.Request) -> web.Response:
        query = read_query(request, ("limit", "cursor"))
        limit = limit_of(query, self._limits)
        found = await self._service.versions(_name_of(request), limit + 1, number_of(query, b"v", VERSION_MAX))
        return answer(page(found, limit, definition_item, lambda version: number_cursor(b"v", version.version)))


def _name_of(request: web.Request) -> str:
    name = request.match_info["name"]
    if not _NAME.fullmatch(name):
        raise NotFound(f"no definition {shown(name)}")
    return name
