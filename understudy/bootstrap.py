"""The composition root: from a configuration to running objects; the only place that picks adapters."""

import asyncio
from contextlib import AsyncExitStack
from socket import gethostname

import structlog

from understudy.config import Config, ConfigError
from understudy.executors.address import AddressPolicy
from understudy.executors.egress import EgressClient
from understudy.executors.http_call import HttpCall
from understudy.executors.registry import Registry
from understudy.http.app import create_app
from understudy.http.auth import Authenticator, parse_api_keys
from understudy.http.limits import HttpLimits
from understudy.http.server import HttpServer
from understudy.persistence.definitions import Definitions
from understudy.persistence.events import Events
from understudy.persistence.inbox import Inbox
from understudy.persistence.journal import PostgresJournal
from understudy.persistence.keys import Keys
from understudy.persistence.leases import Leases
from understudy.persistence.lookout import Lookout
from understudy.persistence.outbox import Outbox
from understudy.persistence.pool import Database
from understudy.persistence.processes import Processes
from understudy.persistence.sessions import Sessions
from understudy.runtime.clock import SystemClock
from understudy.runtime.completion import Completions
from understudy.runtime.health import Health
from understudy.runtime.live import Live
from understudy.runtime.node import Node, NodePorts, NodeSettings
from understudy.runtime.plans import Plans
from understudy.runtime.service import Service, Stores

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class Application:
    """Gateway and node in one operating system process: what `dev` runs.

    `is_alone` promises that no other node uses the same database. `lost` is set when the node's session was declared
    dead: whoever runs the application then ends it.
    """

    def __init__(self, config: Config, *, is_alone: bool = False) -> None:
        clock = SystemClock()
        name = config.node or gethostname()
        self.lost = asyncio.Event()
        self._database = Database(config.postgres_url)
        self._leases = Leases(config.redis_url, ttl_seconds=config.lease_ttl_seconds)
        self._journal = PostgresJournal(self._database, clock, name)
        self._egress = EgressClient(_policy(config))
        processes = Processes(self._database)
        definitions = Definitions(self._database)
        events = Events(self._database)
        sessions = Sessions(self._database)
        lookout = Lookout(self._database)
        plans = Plans(definitions)
        completions = Completions(processes, clock)
        ports = NodePorts(
            journal=self._journal,
            sessions=sessions,
            leases=self._leases,
            lookout=lookout,
            events=events,
            outbox=Outbox(self._database),
            executors=Registry({"http": HttpCall(self._egress, config.secrets)}),
            clock=clock,
        )
        settings = NodeSettings(
            name=name,
            lease_ttl_seconds=config.lease_ttl_seconds,
            idle_seconds=config.idle_seconds,
            drain_seconds=config.drain_seconds,
            activities_per_commit=1 if config.commit == "each" else 100,
            is_alone=is_alone,
        )
        self.node = Node(settings, ports, plans, completions, self.lost.set)
        stores = Stores(processes, Inbox(self._database), definitions, events, Keys(self._database))
        service = Service(stores, plans, completions, clock, self.node.poke)
        health = Health(sessions, self._leases, self.node.ownership)
        app = create_app(
            service,
            Live(self.node, sessions),
            health,
            _authenticator(config),
            HttpLimits(),
            structlog.get_logger("http"),
        )
        self.server = HttpServer(app, config.host, config.port)
        self._running = AsyncExitStack()

    async def start(self) -> None:
        """Start everything, servers of the outside first; what started is stopped again when something does not.

        Raises:
            Unreachable: PostgreSQL or Redis does not answer.
            CannotListen: the port is taken.
        """
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._database.stop)
            await self._database.start()
            stack.push_async_callback(self._leases.stop)
            stack.push_async_callback(self._journal.stop)
            await self._journal.start()
            stack.push_async_callback(self._egress.stop)
            await self._egress.start()
            stack.push_async_callback(self.node.stop)
            await self.node.start()
            stack.push_async_callback(self.server.stop)
            await self.server.start()
            self._running = stack.pop_all()

    async def stop(self) -> None:
        """Stop in the opposite order; safe twice and unstarted."""
        await self._running.aclose()


def _policy(config: Config) -> AddressPolicy:
    try:
        return AddressPolicy.parse(config.egress_allowed)
    except ValueError as error:
        raise ConfigError(f"UNDERSTUDY_EGRESS_ALLOW: {error}") from None


def _authenticator(config: Config) -> Authenticator:
    if not config.api_keys:
        if config.host not in LOOPBACK:
            raise ConfigError(
                f"UNDERSTUDY_API_KEYS is empty and UNDERSTUDY_HOST is {config.host}: without keys the service only "
                "listens on loopback; set name:key:role, or a loopback host"
            )
        return Authenticator(None)
    try:
        return Authenticator(parse_api_keys(config.api_keys))
    except ValueError as error:
        raise ConfigError(f"UNDERSTUDY_API_KEYS: {error}") from None
