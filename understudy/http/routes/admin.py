"""What runs where at this moment."""

from aiohttp import web

from understudy.domain.cache import Targets
from understudy.domain.errors import NotFound
from understudy.domain.live import ActorFilter
from understudy.http.answers import answer
from understudy.http.body import read_command
from understudy.http.headers import call_of
from understudy.http.limits import HttpLimits
from understudy.http.paging import id_cursor, id_of, limit_of, page
from understudy.http.ports import Nodes
from understudy.http.query import definition_of, read_query, state_of
from understudy.http.requests import refuse_fields
from understudy.http.schemas import Listing, LiveListing, actor_body
from understudy.http.table import Route, node_id_of, process_id_of


class AdminRoutes:
    """`/admin`."""

    def __init__(self, nodes: Nodes, targets: Targets, limits: HttpLimits) -> None:
        self._nodes = nodes
        self._targets = targets
        self._limits = limits

    def table(self) -> list[Route]:
        return [
            Route("GET", "/admin/nodes", self.nodes),
            Route("POST", "/admin/nodes/{node_id}/drain", self.drain),
            Route("GET", "/admin/actors", self.actors),
            Route("GET", "/admin/actors/{process_id}", self.actor),
            Route("GET", "/admin/targets", self.targets),
        ]

    async def nodes(self, request: web.Request) -> web.Response:
        read_query(request)
        known = await self._nodes.nodes()
        return answer(LiveListing(list(known.nodes), None, known.unanswered))

    async def drain(self, request: web.Request) -> web.Response:
        read_query(request)
        node_id = node_id_of(request)
        # Draining twice is draining once, so the key of the call need not be remembered.
        call_of(request)
        refuse_fields(await read_command(request, self._limits))
        return answer(await self._nodes.drain(node_id), 202)

    async def actors(self, request: web.Request) -> web.Response:
        """List live actors of all nodes in the order of their process ids."""
        query = read_query(request, ("node", "definition", "state", "limit", "cursor"))
        limit = limit_of(query, self._limits)
        name, version = definition_of(query)
        wanted = ActorFilter(query.get("node"), name, version, state_of(query), id_of(query, b"l"), limit + 1)
        found = await self._nodes.actors(wanted)
        listed = page(list(found.actors), limit, actor_body, lambda view: id_cursor(b"l", view.process_id))
        return answer(LiveListing(listed.items, listed.next_cursor, found.unanswered))

    async def actor(self, request: web.Request) -> web.Response:
        read_query(request)
        process_id = process_id_of(request)
        found = await self._nodes.actor(process_id)
        if found is None:
            raise NotFound(f"process {process_id} is in no node's memory")
        return answer(actor_body(found))

    async def targets(self, request: web.Request) -> web.Response:
        read_query(request)
        return answer(Listing(await self._targets.latest(), None))
