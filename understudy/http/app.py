"""The application: routes, the middleware around them, and the limits of its connections."""

from collections.abc import Callable
from secrets import token_hex

from aiohttp import web
from structlog.typing import FilteringBoundLogger

from understudy.domain.cache import NO_CACHE, Targets
from understudy.http.auth import Authenticator
from understudy.http.body import expectation
from understudy.http.boundary import boundary
from understudy.http.limits import HttpLimits
from understudy.http.polls import Polls
from understudy.http.ports import Health, Nodes
from understudy.http.routes.admin import AdminRoutes
from understudy.http.routes.definitions import DefinitionRoutes
from understudy.http.routes.events import EventRoutes
from understudy.http.routes.health import HealthRoutes
from understudy.http.routes.processes import ProcessRoutes
from understudy.http.server import LIMITS, LOG, connection_options
from understudy.runtime.service import Service


def _random_reference() -> str:
    return token_hex(8)


def create_app(
    service: Service,
    nodes: Nodes,
    health: Health,
    auth: Authenticator,
    limits: HttpLimits,
    log: FilteringBoundLogger,
    *,
    targets: Targets = NO_CACHE,
    make_reference: Callable[[], str] = _random_reference,
) -> web.Application:
    """The gateway; `make_reference` names an unexpected error in its answer and in the log."""
    polls = Polls(service)
    app = web.Application(
        middlewares=[boundary(auth, log, make_reference)],
        client_max_size=limits.body_size_max,
        handler_args=connection_options(limits),
    )
    app[LIMITS] = limits
    app[LOG] = log
    expect = expectation(limits)
    for routes in (
        ProcessRoutes(service, limits, polls),
        EventRoutes(service, limits),
        DefinitionRoutes(service, limits),
        AdminRoutes(nodes, targets, limits),
        HealthRoutes(health, limits),
    ):
        for method, path, handler in routes.table():
            app.router.add_route(method, path, handler, expect_handler=expect)
            if method == "GET":
                app.router.add_route("HEAD", path, handler, expect_handler=expect)

    async def release(_: web.Application) -> None:
        polls.release()

    app.on_shutdown.append(release)
    return app
