"""One simulated run: a seed, a cluster, clients, faults that stop, and the evidence that is left."""

import logging
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import structlog
from msgspec import Struct

from tests.simulation.broker import Broker, pause
from tests.simulation.client import Client
from tests.simulation.cluster import Cluster, Program, Servers, gateway
from tests.simulation.faults import Odds, Weather
from tests.simulation.lease_store import LeaseStore
from tests.simulation.loop import SimLoop
from tests.simulation.nemesis import Nemesis, Profile, draw_profile
from tests.simulation.postgres import Postgres
from tests.simulation.sql_gateway import STATEMENTS
from tests.simulation.target import Target
from tests.simulation.workload import DEFINITIONS, Order, definition, orders
from understudy.domain.errors import Unreachable
from understudy.runtime.calls import Call
from understudy.runtime.service import Service

FAULT_SECONDS = 30.0
QUIET_SECONDS = 120.0
SETTLE_SECONDS = 14.0


class Settings(Struct, frozen=True):
    """The size of a run, and what of the product is broken on purpose."""

    nodes: int = 3
    processes: int = 18
    definitions: tuple[str, ...] = tuple(DEFINITIONS)
    profile: Profile | None = None
    fault_seconds: float = FAULT_SECONDS
    quiet_seconds: float = QUIET_SECONDS
    removed: frozenset[str] = frozenset()
    mutate: Callable[[Program], None] | None = None
    prepare: Callable[[Servers], None] | None = None


class Evidence(Struct):
    """Everything that a run leaves to be judged."""

    seed: int
    settings: Settings
    servers: Servers
    cluster: Cluster
    nemesis: Nemesis
    client: Client
    orders: list[Order]
    logged: list[dict[str, Any]]
    healed_at: float
    ended_at: float
    unfinished: list[int]
    hosted: dict[UUID, list[UUID]]
    """The processes with an actor, by session, before the nodes stopped."""
    stuck: list[str]
    """Nodes that did not stop, or left something behind."""
    complaints: list[str]
    trace: int
    steps: int


def simulate(seed: int, settings: Settings | None = None) -> Evidence:
    """Run a seed."""
    settings = settings or Settings()
    loop = SimLoop(seed)
    with _listening() as logged:
        try:
            return loop.run_until_complete(_run(loop, seed, settings, logged))
        finally:
            loop.wind_up()


@contextmanager
def _listening() -> Iterator[list[dict[str, Any]]]:
    """Keep what the product logs from warnings on."""
    logged: list[dict[str, Any]] = []

    def keep(_: Any, __: str, event: Any) -> Any:
        logged.append(dict(event))
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[structlog.processors.add_log_level, keep], wrapper_class=_WARNINGS)
    try:
        yield logged
    finally:
        structlog.configure(**before)


_WARNINGS = structlog.make_filtering_bound_logger(logging.WARNING)


async def _run(loop: SimLoop, seed: int, settings: Settings, logged: list[dict[str, Any]]) -> Evidence:
    profile = settings.profile or draw_profile(seed)
    servers = _servers(loop, seed, profile)
    servers.postgres.removed |= settings.removed
    if settings.prepare is not None:
        settings.prepare(servers)
    service = gateway(servers, seed)
    await _publish(service)
    servers.postgres.keep()
    cluster = Cluster(servers, seed, settings.nodes)
    cluster.mutate = settings.mutate
    cluster.begin()
    wanted = orders(seed, settings.definitions, settings.processes, settings.fault_seconds * 0.6)
    client = Client(loop, service, seed)
    following = {order.number: loop.begin(client.follow(order), name=f"client-{order.number}") for order in wanted}
    nemesis = Nemesis(cluster, profile, seed)
    await nemesis.run(settings.fault_seconds)
    nemesis.heal()
    client.is_quiet = True
    healed_at = loop.time()
    while loop.time() < healed_at + settings.quiet_seconds and not all(task.done() for task in following.values()):
        await pause(loop, 1.0)
    unfinished = [number for number, task in following.items() if not task.done()]
    broken = [task.exception() for task in following.values() if task.done() and task.exception() is not None]
    await pause(loop, SETTLE_SECONDS)
    hosted = {
        machine.program.session_id: [actor.process_id for actor in machine.program.node.directory]
        for machine in cluster.machines
        if machine.program is not None and machine.is_ready
    }
    ended_at = loop.time()
    stuck = await _stop_all(cluster)
    complaints = ["".join(traceback.format_exception(error)) for error in broken] + [
        str(complaint) for complaint in loop.complaints
    ]
    return Evidence(
        seed,
        settings,
        servers,
        cluster,
        nemesis,
        client,
        wanted,
        logged,
        healed_at,
        ended_at,
        unfinished,
        hosted,
        stuck,
        complaints,
        loop.trace,
        loop.steps,
    )


def _servers(loop: SimLoop, seed: int, profile: Profile) -> Servers:
    return Servers(
        loop,
        Postgres(loop, Weather(f"{seed}:postgres", profile.postgres), STATEMENTS),
        LeaseStore(loop, Weather(f"{seed}:redis", profile.redis)),
        Broker(loop, Weather(f"{seed}:broker", Odds()), profile.broker),
        Target(loop, Weather(f"{seed}:target", Odds()), profile.target),
    )


async def _publish(service: Service) -> None:
    for name in DEFINITIONS:
        while True:
            try:
                await service.publish(name, definition(name), Call("PUT", f"/definitions/{name}"))
            except Unreachable:
                continue
            break


async def _stop_all(cluster: Cluster) -> list[str]:
    """Stop every node in order; those that are not empty afterwards."""
    stuck: list[str] = []
    for machine in cluster.machines:
        machine.wants_to_run = False
        program = machine.program
        if program is None or not machine.is_ready:
            stuck.append(f"{machine.name} was not up")
            continue
        await cluster.stop(machine)
        left = [task.get_name() for task in program.node.stage._tasks if not task.done()]
        if left or len(program.node.stage) or len(program.node.directory):
            stuck.append(f"{machine.name} kept {left} and {len(program.node.directory)} actors")
    return stuck


def counters(evidence: Evidence) -> Counter[str]:
    """What happened, for people, and for the test that everything happens somewhere."""
    servers, counts = evidence.servers, Counter[str](evidence.cluster.counts)
    counts.update({f"nemesis: {name}": count for name, count in evidence.nemesis.counts.items()})
    counts.update({f"postgres: {name}": count for name, count in servers.postgres.weather.counts.items()})
    counts.update({f"broker: {name}": count for name, count in servers.broker.counts.items()})
    counts.update(f"target: {seen.verdict}" for seen in servers.target.log)
    counts.update(f"log: {event['event']}" for event in evidence.logged)
    counts.update(f"call: {op.kind} {op.outcome}" for op in evidence.client.log)
    counts.update(
        f"log: {event['event']} {event['verdict']}" for event in evidence.logged if event["event"] == "commit_refused"
    )
    counts.update(f"state: {row['state']}" for row in servers.postgres.process.rows())
    counts["commits"] = len(servers.postgres.applied)
    counts["sessions declared dead"] = len(servers.postgres.deaths)
    counts["retracted"] = servers.postgres.retracted
    counts["parked"] = len(evidence.client.parked)
    counts["steps"] = evidence.steps
    return counts
