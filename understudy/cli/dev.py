"""`understudy dev`: everything on private servers, in one process or with worker processes of their own."""

import asyncio
import os
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

from msgspec.structs import replace

from understudy.bootstrap.application import Application
from understudy.bootstrap.backends import Backends
from understudy.bootstrap.gateway import Gateway
from understudy.bootstrap.parts import Parts
from understudy.cli.client import Client
from understudy.cli.migrate import apply_migrations
from understudy.cli.output import program
from understudy.cli.serving import claim_folder, first, launch_of, on_signals, supervise
from understudy.config import Config, read_config
from understudy.embedded.rabbitmq import RabbitMQ
from understudy.embedded.servers import Embedded
from understudy.runtime.clock import SystemClock
from understudy.runtime.worker_place import EXIT_LOST

EXAMPLE = '{"name":"greet","activities":[{"id":"hello","type":"transform","output":"Hello ${input}"}]}'


def _embedded(config: Config, directory: Path, *, durable: bool) -> Embedded:
    return Embedded(
        directory,
        durable=durable,
        pg_bin_dir=Path(config.postgres_bin) if config.postgres_bin else None,
        valkey_binary=Path(config.valkey_bin) if config.valkey_bin else None,
    )


def _rabbitmq(config: Config, directory: Path) -> RabbitMQ:
    return RabbitMQ(directory, binary=Path(config.rabbitmq_bin) if config.rabbitmq_bin else None)


class Development:
    """Private servers on one data folder, and the application on them."""

    def __init__(self, config: Config, directory: Path, *, durable: bool = True) -> None:
        self._config = config
        self._embedded = _embedded(config, directory, durable=durable)
        self._application: Application | None = None
        self._running = AsyncExitStack()

    @property
    def application(self) -> Application:
        """The running application."""
        assert self._application is not None
        return self._application

    async def start(self) -> None:
        """Start the servers, bring their schema up to date, start the application."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._embedded.stop)
            await self._embedded.start()
            postgres, redis = self._embedded.postgres_url, self._embedded.redis_url
            await apply_migrations(postgres)
            config = replace(self._config, postgres_url=postgres, redis_url=redis, rabbitmq_url="")
            # The lock on the data folder proves that no other node is on this database.
            self._application = Application(config, is_alone=True)
            stack.push_async_callback(self._application.stop)
            await self._application.start()
            self._running = stack.pop_all()

    async def stop(self) -> None:
        """Stop in the opposite order; safe twice and unstarted."""
        await self._running.aclose()


async def serve(config: Config, *, ephemeral: bool) -> int:
    """Run until a signal comes or the node has ended; the exit code."""
    stopping = asyncio.Event()
    on_signals(stopping.set)
    with _folder(config, ephemeral=ephemeral) as directory:
        development = Development(config, directory, durable=not ephemeral)
        print(_starting("PostgreSQL and Valkey", directory, ephemeral=ephemeral), flush=True)
        try:
            await development.start()
            application = development.application
            print(_ready(application.gateway.url), flush=True)
            await first(stopping, application.worker.lost, application.worker.drained)
            if application.worker.lost.is_set():
                print("This node's session was declared dead; it ends and must be started again.", flush=True)
                return EXIT_LOST
            print("Stopping: requests in flight may end …", flush=True)
        finally:
            await development.stop()
    return 0


async def serve_cluster(config: Config, *, ephemeral: bool) -> int:
    """Run the gateway here and workers as processes of their own until a signal comes; the exit code."""
    task = asyncio.current_task()
    assert task is not None
    on_signals(task.cancel)
    try:
        return await _serve_cluster(config, ephemeral=ephemeral)
    except asyncio.CancelledError:
        return 0  # a signal came before there was a supervisor to take it


async def _serve_cluster(config: Config, *, ephemeral: bool) -> int:
    with _folder(config, ephemeral=ephemeral) as directory:
        embedded, rabbitmq = _embedded(config, directory, durable=not ephemeral), _rabbitmq(config, directory)
        print(_starting("PostgreSQL, Valkey and RabbitMQ", directory, ephemeral=ephemeral), flush=True)
        async with AsyncExitStack() as stack:
            for server in (embedded, rabbitmq):
                stack.push_async_callback(server.stop)
            for failure in await asyncio.gather(embedded.start(), rabbitmq.start(), return_exceptions=True):
                if failure is not None:
                    raise failure
            await apply_migrations(embedded.postgres_url)
            urls = {
                "postgres_url": embedded.postgres_url,
                "redis_url": embedded.redis_url,
                "rabbitmq_url": rabbitmq.url(),
            }
            config = replace(config, **urls)
            backends = Backends(config)
            gateway = Gateway(config, backends)
            parts = Parts(backends, gateway)
            stack.push_async_callback(parts.stop)
            await parts.start()
            print(_ready(gateway.url), flush=True)
            launch = launch_of(config.node or "node", {name.upper(): url for name, url in urls.items()})
            return await supervise(config, launch, directory, SystemClock())


@contextmanager
def _folder(config: Config, *, ephemeral: bool) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="understudy-") as temporary:
        folder = Path(temporary) / "data" if ephemeral else Path(config.data_dir)
        claim_folder(folder)
        yield folder


def _starting(servers: str, directory: Path, *, ephemeral: bool) -> str:
    shown = os.path.relpath(directory) if directory.is_relative_to(Path.cwd()) else str(directory)
    kept = "in a temporary folder, gone when it ends" if ephemeral else f"in {shown}"
    return f"Starting a private {servers}; the data are {kept}."


def _ready(url: str) -> str:
    called = program()
    hints = [
        f"""try       echo '{EXAMPLE}' | {called} process start @/dev/stdin -i '"Ada"' --wait 9s""",
        f"list      {called} process list",
        f"history   {called} process history ID",
        f"publish   {called} definition publish FILE",
        "stop      Ctrl-C",
    ]
    if Client.of(read_config(os.environ)).url != url:
        hints.insert(0, f"at first  export UNDERSTUDY_URL={url}")
    return "\n  ".join((f"Understudy listens on {url}", *hints))
