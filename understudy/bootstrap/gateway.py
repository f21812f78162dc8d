import structlog

from understudy.bootstrap.backends import Backends
from understudy.bootstrap.caching import open_cache
from understudy.bootstrap.parts import Closing, Loop, Part, Parts, Publishing
from understudy.bootstrap.worker import Worker
from understudy.config import Config, ConfigError
from understudy.http.app import create_app
from understudy.http.auth import Authenticator, parse_api_keys
from understudy.http.limits import HttpLimits
from understudy.http.server import HttpServer
from understudy.persistence.inbox import Inbox
from understudy.persistence.keys import Keys
from understudy.persistence.sessions import Sessions
from understudy.runtime.health import Health
from understudy.runtime.peers import PeerClient, Peers
from understudy.runtime.router import Router
from understudy.runtime.service import Pokes, Service, Stores

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class Gateway:
    """The REST API; `worker` is the node in the same process, if there is one."""

    def __init__(self, config: Config, backends: Backends, worker: Worker | None = None) -> None:
        sessions = Sessions(backends.database)
        cache = open_cache(config, backends.clock)
        stores = Stores(
            backends.processes,
            Inbox(backends.database),
            backends.definitions,
            backends.events,
            Keys(backends.database),
            cache,
        )
        router = Router(backends.carrier, backends.leases)
        pokes = Pokes(new=backends.carrier.poke, known=router.poke)
        client = PeerClient()
        app = create_app(
            Service(stores, backends.plans, backends.completions, backends.clock, pokes),
            Peers(sessions, client, None if worker is None else worker.live),
            Health(sessions, backends.leases, None if worker is None else worker.node.ownership),
            _authenticator(config),
            HttpLimits(),
            structlog.get_logger("http"),
            targets=cache,
        )
        self._server = HttpServer(app, config.host, config.port)
        # A node has the loop that sees processes end, as it announces the ends of its own.
        alone: tuple[Part, ...] = ()
        if worker is None:
            alone = (Loop(backends.completions.run), Publishing(backends.carrier))
        self._parts = Parts(Closing(cache.stop), client, *alone, self._server)

    @property
    def url(self) -> str:
        """Where clients on this machine reach it."""
        return self._server.url

    async def start(self) -> None:
        """Listen.

        Raises:
            CannotListen: the address is taken or is none of this machine's.
        """
        await self._parts.start()

    async def stop(self) -> None:
        """Finish what runs; safe twice and unstarted."""
        await self._parts.stop()


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
