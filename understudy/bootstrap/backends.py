from understudy.bootstrap.parts import Closing, Parts
from understudy.config import Config, ConfigError
from understudy.domain.carrier import Carrier
from understudy.persistence.definitions import Definitions
from understudy.persistence.events import Events
from understudy.persistence.leases import Leases
from understudy.persistence.pool import Database
from understudy.persistence.processes import Processes
from understudy.runtime.clock import SystemClock
from understudy.runtime.completion import Completions
from understudy.runtime.local import LocalCarrier
from understudy.runtime.plans import Plans
from understudy.runtime.rabbit import RabbitCarrier


class Backends:
    """The servers behind one operating system process, and what all that runs in it shares.

    Raises:
        ConfigError: a server is not named.
    """

    def __init__(self, config: Config) -> None:
        for name in ("postgres_url", "redis_url"):
            if not getattr(config, name):
                raise ConfigError(f"set UNDERSTUDY_{name.upper()}")
        self.clock = SystemClock()
        self.database = Database(config.postgres_url)
        self.leases = Leases(config.redis_url, ttl_seconds=config.lease_ttl_seconds)
        self.processes = Processes(self.database)
        self.definitions = Definitions(self.database)
        self.events = Events(self.database)
        self.carrier = _carrier(config, self.clock)
        self.plans = Plans(self.definitions)
        self.completions = Completions(self.processes, self.clock)
        self._parts = Parts(self.database, Closing(self.leases.stop))

    async def start(self) -> None:
        """Connect.

        Raises:
            Unreachable: PostgreSQL does not answer.
        """
        await self._parts.start()

    async def stop(self) -> None:
        """Drop the connections; safe twice and unstarted."""
        await self._parts.stop()


def _carrier(config: Config, clock: SystemClock) -> Carrier:
    if not config.rabbitmq_url:
        return LocalCarrier(clock)
    return RabbitCarrier(config.rabbitmq_url, clock, queue_type=config.queue_type)
