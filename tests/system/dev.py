"""`understudy dev` as a child process that can be started, killed and started again on the same folder."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

from msgspec import json

PATIENCE_SECONDS = 60.0
LISTENS = "Understudy listens on "


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with these settings of Understudy and no others."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("UNDERSTUDY_")}
    return {**inherited, "PYTHONUNBUFFERED": "1", **{f"UNDERSTUDY_{name}": text for name, text in settings.items()}}


def command(*arguments: str) -> list[str]:
    """The command line of Understudy in this interpreter."""
    return [sys.executable, "-m", "understudy", *arguments]


class Dev:
    """One life of `understudy dev` after the other; without a data folder it keeps none."""

    def __init__(self, folder: Path, settings: Mapping[str, str], data: Path | None = None) -> None:
        self.folder = folder
        self.data = data
        self.url = ""
        self.greeting = ""
        self.log = folder / "engine.log"
        self._settings = settings
        self._child: subprocess.Popen[str] | None = None

    @property
    def is_running(self) -> bool:
        """Whether it was started and not ended."""
        return self._child is not None

    def start(self) -> str:
        """Start it; the URL on which it listens."""
        with self.log.open("ab") as log:
            self._child = self.open(log)
        watchdog = threading.Timer(PATIENCE_SECONDS, self._child.kill)
        watchdog.start()
        try:
            assert self._child.stdout is not None
            for line in self._child.stdout:
                self.greeting += line
                if line.startswith(LISTENS):
                    self.url = line.removeprefix(LISTENS).strip()
                    return self.url
        finally:
            watchdog.cancel()
        raise AssertionError(f"dev ended with {self._reap()}:\n{self.log_text()[-4000:]}")

    def open(self, log: IO[bytes] | int) -> "subprocess.Popen[str]":
        """Another child with the same arguments, of which nothing is expected."""
        kept = ["--ephemeral"] if self.data is None else ["--data", str(self.data)]
        return subprocess.Popen(
            command("dev", "--port", "0", *kept),
            cwd=self.folder,
            env=environment(self._settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )

    def kill(self) -> None:
        """SIGKILL to it and to its servers, as a power cut."""
        assert self._child is not None
        os.killpg(self._child.pid, signal.SIGKILL)
        self._reap()

    def kill_alone(self) -> None:
        """SIGKILL to it and to nothing else."""
        assert self._child is not None
        self._child.kill()
        self._reap()

    def terminate(self) -> None:
        """SIGTERM, without waiting for what follows."""
        assert self._child is not None
        self._child.terminate()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """A signal, and its exit code; safe twice and unstarted."""
        if self._child is None:
            return 0
        self._child.send_signal(number)
        return self._reap()

    def _reap(self) -> int:
        assert self._child is not None
        child, self._child = self._child, None
        try:
            child.communicate(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
            raise
        return child.returncode

    def log_text(self) -> str:
        """Everything that it has logged in all its lives."""
        return self.log.read_text(encoding="utf-8")

    def log_lines(self, process_id: str | None = None) -> list[dict[str, Any]]:
        """Its log, or the lines about one process."""
        lines: Iterable[Any] = (json.decode(line) for line in self.log_text().splitlines())
        return [line for line in lines if process_id is None or line.get("process_id") == process_id]
