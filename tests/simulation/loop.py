"""An event loop on virtual time: every choice comes from a seed, and nodes can be killed and stopped like programs.

Each task belongs to one life of a node by a context variable that tasks and timers inherit. What belongs to a dead life
is never run again, not even its `finally` (kill -9); what belongs to a paused one waits (SIGSTOP, SIGCONT).
"""

import asyncio
import contextvars
import heapq
import random
import zlib
from collections.abc import Callable, Coroutine
from enum import Enum
from typing import Any, TypeVar

T = TypeVar("T")


class Condition(Enum):
    """How a life is."""

    RUNNING = "running"
    PAUSED = "paused"
    DEAD = "dead"


class Life:
    """One life of a node, from its start to its end."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.condition = Condition.RUNNING
        self.parked: list[asyncio.Handle] = []

    @property
    def is_dead(self) -> bool:
        return self.condition is Condition.DEAD


LIFE: "contextvars.ContextVar[Life | None]" = contextvars.ContextVar("life", default=None)
"""Whose code is running; None is the world: servers, networks, clients and the nemesis."""


class Deadlock(Exception):
    """Everybody waits, and nothing will ever happen."""


class Sluggish(Exception):
    """More steps than any healthy run takes: something spins."""


class SimTask(asyncio.Task):  # type: ignore[type-arg]
    """A task with a number for its hash: sets of tasks are walked in the same order in every run."""

    def __init__(self, work: Any, *, number: int, loop: asyncio.AbstractEventLoop, context: Any) -> None:
        self.number = number
        super().__init__(work, loop=loop, context=context)

    def __hash__(self) -> int:
        return self.number


class SimFuture(asyncio.Future):  # type: ignore[type-arg]
    """A future with a number for its hash."""

    def __init__(self, *, number: int, loop: asyncio.AbstractEventLoop) -> None:
        self.number = number
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self.number


class SimLoop(asyncio.BaseEventLoop):
    """One step at a time; which of the tasks that are ready comes next is the seed's choice."""

    def __init__(self, seed: object, *, steps_max: int = 3_000_000) -> None:
        super().__init__()
        self.trace = 0
        self.steps = 0
        self.complaints: list[dict[str, Any]] = []
        self.world = contextvars.Context()
        self._random = random.Random(f"{seed}:loop")
        self._seconds = 0.0
        self._steps_max = steps_max
        self._tasks: list[SimTask] = []
        self._numbers = 0
        self._lives: list[Life] = []
        self.set_task_factory(self._make_task)
        self.set_exception_handler(lambda _, context: self.complaints.append(context))

    # What nodes do to each other

    def live(self, name: str) -> tuple[Life, contextvars.Context]:
        """Begin a life; what is started in its context belongs to it."""
        life = Life(name)
        self._lives.append(life)
        context = self.world.copy()
        context.run(LIFE.set, life)
        return life, context

    def kill(self, life: Life) -> None:
        """Kill -9."""
        life.condition = Condition.DEAD

    def pause(self, life: Life) -> None:
        """SIGSTOP."""
        if life.condition is Condition.RUNNING:
            life.condition = Condition.PAUSED

    def resume(self, life: Life) -> None:
        """SIGCONT."""
        if life.condition is Condition.PAUSED:
            life.condition = Condition.RUNNING
            self._ready.extend(life.parked)
            life.parked.clear()

    def later(self, seconds: float, callback: Callable[..., None], *arguments: Any) -> asyncio.TimerHandle:
        """Have the world do something later."""
        return self.call_later(seconds, callback, *arguments, context=self.world.copy())

    def begin(self, work: Coroutine[Any, Any, T], *, name: str) -> "asyncio.Task[T]":
        """Run a task of the world's own."""
        return self.create_task(work, name=name, context=self.world.copy())

    def wind_up(self) -> None:
        """End every task in order, those of the dead too, so that nothing is left for the garbage collector."""
        for life in self._lives:
            life.condition = Condition.RUNNING
            self._ready.extend(life.parked)
            life.parked.clear()
        self.complaints.clear()
        for _ in range(20):
            left = [task for task in self._tasks if not task.done()]
            for task in left:
                task.cancel()
            if not left:
                break
            self.run_until_complete(self._turns(50))
        for task in self._tasks:
            if not task.done():
                task._log_destroy_pending = False
            elif not task.cancelled():
                task.exception()
        self.complaints.clear()
        self._scheduled.clear()
        self._ready.clear()
        self.set_exception_handler(lambda _, __: None)
        self.close()

    async def _turns(self, count: int) -> None:
        for _ in range(count):
            turn = self.create_future()
            self.call_soon(turn.set_result, None)
            await turn

    # The loop

    def time(self) -> float:
        return self._seconds

    def create_future(self) -> SimFuture:
        self._numbers += 1
        return SimFuture(number=self._numbers, loop=self)

    def _make_task(self, _: asyncio.AbstractEventLoop, work: Any, context: Any = None) -> SimTask:
        # Kept until it is done: the loop holds tasks weakly, and a dead node's would end as if they were closed.
        self._numbers += 1
        task = SimTask(work, number=self._numbers, loop=self, context=context)
        self._tasks.append(task)
        if len(self._tasks) % 4096 == 0:
            self._tasks = [kept for kept in self._tasks if not kept.done()]
        return task

    def _process_events(self, _: Any) -> None:
        """There are no sockets."""

    def _write_to_self(self) -> None:
        """There are no other threads."""

    def _run_once(self) -> None:
        scheduled, ready = self._scheduled, self._ready
        while scheduled and scheduled[0]._cancelled:
            heapq.heappop(scheduled)._scheduled = False
        if not ready:
            if not scheduled:
                raise Deadlock(f"at {self._seconds:.3f}")
            self._seconds = max(self._seconds, scheduled[0]._when)
        while scheduled and scheduled[0]._when <= self._seconds:
            timer = heapq.heappop(scheduled)
            timer._scheduled = False
            if not timer._cancelled:
                ready.append(timer)
        if ready:
            self._step()

    def _step(self) -> None:
        """Run one: any task's step, or the oldest callback; callbacks keep their order."""
        ready = self._ready
        choice = 0
        if len(ready) > 1:
            eligible = [
                index for index, handle in enumerate(ready) if index == 0 or isinstance(_owner(handle), SimTask)
            ]
            choice = eligible[self._random.randrange(len(eligible))]
        handle = ready[choice]
        del ready[choice]
        if handle._cancelled:
            return
        life = handle._context.get(LIFE)
        if life is not None and life.condition is not Condition.RUNNING:
            life.parked.append(handle)
            return
        self.steps += 1
        if self.steps > self._steps_max:
            raise Sluggish(f"{self.steps} steps at {self._seconds:.3f}")
        self._note(handle, choice, life)
        handle._run()

    def _note(self, handle: asyncio.Handle, choice: int, life: Life | None) -> None:
        owner = _owner(handle)
        who = owner.number if isinstance(owner, SimTask) else getattr(handle._callback, "__qualname__", "")
        line = f"{choice}:{len(self._ready)}:{who}:{self._seconds!r}:{'' if life is None else life.name}"
        self.trace = zlib.crc32(line.encode(), self.trace)


def _owner(handle: asyncio.Handle) -> Any:
    return getattr(handle._callback, "__self__", None)
