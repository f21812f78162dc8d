"""`understudy dev`: everything in one process, on a private PostgreSQL and Valkey."""

import asyncio
import os
import signal
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import structlog
from msgspec.structs import replace

from understudy.bootstrap.application import Application
from understudy.cli.migrate import apply_migrations
from understudy.config import Config
from understudy.embedded.servers import Embedded

log = structlog.get_logger("dev")

EXIT_LOST = 75
"""The session was declared dead: whoever supervises the process starts it again."""


class Development:
    """Private servers on one data folder, and the application on them."""

    def __init__(self, config: Config, directory: Path, *, durable: bool = True) -> None:
        self._config = config
        self._embedded = Embedded(
            directory,
            durable=durable,
            pg_bin_dir=Path(config.postgres_bin) if config.postgres_bin else None,
            valkey_binary=Path(config.valkey_bin) if config.valkey_bin else None,
        )
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
            config = replace(self._config, postgres_url=postgres, redis_url=redis)
            # The lock on the data folder proves that no other node is on this database.
            self._application = Application(config, is_alone=True)
            stack.push_async_callback(self._application.stop)
            await self._application.start()
            self._running = stack.pop_all()

    async def stop(self) -> None:
        """Stop in the opposite order; safe twice and unstarted."""
        await self._running.aclose()


async def serve(config: Config, *, ephemeral: bool) -> int:
    """Run until a signal comes or the session is lost; the exit code."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    with tempfile.TemporaryDirectory(prefix="understudy-") as temporary:
        directory = Path(temporary) / "data" if ephemeral else Path(config.data_dir)
        development = Development(config, directory, durable=not ephemeral)
        print(_starting(directory, ephemeral=ephemeral), flush=True)
        try:
            await development.start()
            application = development.application
            print(_ready(application.gateway.url), flush=True)
            await _first(stopping, application.worker.lost, application.worker.drained)
            if application.worker.lost.is_set():
                print("This node's session was declared dead; it ends and must be started again.", flush=True)
                return EXIT_LOST
            print("Stopping: requests in flight may end …", flush=True)
        finally:
            await development.stop()
    return 0


async def _first(*events: asyncio.Event) -> None:
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()


def _starting(directory: Path, *, ephemeral: bool) -> str:
    shown = os.path.relpath(directory) if directory.is_relative_to(Path.cwd()) else str(directory)
    kept = "in a temporary folder, gone when it ends" if ephemeral else f"in {shown}"
    return f"Starting a private PostgreSQL and Valkey; the data are {kept}."


def _ready(url: str) -> str:
    return (
        f"Understudy listens on {url}\n"
        "  publish   understudy definition publish examples/order-fulfilment.json\n"
        "  start     understudy process start NAME --input '{…}'\n"
        "  watch     understudy process watch ID\n"
        "  stop      Ctrl-C"
    )
