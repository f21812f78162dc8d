"""The supervisor of worker processes on one machine.

Workers die with their supervisor, whatever ends it: each gets SIGKILL from the kernel then, and other nodes take over
what it ran.
"""

import asyncio
from collections.abc import Mapping

import structlog
from msgspec import Struct

from understudy.domain.ports import Clock
from understudy.runtime.worker_place import Phase, Policy, WorkerPlace, WorkerView

log = structlog.get_logger("cluster")


class Launch(Struct, frozen=True):
    """How a worker is started; its name, given to it in UNDERSTUDY_NODE, is `name` and the number of its place."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    name: str


class Cluster:
    """Runs as many workers as are wanted; places are numbered from 1, the lowest free number first."""

    def __init__(self, launch: Launch, policy: Policy, clock: Clock) -> None:
        self._launch = launch
        self._policy = policy
        self._clock = clock
        self._workers: dict[int, WorkerPlace] = {}
        self._group: asyncio.TaskGroup | None = None
        self._changed = asyncio.Event()
        self._is_stopping = False
        self._has_failed = False

    @property
    def views(self) -> tuple[WorkerView, ...]:
        """Every place that is not over, in the order of their making."""
        return tuple(worker.view for worker in self._workers.values())

    @property
    def is_stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._is_stopping

    @property
    def is_settled(self) -> bool:
        """Whether every worker that is wanted works, and no other one runs."""
        return all(worker.phase is Phase.READY for worker in self._workers.values())

    async def run(self, count: int) -> int:
        """Run workers until `stop`, or until none is left of those that could not start; the exit code."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            self.scale(count)
            while not self._is_stopping and not (self._has_failed and not self._workers):
                await self.change()
            self._group = None
        return 1 if self._has_failed else 0

    def scale(self, count: int) -> None:
        """Start more workers, or drain the newest ones, until `count` are wanted."""
        wanted = [worker for worker in self._workers.values() if worker.is_wanted]
        for worker in reversed(wanted[count:]):
            worker.drain()
        for _ in range(count - len(wanted)):
            self._add()

    def stop(self) -> None:
        """Drain every worker; called again, kill what still runs."""
        act = WorkerPlace.kill if self._is_stopping else WorkerPlace.drain
        self._is_stopping = True
        for worker in list(self._workers.values()):
            act(worker)
        self._tell()

    async def change(self) -> None:
        """Return when a place has changed."""
        await self._changed.wait()

    def _add(self) -> None:
        if self._group is None or self._is_stopping:
            return
        number = next(number for number in range(1, len(self._workers) + 2) if number not in self._workers)
        launch = self._launch
        worker = WorkerPlace(
            f"{launch.name}-{number}", launch.command, launch.environment, self._policy, self._clock, self._tell
        )
        self._workers[number] = worker
        self._group.create_task(self._keep(number, worker), name=worker.node)
        self._tell()

    async def _keep(self, number: int, worker: WorkerPlace) -> None:
        try:
            await worker.run()
        finally:
            del self._workers[number]
            self._has_failed = self._has_failed or worker.phase is Phase.GIVEN_UP
            log.info("worker_ended", node=worker.node, phase=worker.phase, left=len(self._workers))
            self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
