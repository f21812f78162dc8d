"""Who breaks things: a seed draws which kinds of misfortune there are, and when."""

import random
from collections.abc import Awaitable, Callable

from msgspec import Struct

from tests.simulation.broker import BrokerOdds, pause
from tests.simulation.cluster import TTL_SECONDS, Cluster, Machine
from tests.simulation.faults import Odds
from tests.simulation.target import TargetOdds


class Profile(Struct, frozen=True):
    """What a seed may do."""

    postgres: Odds = Odds()
    redis: Odds = Odds()
    broker: BrokerOdds = BrokerOdds()
    target: TargetOdds = TargetOdds()
    actions: tuple[str, ...] = ()
    gap_seconds: float = 3.0


CALM = Profile()
RARE = ("travel back",)
"""What breaks promises that hold otherwise: only for the seeds that ask for it."""


def draw_profile(seed: int) -> Profile:
    """A swarm: every seed has another mixture, some of it mild and some of it heavy."""
    draw = random.Random(f"{seed}:profile")

    def share(most: float) -> float:
        return draw.choice([0.0, most / 4, most])

    chosen = [name for name in ACTIONS if name not in RARE and draw.random() < 0.6]
    return Profile(
        postgres=Odds(lost=share(0.02), unanswered=share(0.04), slow=share(0.02), refused=share(0.02)),
        redis=Odds(lost=share(0.05), unanswered=share(0.05), slow=share(0.03), refused=share(0.03)),
        broker=BrokerOdds(lost=share(0.1), doubled=share(0.2), unconfirmed=share(0.1)),
        target=TargetOdds(refuse=share(0.2), reset_after=share(0.15), hang=share(0.1), unreachable=share(0.1)),
        actions=tuple(chosen) or ("kill",),
        gap_seconds=draw.choice([0.7, 1.5, 3.0]),
    )


class Nemesis:
    """Acts until it is told that the time is over, then repairs everything."""

    def __init__(self, cluster: Cluster, profile: Profile, seed: int) -> None:
        self.counts: dict[str, int] = {}
        self.random = random.Random(f"{seed}:nemesis")
        self._cluster = cluster
        self._loop = cluster.loop
        self._profile = profile

    @property
    def has_faults(self) -> bool:
        return bool(self._profile.actions)

    async def run(self, seconds: float) -> None:
        """Break things for a while."""
        until = self._loop.time() + seconds
        while self._profile.actions and self._loop.time() < until:
            await pause(self._loop, self.random.uniform(0.2, 2) * self._profile.gap_seconds)
            name = self.random.choice(self._profile.actions)
            self.counts[name] = self.counts.get(name, 0) + 1
            self._loop.begin(self._act(name), name=f"nemesis-{name}")
        if not self._profile.actions:
            await pause(self._loop, seconds)

    def heal(self) -> None:
        """Let everything work again."""
        servers = self._cluster.servers
        for server in (servers.postgres, servers.redis, servers.broker, servers.target):
            server.weather.is_calm = True
        servers.postgres.cut.clear()
        servers.redis.cut.clear()
        if not servers.postgres.is_up:
            servers.postgres.start()
        servers.redis.is_up = True
        servers.broker.start()
        for machine in self._cluster.machines:
            machine.wants_to_run = True
            self._cluster.resume(machine)

    async def _act(self, name: str) -> None:
        await ACTIONS[name](self)

    def _machine(self) -> Machine:
        return self.random.choice(self._cluster.machines)

    async def _wait(self, *choices: float) -> None:
        await pause(self._loop, self.random.choice(choices) * self.random.uniform(0.8, 1.2))

    async def _kill(self) -> None:
        await self._kill_all([self._machine()])

    async def _kill_everyone(self) -> None:
        await self._kill_all(self._cluster.machines)

    async def _kill_all(self, machines: list[Machine]) -> None:
        for machine in machines:
            machine.wants_to_run = False
            self._cluster.kill(machine)
        await self._wait(0.1, 2.0, 8.0)
        for machine in machines:
            machine.wants_to_run = True

    async def _pause(self) -> None:
        machine = self._machine()
        life = machine.life
        self._cluster.pause(machine)
        await self._wait(0.5, TTL_SECONDS - 1, TTL_SECONDS + 2, 3 * TTL_SECONDS)
        if life is not None:
            self._loop.resume(life)

    async def _stop(self) -> None:
        await self._cluster.stop(self._machine())

    async def _restart_postgres(self) -> None:
        postgres = self._cluster.servers.postgres
        postgres.stop()
        await self._wait(0.1, 1.0, TTL_SECONDS + 1)
        if not postgres.is_up:
            postgres.start()

    async def _travel_back(self) -> None:
        self._cluster.servers.postgres.travel_back(self.random.randrange(1, 12))

    async def _cut_postgres(self) -> None:
        await self._cut(self._cluster.servers.postgres.cut)

    async def _cut_redis(self) -> None:
        await self._cut(self._cluster.servers.redis.cut)

    async def _cut(self, cut: "dict[object, None]") -> None:
        life = self._machine().life
        cut[life] = None
        await self._wait(1.0, TTL_SECONDS - 1, 2 * TTL_SECONDS)
        cut.pop(life, None)

    async def _forget(self) -> None:
        self._cluster.servers.redis.forget_everything()

    async def _stop_redis(self) -> None:
        self._cluster.servers.redis.is_up = False
        await self._wait(0.5, 2.0, TTL_SECONDS + 2)
        self._cluster.servers.redis.is_up = True

    async def _restart_broker(self) -> None:
        broker = self._cluster.servers.broker
        broker.stop()
        await self._wait(0.2, 3.0, 8.0)
        broker.start()

    async def _lose_messages(self) -> None:
        self._cluster.servers.broker.lose_everything()


ACTIONS: dict[str, Callable[[Nemesis], Awaitable[None]]] = {
    "kill": Nemesis._kill,
    "kill everyone": Nemesis._kill_everyone,
    "pause": Nemesis._pause,
    "stop": Nemesis._stop,
    "restart postgres": Nemesis._restart_postgres,
    "travel back": Nemesis._travel_back,
    "cut postgres": Nemesis._cut_postgres,
    "forget redis": Nemesis._forget,
    "stop redis": Nemesis._stop_redis,
    "cut redis": Nemesis._cut_redis,
    "restart broker": Nemesis._restart_broker,
    "lose messages": Nemesis._lose_messages,
}
