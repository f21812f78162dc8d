import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from understudy.embedded.errors import ServerUnavailable
from understudy.embedded.polling import until

_LOG_BYTES_MAX = 10_000_000
_LAST_LINES = 12
_KILL_SECONDS = 10.0

# A server is told everything by its command line: a PGOPTIONS or locale of ours must not change it.
_ENVIRONMENT = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C", "TZ": "UTC", "HOME": "/"}


class Step(NamedTuple):
    """One step of asking a process to end, and how long to wait for it."""

    signal: signal.Signals
    patience_seconds: float


class Child:
    """One process of ours at a time: in its own session, its output in a log file, reaped by us.

    `subprocess.Popen` and not asyncio's: it needs no child watcher, works under uvloop, and a server may outlive the
    loop that started it.
    """

    def __init__(self, title: str, log: Path) -> None:
        self.title = title
        self._log = log
        self._log_start = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id; 0 before the first start."""
        return self._process.pid if self._process else 0

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """How it ended (negative: by that signal); None while it runs and before the first start."""
        return self._process.poll() if self._process else None

    def spawn(self, command: Sequence[str], *, inherit: int, stdin: bytes = b"") -> None:
        """Start the process with an inherited descriptor and all that it may read."""
        assert not self.is_running, "one process at a time"
        if self._log.exists() and self._log.stat().st_size > _LOG_BYTES_MAX:
            self._log.replace(self._log.with_suffix(".log.1"))
        with self._log.open("ab") as log, tempfile.TemporaryFile() as source:
            source.write(stdin)
            source.seek(0)
            self._log_start = log.seek(0, os.SEEK_END)
            self._process = subprocess.Popen(  # noqa: S603 - the programs come from binaries.py
                command,
                stdin=source,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
                env=_ENVIRONMENT,
                start_new_session=True,
                pass_fds=(inherit,),
            )

    async def finish(self, timeout_seconds: float) -> None:
        """Wait for a process that ends by itself.

        Raises:
            ServerUnavailable: when it fails or takes longer.
        """
        ended = await until(lambda: not self.is_running, timeout_seconds)
        if not ended:
            await self.stop()
            raise self.failure(f"{self.title} took longer than {timeout_seconds:.0f} seconds")
        if self.exit_code != 0:
            raise self.failure(f"{self.title} failed with exit code {self.exit_code}")

    async def stop(self, *steps: Step) -> None:
        """Take the steps one after the other until the process has ended, SIGKILL last."""
        for step in (*steps, Step(signal.SIGKILL, _KILL_SECONDS)):
            if self._process is None or not self.is_running:
                return
            self._process.send_signal(step.signal)
            await until(lambda: not self.is_running, step.patience_seconds)

    def output(self) -> str:
        """What the process has written since its start."""
        with self._log.open("rb") as log:
            log.seek(self._log_start)
            return log.read(_LOG_BYTES_MAX).decode("utf-8", "replace")

    def failure(self, what: str) -> ServerUnavailable:
        """The error that says what happened, with the last log lines and where to find the rest."""
        last = "\n".join(f"  {line}" for line in self.output().splitlines()[-_LAST_LINES:]) or "  (nothing)"
        return ServerUnavailable(f"{what}. The last lines of {self._log}:\n{last}")
