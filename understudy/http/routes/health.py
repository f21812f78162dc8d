"""Probes: is the gateway alive, and are the servers behind it."""

import asyncio

from aiohttp import web
from msgspec import Raw
from msgspec.structs import replace

from understudy.http.answers import answer
from understudy.http.limits import HttpLimits
from understudy.http.ports import Health
from understudy.http.problems import UNAVAILABLE, problem, problem_response
from understudy.http.query import read_query
from understudy.http.table import Route

_ALIVE = Raw(b'{"status":"alive"}')


class HealthRoutes:
    """`/livez` and `/readyz`."""

    def __init__(self, health: Health, limits: HttpLimits) -> None:
        self._health = health
        self._limits = limits

    def table(self) -> list[Route]:
        return [Route("GET", "/livez", self.livez), Route("GET", "/readyz", self.readyz)]

    async def livez(self, request: web.Request) -> web.Response:
        read_query(request)
        return answer(_ALIVE)

    async def readyz(self, request: web.Request) -> web.Response:
        """Ready when every server is."""
        read_query(request)
        try:
            async with asyncio.timeout(self._limits.ready_seconds):
                servers = await self._health.ready()
        except TimeoutError:
            return problem_response(problem(UNAVAILABLE, "The servers do not answer in time.", request))
        down = sorted(name for name, trouble in servers.items() if trouble is not None)
        if not down:
            return answer({"status": "ready", "servers": servers})
        body = problem(UNAVAILABLE, f"Not ready: {', '.join(down)}.", request)
        return problem_response(replace(body, servers=servers))
