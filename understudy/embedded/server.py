import asyncio
import socket
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from pathlib import Path

from understudy.embedded.child import Child, Step
from understudy.embedded.folder import Folder

_PORTS_TRIED = 5
_PAUSE_SECONDS = 0.01


class Server(ABC):
    """A private server on the loopback interface with its data in `<directory>/<name>`.

    A port of 0 means any free one, kept over restarts of this object while it stays free.
    """

    def __init__(self, directory: Path, name: str, title: str, *, port: int, stop_steps: tuple[Step, ...]) -> None:
        self.directory = directory.absolute()
        self.version = ""
        self.port = port
        self._port_is_fixed = port != 0
        self._stop_steps = stop_steps
        self._folder = Folder(self.directory, name)
        self._child = Child(title, self._folder.log)

    @property
    def pid(self) -> int:
        """The server's process id; 0 before the first start."""
        return self._child.pid

    @property
    def exit_code(self) -> int | None:
        """How the server ended (negative: by that signal); None while it runs and before the first start."""
        return self._child.exit_code

    async def start(self) -> None:
        """Start on what the folder holds, recover after a crash, and return when the server answers.

        Raises:
            FolderInUse: when another process runs its server on the folder.
            ServerUnavailable: when there is no such server here, or it does not start.
        """
        if self._child.is_running:
            return
        self._folder.release()
        await self._folder.claim()
        try:
            await self._launch()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop cleanly, within a bounded time; harmless when it does not run."""
        await self._child.stop(*self._stop_steps)
        self._folder.release()

    async def kill(self) -> None:
        """Kill the server as a crash would; `start` recovers."""
        await self._child.stop()
        self._folder.release()

    @abstractmethod
    async def _launch(self) -> None:
        """Prepare the folder, spawn the child and wait until it answers."""

    async def _listen(
        self, spawn: Callable[[int], None], answers: Callable[[], Awaitable[bool]], timeout_seconds: float
    ) -> None:
        for attempt in range(_PORTS_TRIED):
            if not self._port_is_fixed and (attempt > 0 or self.port == 0):
                self.port = _free_port()
            spawn(self.port)
            if await self._until_answer_or_end(answers, timeout_seconds):
                return
            if self._child.is_running:
                await self._child.stop()
                raise self._child.failure(f"{self._child.title} did not answer within {timeout_seconds:.0f} seconds")
            if self._port_is_fixed or "Address already in use" not in self._child.output():
                break
        raise self._child.failure(f"{self._child.title} did not start on port {self.port}")

    async def _until_answer_or_end(self, answers: Callable[[], Awaitable[bool]], timeout_seconds: float) -> bool:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        while self._child.is_running and loop.time() < deadline:
            if await answers():
                return True
            await asyncio.sleep(_PAUSE_SECONDS)
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
