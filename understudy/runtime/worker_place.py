"""A place for a worker: one operating system process in it, and after its crash the next one."""

import asyncio
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from uuid import UUID

import structlog
from msgspec import DecodeError, Struct, json

from understudy.domain.ports import Alarm, Clock
from understudy.embedded.privileges import as_account

log = structlog.get_logger("cluster")

EXIT_LOST = 75
"""A worker's session was declared dead: nothing is wrong with the worker, the next one opens a session of its own."""


class Phase(StrEnum):
    """Where a place is; in `ended` and `given_up` nothing runs in it any more."""

    STARTING = "starting"
    READY = "ready"
    WAITING = "waiting"
    DRAINING = "draining"
    ENDED = "ended"
    GIVEN_UP = "given_up"


class Policy(Struct, frozen=True, kw_only=True):
    """How workers are kept: a crash is followed by a pause that doubles until a worker has lived `stable_seconds`.

    A place is given up when `failures_max` workers in a row ended within `window_seconds` before they were ready. One
    that had been ready is always replaced: what killed it may be a process, and that is quarantined at its sixth claim.
    """

    grace_seconds: float = 30.0
    pause_seconds: float = 0.5
    pause_seconds_max: float = 30.0
    stable_seconds: float = 60.0
    failures_max: int = 5
    window_seconds: float = 60.0


class Ready(Struct, frozen=True):
    """The line by which a worker says, on its standard output, that it works."""

    node: str
    session: UUID
    address: str | None = None


class WorkerView(Struct, frozen=True):
    """A place as others see it."""

    node: str
    phase: Phase
    pid: int | None
    session: UUID | None
    crashes: int


class WorkerPlace:
    """Keeps one worker running until it is drained, ends by itself with 0, or is given up."""

    def __init__(
        self,
        node: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        policy: Policy,
        clock: Clock,
        on_change: Callable[[], None],
    ) -> None:
        self.node = node
        self.phase = Phase.STARTING
        self._command = as_account(command, None, data=Path(), death_signal=signal.SIGKILL)
        self._environment = {**environment, "UNDERSTUDY_NODE": node}
        self._policy = policy
        self._clock = clock
        self._on_change = on_change
        self._process: Process | None = None
        self._session: UUID | None = None
        self._crashes = 0
        self._pause_seconds = policy.pause_seconds
        self._failures: deque[float] = deque(maxlen=policy.failures_max)
        self._is_leaving = False
        self._go_on = asyncio.Event()
        self._alarm: Alarm | None = None

    @property
    def view(self) -> WorkerView:
        """The place as it is."""
        pid = None if self._process is None else self._process.pid
        return WorkerView(self.node, self.phase, pid, self._session, self._crashes)

    @property
    def is_wanted(self) -> bool:
        """Whether a worker runs here, or is to."""
        return self.phase in {Phase.STARTING, Phase.READY, Phase.WAITING}

    @property
    def is_over(self) -> bool:
        """Whether nothing will run here any more."""
        return self.phase in {Phase.ENDED, Phase.GIVEN_UP}

    def drain(self) -> None:
        """Ask the worker to end: what is in flight may end within the grace period."""
        if self._is_leaving or self.is_over:
            return
        self._is_leaving = True
        self._become(Phase.DRAINING)
        self._go_on.set()
        self._signal(signal.SIGTERM)
        if self._process is not None:
            self._alarm = self._clock.call_later(self._policy.grace_seconds, self._run_out)

    def kill(self) -> None:
        """End the worker now, as a crash would."""
        self._is_leaving = True
        self._go_on.set()
        self._signal(signal.SIGKILL)

    async def run(self) -> None:
        """Keep a worker running; returns when the place is over."""
        while not self._is_leaving:
            started_at = self._clock.monotonic()
            code, was_ready = await self._live()
            if self._is_leaving or code == 0:
                break
            self._crashes += 1
            if was_ready:
                self._failures.clear()
            seconds = self._clock.monotonic() - started_at
            log.error("worker_crashed", node=self.node, exit_code=code, seconds=round(seconds, 3), ready=was_ready)
            if not was_ready and self._is_hopeless():
                log.critical("worker_given_up", node=self.node, exit_code=code, failures=self._policy.failures_max)
                self._become(Phase.GIVEN_UP)
                return
            if code != EXIT_LOST or not was_ready:
                await self._pause(seconds)
        self._become(Phase.ENDED)

    async def _live(self) -> tuple[int, bool]:
        """One life of a worker: its exit code (negative: the signal), and whether it was ready."""
        self._become(Phase.STARTING)
        try:
            self._process = process = await asyncio.create_subprocess_exec(
                *self._command, stdin=DEVNULL, stdout=PIPE, env=self._environment, start_new_session=True
            )
        except OSError as error:
            log.exception("worker_not_started", node=self.node, reason=str(error))
            return 127, False
        try:
            if self._is_leaving:
                # Asked to leave while it was being made.
                process.kill()
            was_ready = await self._listen(process)
            return await process.wait(), was_ready
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            self._process = self._session = None
            if self._alarm is not None:
                self._alarm.cancel()

    async def _listen(self, process: Process) -> bool:
        assert process.stdout is not None
        was_ready = False
        while True:
            try:
                line = await process.stdout.readline()
                if not line:
                    return was_ready
                ready = json.decode(line, type=Ready)
            except (DecodeError, ValueError):
                continue  # some other line, or one without an end
            was_ready, self._session = True, ready.session
            log.info("worker_ready", node=self.node, pid=process.pid, session_id=str(ready.session))
            if not self._is_leaving:
                self._become(Phase.READY)

    def _is_hopeless(self) -> bool:
        now = self._clock.monotonic()
        self._failures.append(now)
        is_full = len(self._failures) == self._policy.failures_max
        return is_full and now - self._failures[0] <= self._policy.window_seconds

    async def _pause(self, lived_seconds: float) -> None:
        if lived_seconds >= self._policy.stable_seconds:
            self._pause_seconds = self._policy.pause_seconds
        seconds = self._pause_seconds
        self._pause_seconds = min(seconds * 2, self._policy.pause_seconds_max)
        self._become(Phase.WAITING)
        alarm = self._clock.call_later(seconds, self._go_on.set)
        await self._go_on.wait()
        alarm.cancel()
        if not self._is_leaving:
            self._go_on.clear()

    def _run_out(self) -> None:
        log.warning("worker_killed", node=self.node, grace_seconds=self._policy.grace_seconds)
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    def _become(self, phase: Phase) -> None:
        if phase is not self.phase:
            self.phase = phase
            self._on_change()
