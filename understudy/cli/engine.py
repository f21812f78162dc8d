"""The engine of the demo: `understudy dev` as a child process, which can be killed."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

START_SECONDS = 60.0
STOP_SECONDS = 30.0
LISTENS = "listens on "


class EngineError(Exception):
    """The engine did not start, or ended by itself."""


class Engine:
    """One life after the other on the same data folder."""

    def __init__(self, data: Path, settings: Mapping[str, str]) -> None:
        self._data = data
        self._settings = settings
        self._child: asyncio.subprocess.Process | None = None
        self.log = data / "logs" / "engine.log"

    async def start(self) -> str:
        """Start it; the URL on which it listens.

        Raises:
            EngineError: it ended before it listened, or took too long.
        """
        self.log.parent.mkdir(parents=True, exist_ok=True)
        # None of this shell's settings reach it: a demo must not use somebody's real servers.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("UNDERSTUDY_")}
        with self.log.open("ab") as log:
            self._child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "understudy", "dev", "--port", "0", "--data", str(self._data)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env={**inherited, **self._settings, "PYTHONUNBUFFERED": "1"},
                start_new_session=True,
            )
        try:
            async with asyncio.timeout(START_SECONDS):
                return await self._listening(self._child)
        except TimeoutError:
            raise EngineError(f"the engine did not start within {START_SECONDS:.0f} s; see {self.log}") from None

    async def _listening(self, child: asyncio.subprocess.Process) -> str:
        assert child.stdout is not None
        async for line in child.stdout:
            text = line.decode(errors="replace").strip()
            if LISTENS in text:
                return text.partition(LISTENS)[2]
        last = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:]
        raise EngineError("the engine ended while it started:\n" + "\n".join(last))

    async def kill(self) -> None:
        """End it with SIGKILL, as a power cut would."""
        assert self._child is not None
        os.killpg(self._child.pid, signal.SIGKILL)
        await self._child.wait()

    async def stop(self) -> None:
        """End it in order; safe twice and unstarted."""
        child = self._child
        if child is None or child.returncode is not None:
            return
        child.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await child.wait()
        except TimeoutError:
            await self.kill()
