"""What the commands that serve have in common: they say that they are ready, and run until a signal."""

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from understudy.bootstrap.backends import Backends
from understudy.bootstrap.gateway import Gateway
from understudy.bootstrap.parts import Parts
from understudy.cli.migrate import MigrationFailed, pending_migrations
from understudy.config import Config, ConfigError
from understudy.domain.ports import Clock
from understudy.runtime.cluster import Cluster, Launch
from understudy.runtime.control import Control
from understudy.runtime.worker_place import Phase, Policy

SIGNALS = (signal.SIGINT, signal.SIGTERM)
GRACE_MARGIN_SECONDS = 10.0
"""What a worker has beyond the time for requests in flight: to give its processes up and to close its connections."""


def on_signals(callback: Callable[[], object]) -> None:
    """Call back at each SIGINT and SIGTERM."""
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, callback)


def on_first_signal(callback: Callable[[], None]) -> None:
    """Call back at the first SIGINT or SIGTERM; the next one ends the process at once."""
    loop = asyncio.get_running_loop()

    def act() -> None:
        for number in SIGNALS:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)
        callback()

    on_signals(act)


async def first(*events: asyncio.Event) -> None:
    """Return when one of the events is set."""
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()


def claim_folder(folder: Path) -> None:
    """Create the data folder where it is missing, and prove that it can be written to.

    Raises:
        ConfigError: it cannot.
    """
    try:
        folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        if isinstance(error, FileExistsError):
            reason = "it is a file"
        elif isinstance(error, NotADirectoryError):
            reason = "it would lie in a file"
        else:
            reason = (error.strerror or str(error)).lower()
        raise ConfigError(f"{folder} cannot be used as data folder: {reason}") from None


async def check_servers(config: Config) -> None:
    """Refuse to begin on servers that are not named, or on a schema of another version.

    Raises:
        ConfigError: a server is not named.
        MigrationFailed: PostgreSQL does not answer, or its schema is not that of this version.
    """
    for name in ("postgres_url", "redis_url", "rabbitmq_url"):
        if not getattr(config, name):
            raise ConfigError(f"set UNDERSTUDY_{name.upper()}: processes on several machines share their servers")
    missing = await pending_migrations(config.postgres_url)
    if missing:
        raise MigrationFailed(f"the database lacks {', '.join(missing)}: run `understudy migrate`")


async def serve_gateway(config: Config) -> int:
    """Run a gateway until a signal comes; the exit code."""
    await check_servers(config)
    stopping = asyncio.Event()
    on_first_signal(stopping.set)
    backends = Backends(config)
    gateway = Gateway(config, backends)
    parts = Parts(backends, gateway)
    await parts.start()
    try:
        print(f"Understudy listens on {gateway.url}", flush=True)
        await stopping.wait()
    finally:
        await parts.stop()
    return 0


def launch_of(name: str, settings: Mapping[str, str]) -> Launch:
    """How workers are started: with this process's environment, in which these settings win."""
    settings = {**settings, "NODE": name}
    replaced = {f"UNDERSTUDY_{setting}" for setting in settings}
    environment = {
        variable: value for variable, value in os.environ.items() if variable.removesuffix("_FILE") not in replaced
    }
    environment |= {f"UNDERSTUDY_{setting}": value for setting, value in settings.items()}
    return Launch((sys.executable, "-m", "understudy", "node", "run"), environment, name)


async def supervise(config: Config, launch: Launch, folder: Path, clock: Clock) -> int:
    """Keep workers running until a signal comes, draining them at the first and killing them at the next.

    Raises:
        ControlError: another supervisor runs on the folder.
    """
    cluster = Cluster(launch, Policy(grace_seconds=config.drain_seconds + GRACE_MARGIN_SECONDS), clock)
    control = Control(cluster, folder)
    await control.start()
    on_signals(cluster.stop)
    try:
        async with asyncio.TaskGroup() as group:
            told = group.create_task(_tell(cluster))
            code = await cluster.run(config.workers)
            told.cancel()
    finally:
        await control.stop()
    return code


async def _tell(cluster: Cluster) -> None:
    """Say how many workers are ready, whenever that has changed and nothing is under way."""
    said: list[str] | None = None
    while not cluster.is_stopping:
        await cluster.change()
        names = [view.node for view in cluster.views if view.phase is Phase.READY]
        if cluster.is_settled and not cluster.is_stopping and names != said:
            said = names
            print(f"{len(names)} workers are ready: {', '.join(names) or 'none'}", flush=True)
