"""Pykka's actors on the event loop; the only module that imports pykka.

An actor is an object with an inbox. A task exists only while mail waits, so that a process which sleeps for days costs
its state and a few hundred bytes. One message is handled at a time, in the order of arrival; after `MESSAGES_PER_TURN`
messages the rest of the loop gets its turn.

Life: `launch` constructs an actor and enters it into the `Stage` of its node, which alone keeps it alive (a ref holds
it weakly). `on_start` runs right after the launch, in the actor's task, before the first message; a class without one
starts no task. A `stop` is mail: what was sent before it is handled, then `on_stop` runs, what was sent after it is
dropped and its askers get `ActorDeadError`.

Failure: an error while handling an `ask` belongs to the asker and the actor lives on. An error while handling a `tell`,
in `on_start` or in a task which the actor spawned ends the actor: it leaves the stage, `on_failure` runs, the rest of
the inbox is answered as after a stop. Cancelling the task of an actor ends this actor at once, without hooks, and no
other. A cancellation that comes up inside a handler, which awaited what somebody else cancelled, is an error like any.

Everything belongs to the thread of the event loop, and nothing is global: each simulated node has its own stage.
"""

import abc
import asyncio
import contextvars
import itertools
import sys
from collections.abc import Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, NoReturn, TypeVar

import pykka
import structlog
from pykka import ActorDeadError
from pykka._envelope import Envelope
from pykka.messages import _ActorStop

from understudy.actors.crew import Crew, contained, give_way
from understudy.actors.inbox import AsyncInbox, StopFlag

if TYPE_CHECKING:
    from pykka._types import OptExcInfo

    class _Carrier(abc.ABC):
        """Stands for `pykka.Actor` in type checking: its hooks are plain functions, ours are coroutines."""

        actor_urn: str
else:
    _Carrier = pykka.Actor

__all__ = ["ActorDeadError", "AsyncActor", "AsyncActorRef", "AsyncFuture", "Stage"]

MESSAGES_PER_TURN = 64

log = structlog.get_logger(__name__)
T = TypeVar("T")


class TaskFailed(NamedTuple):
    """Mail of an actor to itself: a task that it spawned raised."""

    error: BaseException


class AsyncFuture(pykka.Future[T]):
    """The reply to an `ask`, to be awaited; `get` never waits, it would block the loop."""

    def __init__(self) -> None:
        super().__init__()
        self._future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def get(self, *, timeout: float | None = None) -> T:
        """Return the reply that is there already; without one raise `asyncio.InvalidStateError`."""
        if timeout is not None:
            raise TypeError("a reply is awaited, not got: use `async with asyncio.timeout(...)`")
        result: T = self._future.result()
        return result

    def set(self, value: T | None = None) -> None:
        """Answer, unless the asker has gone or has its answer."""
        if not self._future.done():
            self._future.set_result(value)

    def set_exception(self, exc_info: "OptExcInfo | None" = None) -> None:
        """Answer with the given error or the one being handled, unless the asker has gone or has its answer."""
        error = (exc_info or sys.exc_info())[1]
        if error is not None:
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """Answer with an error, unless the asker has gone or has its answer."""
        if not self._future.done():
            self._future.set_exception(error)

    def set_get_hook(self, func: Callable[[float | None], T]) -> NoReturn:
        """Refuse: hooks run when a thread blocks in `get`."""
        raise TypeError(f"{func!r}: await the reply and go on from there")

    def __await__(self) -> Generator[Any, None, T]:
        return self._future.__await__()

    __iter__ = __await__


class AsyncActorRef(pykka.ActorRef[Any]):
    """How others reach an actor: it keeps nobody alive and may be passed around freely."""

    @property
    def depth(self) -> int:
        """Messages waiting; the one being handled is not counted."""
        return len(self.actor_inbox)  # type: ignore[arg-type] # the inbox is ours: AsyncInbox

    @property
    def actor(self) -> "AsyncActor | None":
        """The actor itself, for its own node to look at; None when it has stopped."""
        return self._living()

    def tell(self, message: Any) -> None:
        """Send a message and go on.

        Raises:
            ActorDeadError: the actor has stopped.
            InboxFull: it has too much mail waiting.
        """
        actor = self._living()
        if actor is None:
            raise ActorDeadError(f"{self} not found")
        actor.accept(Envelope(message))

    def ask(self, message: Any) -> AsyncFuture[Any]:  # type: ignore[override] # pykka's form blocks the thread by default
        """Send a message at once and return its reply to be awaited; a dead actor's reply is `ActorDeadError`.

        Raises:
            InboxFull: the actor has too much mail waiting.
        """
        reply: AsyncFuture[Any] = AsyncFuture()
        actor = self._living()
        if actor is None:
            reply.fail(ActorDeadError(f"{self} not found"))
        else:
            actor.accept(Envelope(message, reply_to=reply))
        return reply

    def stop(self) -> AsyncFuture[bool]:  # type: ignore[override] # pykka's form blocks the thread by default
        """Ask the actor to stop after the mail it has; awaiting gives False if it was dead before.

        For the actor itself the answer is there at once: awaiting its own end would never end.
        """
        reply: AsyncFuture[bool] = AsyncFuture()
        actor = self._living()
        if actor is None or actor.is_handling_here():
            reply.set(actor is not None)
        if actor is not None:
            actor.accept(Envelope(_ActorStop(), reply_to=reply), is_urgent=True)
        return reply

    def proxy(self) -> NoReturn:
        """Refuse: a proxy inspects the whole actor, blocks on attributes and bypasses the message types."""
        raise TypeError("actors understand messages: use tell and ask")

    def _living(self) -> "AsyncActor | None":
        return None if self.actor_stopped.is_set() else self._actor_weakref()


