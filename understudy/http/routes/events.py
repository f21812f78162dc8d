"""Announcing external events."""

from uuid import UUID

from aiohttp import web

from understudy.http.answers import REPLAYED, answer
from understudy.http.body import read_json
from understudy.http.headers import call_of
from understudy.http.limits import HttpLimits
from understudy.http.query import read_query
from understudy.http.requests import event_request
from understudy.http.schemas import EventBody
from understudy.http.table import Route, process_id_of
from understudy.runtime.service import Service


class EventRoutes:
    """`/events` and `/processes/{process_id}/events`."""

    def __init__(self, service: Service, limits: HttpLimits) -> None:
        self._service = service
        self._limits = limits

    def table(self) -> list[Route]:
        return [
            Route("POST", "/events", self.announce),
            Route("POST", "/processes/{process_id}/events", self.announce_to),
        ]

    async def announce(self, request: web.Request) -> web.Response:
        return await self._announce(request, None)

    async def announce_to(self, request: web.Request) -> web.Response:
        return await self._announce(request, process_id_of(request))

    async def _announce(self, request: web.Request, process_id: UUID | None) -> web.Response:
        read_query(request)
        call = call_of(request)
        event = event_request(await read_json(request, self._limits))
        accepted = await self._service.announce(event, call, process_id)
        body = EventBody(accepted.event_id, accepted.delivered)
        return answer(body, accepted.status, REPLAYED if accepted.is_replay else None)
