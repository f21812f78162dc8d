"""What runs where at this moment."""

from aiohttp import web

from understudy.domain.errors import NotFound
from understudy.domain.live import ActorFilter
from understudy.http.answers import answer
from understudy.http.limits import HttpLimits
from understudy.http.paging import id_cursor, id_of, limit_of, page
from understudy.http.ports import Nodes
from understudy.http.query import definition_of, read_query, state_of
from understudy.http.schemas import Listing, actor_body
from understudy.http.table import Route, process_id_of


class AdminRoutes:
    """`/admin`."""

    def __init__(self, nodes: Nodes, limits: HttpLimits) -> None:
        self._nodes = nodes
        self._limits = limits

    def table(self) -> list[Route]:
        return [
            Route("GET", "/admin/nodes", self.nodes),
            Route("GET", "/admin/actors", self.actors),
            Route("GET", "/admin/actors/{process_id}", self.actor),
        ]

    async def nodes(self, request: web.Request) -> web.Response:
        read_query(request)
        return answer(Listing(await self._nodes.nodes(), None))

    async def actors(self, request: web.Request) -> web.Response:
        """List live actors in the order of their process ids."""
        query = read_query(request, ("node", "definition", "state", "limit", "cursor"))
        limit = limit_of(query, self._limits)
        name, version = definition_of(query)
        wanted = ActorFilter(query.get("node"), name, version, state_of(query), id_of(query, b"l"), limit + 1)
        found = self._nodes.actors(wanted)
        return answer(page(found, limit, actor_body, lambda view: id_cursor(b"l", view.process_id)))

    async def actor(self, request: web.Request) -> web.Response:
        read_query(request)
        process_id = process_id_of(request)
        found = self._nodes.actor(process_id)
        if found is None:
            raise NotFound(f"process {process_id} has no live actor here")
        return answer(actor_body(found))
