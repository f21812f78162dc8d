import asyncio
from contextlib import suppress
from secrets import token_urlsafe
from socket import gethostname

import structlog

from understudy.bootstrap.backends import Backends
from understudy.bootstrap.caching import open_cache
from understudy.bootstrap.parts import Closing, Loop, Parts
from understudy.config import Config, ConfigError
from understudy.domain.errors import Unreachable
from understudy.executors.address import AddressPolicy
from understudy.executors.egress import EgressClient
from understudy.executors.http_call import HttpCall
from understudy.executors.registry import Registry
from understudy.http.internal import create_internal_app
from understudy.http.server import HttpServer
from understudy.persistence.journal import PostgresJournal
from understudy.persistence.lookout import Lookout
from understudy.persistence.outbox import Outbox
from understudy.persistence.sessions import Endpoint, Sessions
from understudy.runtime.live import Live
from understudy.runtime.node import Node, NodeSettings
from understudy.runtime.surroundings import NodePorts
from understudy.runtime.tally import Tally


class Worker:
    """A node with its own adapters, and its internal endpoint unless the gateway runs beside it.

    `lost` is set when the node's session was declared dead, `drained` when it was asked to drain: whoever runs the
    worker then stops it. `is_alone` promises that no other node uses the same database.
    """

    def __init__(
        self, config: Config, backends: Backends, *, is_alone: bool = False, has_endpoint: bool = True
    ) -> None:
        name = config.node or gethostname()
        self.lost = asyncio.Event()
        self.drained = asyncio.Event()
        journal = PostgresJournal(backends.database, backends.clock, name)
        egress = EgressClient(_policy(config))
        # Nobody waits for what it is told, and a version that it missed is told again: it need not rest.
        cache = open_cache(config, backends.clock, rest_seconds=0.0)
        tally = Tally(cache, backends.clock)
        self._sessions = Sessions(backends.database, on_drain=self.drained.set)
        ports = NodePorts(
            journal=journal,
            sessions=self._sessions,
            leases=backends.leases,
            lookout=Lookout(backends.database),
            events=backends.events,
            outbox=Outbox(backends.database),
            executors=Registry({"http": HttpCall(egress, config.secrets, tally)}),
            carrier=backends.carrier,
            clock=backends.clock,
            views=cache,
        )
        settings = NodeSettings(
            name=name,
            lease_ttl_seconds=config.lease_ttl_seconds,
            idle_seconds=config.idle_seconds,
            drain_seconds=config.drain_seconds,
            activities_per_commit=1 if config.commit == "each" else 100,
            is_alone=is_alone,
        )
        self.node = Node(settings, ports, backends.plans, backends.completions, self.lost.set)
        self.live = Live(self.node, backends.clock)
        self._token = token_urlsafe(32)
        internal = create_internal_app(self.live, self._token, structlog.get_logger("internal"))
        self._server = HttpServer(internal, config.node_host, 0) if has_endpoint else None
        served = () if self._server is None else (self._server,)
        self._parts = Parts(Closing(cache.stop), Loop(tally.run), journal, egress, *served)

    @property
    def address(self) -> str | None:
        """Where the internal endpoint answers; None without one."""
        return None if self._server is None else self._server.url

    async def start(self) -> None:
        """Begin to work.

        Raises:
            Unreachable: PostgreSQL or Redis does not answer.
            CannotListen: the internal endpoint has no such address.
        """
        await self._parts.start()
        if self._server is not None:
            self._sessions.endpoint = Endpoint(self._server.url, self._token)
        await self.node.start()

    async def stop(self) -> None:
        """Drain and end the session; safe twice and unstarted."""
        with suppress(Unreachable):
            # The others see that this node goes, and PostgreSQL lets it claim nothing any more.
            await self._sessions.drain(self.node.ownership.session_id)
        await self.node.stop()
        await self._parts.stop()


def _policy(config: Config) -> AddressPolicy:
    try:
        return AddressPolicy.parse(config.egress_allowed)
    except ValueError as error:
        raise ConfigError(f"UNDERSTUDY_EGRESS_ALLOW: {error}") from None