class AsyncActor(_Carrier):
    """An actor whose handlers are coroutines; subclasses define `on_receive` and call `super().__init__()`."""

    inbox_size_max: ClassVar[int] = 10_000

    def __init__(self) -> None:
        # The fields of pykka.Actor.__init__, which itself draws a random urn and makes a threading.Event (1.5 kB).
        self.actor_urn = ""
        self.actor_inbox = self._create_actor_inbox()
        self.actor_stopped = StopFlag()
        self._actor_ref = AsyncActorRef(self)
        self._stage: Stage | None = None
        self._context: contextvars.Context | None = None
        self.drain: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] | None = None
        self._is_started = type(self).on_start is AsyncActor.on_start

    @classmethod
    def launch(cls, stage: "Stage", *args: Any, **kwargs: Any) -> AsyncActorRef:
        """Construct an actor from the arguments and let it live on the stage, in a copy of the caller's context."""
        actor = cls(*args, **kwargs)
        actor._context = contextvars.copy_context()
        actor._stage = stage
        stage.enter(actor)
        actor._start_actor_loop()
        return actor.actor_ref

    @classmethod
    def start(cls, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: pykka's way enters the actor into its list for the whole operating system process."""
        raise TypeError(f"{cls.__name__}.launch(stage, ...) starts an actor, got {args} {kwargs}")

    @property
    def actor_ref(self) -> AsyncActorRef:
        """The ref to hand out instead of `self`."""
        return self._actor_ref

    async def on_start(self) -> None:
        """Runs once, before the first message; an error ends the actor."""

    async def on_stop(self) -> None:
        """Runs after the last message of an actor that was asked to stop; an error is logged."""

    async def on_failure(self, error: BaseException) -> None:
        """Runs after the error that ended the actor; an error is logged."""

    @abc.abstractmethod
    async def on_receive(self, message: Any) -> Any:
        """Handle one message; what it returns is the reply to an `ask`."""

    def spawn(self, coroutine: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        """Run a coroutine beside the mail; it ends with the actor at the latest, its error ends the actor.

        Raises:
            ActorDeadError: the actor is not (or not any more) on a stage.
        """
        if self._stage is None or self._context is None or self.actor_stopped.is_set():
            coroutine.close()
            raise ActorDeadError(f"{self} spawns nothing")
        task = self._stage.own(coroutine, name=name, context=self._context.copy(), on_done=self._task_done)
        if self._tasks is None:
            self._tasks = set()
        self._tasks.add(task)
        return task

    def stop(self) -> None:
        """Stop after the mail that waits now."""
        self._actor_ref.stop()

    def accept(self, envelope: Envelope[Any], *, is_urgent: bool = False) -> None:
        """Take mail and see that it is handled."""
        self.actor_inbox.put(envelope, is_urgent=is_urgent)
        if self.drain is None:
            self._start_actor_loop()

    def is_handling_here(self) -> bool:
        """Whether the caller runs inside this actor's handler."""
        return self.drain is not None and self.drain is asyncio.current_task()

    @classmethod
    def _create_actor_inbox(cls) -> AsyncInbox[Envelope[Any]]:
        return AsyncInbox(cls.inbox_size_max)

    @staticmethod
    def _create_future() -> AsyncFuture[Any]:
        return AsyncFuture()

    def _start_actor_loop(self) -> None:
        stage, context = self._stage, self._context
        if stage is None or context is None or (self._is_started and self.actor_inbox.empty()):
            return
        self.drain = stage.own(self._actor_loop(), name=self.actor_urn, context=context, on_done=self._drain_done)

    async def _actor_loop(self) -> None:
        if not self._is_started:
            await self._actor_loop_setup()
        await self._actor_loop_running()
        self._actor_loop_teardown()

    async def _actor_loop_setup(self) -> None:
        self._is_started = True
        try:
            await contained(self.on_start())
        except Exception as error:  # noqa: BLE001 - it ends this actor and is logged
            await self._handle_failure(error)

    async def _actor_loop_running(self) -> None:
        for turn in itertools.count(1):
            if self.actor_stopped.is_set() or self.actor_inbox.empty():
                return
            await self._handle_receive(self.actor_inbox.get())
            if turn % MESSAGES_PER_TURN == 0:
                await give_way()

    def _actor_loop_teardown(self) -> None:
        self.drain = None
        while not self.actor_inbox.empty():
            self._answer_dead(self.actor_inbox.get())

    async def _handle_receive(self, envelope: Envelope[Any]) -> None:
        try:
            reply = await self._perform(envelope.message)
        except Exception as error:  # noqa: BLE001 - the asker gets it as it is, or it ends this actor and is logged
            if envelope.reply_to is None:
                await self._handle_failure(error)
            else:
                envelope.reply_to.set_exception()
        except (asyncio.CancelledError, KeyboardInterrupt, SystemExit):
            self._answer_dead(envelope)
            raise
        else:
            if envelope.reply_to is not None:
                envelope.reply_to.set(reply)

    async def _perform(self, message: Any) -> Any:
        if isinstance(message, _ActorStop):
            return await self._stop()
        if isinstance(message, TaskFailed):
            raise message.error
        return await contained(self.on_receive(message))

    async def _stop(self) -> bool:
        self.actor_stopped.set()
        try:
            await contained(self.on_stop())
        except Exception:
            log.exception("actor_stop_failed", actor=str(self))
        self._leave()
        return True

    async def _handle_failure(self, error: BaseException) -> None:
        self.actor_stopped.set()
        log.error("actor_failed", actor=str(self), exc_info=error)
        try:
            await contained(self.on_failure(error))
        except Exception:
            log.exception("actor_failure_hook_failed", actor=str(self))
        self._leave()

    def _leave(self) -> None:
        self.actor_stopped.set()
        for task in self._tasks or ():
            task.cancel()
        if self._stage is not None:
            self._stage.leave(self)

    def _answer_dead(self, envelope: Envelope[Any]) -> None:
        if isinstance(envelope.message, TaskFailed):
            log.error("actor_task_failed", actor=str(self), exc_info=envelope.message.error)
        elif isinstance(envelope.message, _ActorStop) and envelope.reply_to is not None:
            envelope.reply_to.set(True)
        elif envelope.reply_to is not None:
            error = ActorDeadError(f"{self} stopped before it handled the message")
            envelope.reply_to.set_exception((ActorDeadError, error, None))

    def _drain_done(self, task: asyncio.Task[None]) -> None:
        """Bury the actor whose drain was ended from outside, be it before its first step."""
        if task.cancelled() or task.exception() is not None:
            self._leave()
            self._actor_loop_teardown()

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        if self._tasks is not None:
            self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and self.actor_stopped.is_set():
            self._answer_dead(Envelope(TaskFailed(error)))
        elif error is not None:
            self.accept(Envelope(TaskFailed(error)), is_urgent=True)


class Stage(Crew):
    """The actors of one node, by urn, and every task that runs for it."""

    def __init__(self, name: str = "stage") -> None:
        super().__init__()
        self._name = name
        self._actors: dict[str, AsyncActor] = {}
        self._numbers = itertools.count(1)

    def __len__(self) -> int:
        return len(self._actors)

    @property
    def refs(self) -> list[AsyncActorRef]:
        """Refs of the actors that have not ended, oldest first."""
        return [actor.actor_ref for actor in self._actors.values()]

    def find(self, urn: str) -> AsyncActorRef | None:
        """The actor of that urn, unless it has ended."""
        actor = self._actors.get(urn)
        return None if actor is None else actor.actor_ref

    def enter(self, actor: AsyncActor) -> None:
        """Give an actor its urn and keep it alive."""
        actor.actor_urn = actor.actor_ref.actor_urn = f"urn:actor:{self._name}:{next(self._numbers)}"
        self._actors[actor.actor_urn] = actor

    def leave(self, actor: AsyncActor) -> None:
        """Let go of an actor; nothing happens if it has left."""
        self._actors.pop(actor.actor_urn, None)

    async def stop_all(self, timeout_seconds: float) -> list[str]:
        """Stop the actors, newest first, then cancel what still runs, and wait for both, each at most the timeout.

        Returns the urns of the actors that had not ended in time and were cancelled. Not for actors to call.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                while self._actors:
                    for ref in reversed(self.refs):
                        ref.stop()
                    await asyncio.wait([actor.drain for actor in self._actors.values() if actor.drain is not None])
        except TimeoutError:
            pass
        late = list(self._actors)
        await self.dismiss(timeout_seconds)
        return late
