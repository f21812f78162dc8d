"""Gateways and supervisors of workers as a deployment runs them: processes of their own on servers that they share."""

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
from msgspec import json

from tests.system.client import Client
from tests.system.dev import LISTENS, command, environment

PATIENCE_SECONDS = 60.0


class Ended(NamedTuple):
    """How a command ended, and what it printed."""

    code: int
    output: str
    errors: str

    @property
    def json(self) -> Any:
        """What it printed with `-o json`."""
        assert self.code == 0, self
        return json.decode(self.output)


class Running:
    """A command that runs on."""

    def __init__(self, process: Process, log: Path) -> None:
        self.process = process
        self.log = log

    async def line(self, text: str) -> str:
        """The next line of its output that holds a text."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for line in self.process.stdout:
                if text in line.decode():
                    return line.decode().strip()
        raise AssertionError(f"it ended with {await self.process.wait()}:\n{self.log.read_text()[-4000:]}")

    async def wait(self) -> int:
        """Its exit code, once it has ended."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode

    async def stop(self) -> int:
        """SIGTERM, and its exit code; safe twice."""
        if self.process.returncode is None:
            self.process.terminate()
        return await self.wait()

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Its log lines about one kind of event."""
        found = [json.decode(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in found if line.get("event") == event]


class Deployment:
    """One database, one Redis, one broker; gateways and supervisors on them, each supervisor with a data folder."""

    def __init__(self, folder: Path, postgres_url: str, settings: dict[str, str]) -> None:
        self.folder = folder
        self.postgres_url = postgres_url
        self.url = ""
        self._settings = settings
        self._running: list[Running] = []

    async def open(self, *arguments: str, **settings: str) -> Running:
        """Start a command that runs on."""
        log = self.folder / f"{len(self._running)}-{arguments[0]}.log"
        with log.open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                *command(*arguments),
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=errors,
                cwd=self.folder,
                env=environment({**self._settings, **settings}),
            )
        running = Running(process, log)
        self._running.append(running)
        return running

    async def gateway(self) -> Running:
        """A gateway that listens; the latest one is the one that commands speak to."""
        running = await self.open("gateway", "--port", "0")
        self.url = (await running.line(LISTENS)).removeprefix(LISTENS)
        return running

    async def up(self, workers: int, **settings: str) -> Running:
        """A supervisor whose workers are ready."""
        running = await self.open("node", "up", "--workers", str(workers), **settings)
        await running.line(f"{workers} workers are ready")
        return running

    async def run(self, *arguments: str) -> Ended:
        """A command from its beginning to its end."""
        settings = {**self._settings, "URL": self.url} if self.url else self._settings
        process = await asyncio.create_subprocess_exec(
            *command(*arguments), stdin=DEVNULL, stdout=PIPE, stderr=PIPE, cwd=self.folder, env=environment(settings)
        )
        async with asyncio.timeout(PATIENCE_SECONDS):
            output, errors = await process.communicate()
        assert process.returncode is not None
        return Ended(process.returncode, output.decode(), errors.decode())

    async def workers(self) -> list[dict[str, Any]]:
        """The supervisor's workers, as `node scale` to as many as there are shows them."""
        count = len([node for node in await self.nodes() if node["state"] == "alive"])
        found: list[dict[str, Any]] = (await self.run("node", "scale", str(count), "-o", "json")).json["workers"]
        return found

    async def busiest(self) -> dict[str, Any]:
        """The worker with the most live actors."""
        actors = {node["id"]: node["live_actors"] or 0 for node in await self.nodes()}
        return max(await self.workers(), key=lambda worker: actors[worker["session"]])

    async def nodes(self) -> list[dict[str, Any]]:
        """The cluster's nodes, as `node list` shows them."""
        found: list[dict[str, Any]] = (await self.run("node", "list", "-o", "json")).json["items"]
        return found

    async def rows(self, query: str, *arguments: Any) -> list[Any]:
        """What a superuser reads in the database."""
        connection = await asyncpg.connect(self.postgres_url)
        try:
            return [tuple(row) for row in await connection.fetch(query, *arguments)]
        finally:
            await connection.close()

    async def stop(self) -> None:
        """End everything, the latest first; what does not end in order is killed."""
        for running in reversed(self._running):
            if running.process.returncode is None:
                running.process.terminate()
                try:
                    await running.wait()
                except TimeoutError:
                    running.process.send_signal(signal.SIGKILL)
                    await running.process.wait()


async def eventually(look: Callable[[], Awaitable[Any]], is_right: Callable[[Any], bool]) -> Any:
    """What a look sees as soon as it is right; each look is a call that takes its time."""
    seen: Any = None
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not is_right(seen := await look()):
                continue
    except TimeoutError:
        raise AssertionError(f"it did not come to that: {seen}") from None
    return seen


async def until_gone(*pids: int) -> None:
    """Return when these processes have ended."""
    loop = asyncio.get_running_loop()
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        gone = asyncio.Event()
        loop.add_reader(descriptor, gone.set)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await gone.wait()
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def all_ended(api: Client, process_ids: list[str]) -> list[dict[str, Any]]:
    """These processes when each has ended."""
    return await asyncio.gather(*(api.ended(process_id) for process_id in process_ids))


async def start_many(api: Client, definition: Any, count: int) -> list[str]:
    """The ids of so many processes, started at once."""
    return [process["id"] for process in await asyncio.gather(*(api.start(definition) for _ in range(count)))]


async def assert_whole(api: Client, processes: list[dict[str, Any]]) -> set[str]:
    """Each completed, its history without a gap, each execution ended once; the nodes that took part."""
    nodes: set[str] = set()
    for process in processes:
        assert process["state"] == "COMPLETED", process
        rows = await api.history(process["id"])
        assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
        ended = [row["execution_id"] for row in rows if row["type"] in {"activity.completed", "activity.failed"}]
        assert len(ended) == len(set(ended))
        nodes |= {row["node"] for row in rows if row["node"] is not None}
    return nodes
