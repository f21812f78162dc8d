"""A node's internal endpoint: what is alive here, for gateways that know the session's token."""

from hmac import compare_digest
from typing import Protocol

from aiohttp import web
from msgspec import DecodeError, json
from structlog.typing import FilteringBoundLogger

from understudy.domain.live import ActorFilter, LiveReport
from understudy.http.answers import answer
from understudy.http.limits import HttpLimits
from understudy.http.server import LIMITS, LOG, connection_options
from understudy.runtime.peers import ACTORS_PATH

LIMITS_OF_PEERS = HttpLimits(body_size_max=16 * 1024, stop_seconds=1.0)

_decode = json.Decoder(ActorFilter).decode


class Reporter(Protocol):
    """Whoever knows what is alive on this node."""

    def report(self, wanted: ActorFilter) -> LiveReport:
        """The actors that a filter lets through."""
        ...


def create_internal_app(reporter: Reporter, token: str, log: FilteringBoundLogger) -> web.Application:
    """The application behind a node's internal endpoint."""
    expected = f"Bearer {token}".encode()

    async def actors(request: web.Request) -> web.Response:
        given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if not compare_digest(given, expected):
            return web.Response(status=401)
        try:
            wanted = _decode(await request.read())
        except DecodeError:
            return web.Response(status=400)
        return answer(reporter.report(wanted))

    app = web.Application(
        client_max_size=LIMITS_OF_PEERS.body_size_max, handler_args=connection_options(LIMITS_OF_PEERS)
    )
    app[LIMITS] = LIMITS_OF_PEERS
    app[LOG] = log
    app.router.add_post(ACTORS_PATH, actors)
    return app
