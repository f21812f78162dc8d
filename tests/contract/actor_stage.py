"""A stage to test actors on, and actors that do as they are told."""

import asyncio
import contextvars
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import pykka
import pytest
import uvloop

from understudy.actors.loop import AsyncActor, AsyncActorRef, Stage

NODE: contextvars.ContextVar[str] = contextvars.ContextVar("node", default="nowhere")


def on_both_loops(
    test: Callable[[Stage], Awaitable[None]],
) -> Callable[[Callable[[], asyncio.AbstractEventLoop]], None]:
    """Run a test with a stage on both event loops; afterwards nothing may be left and nobody may have complained."""

    async def perform() -> None:
        complaints: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        stage = Stage()
        await test(stage)
        assert await stage.stop_all(5) == []
        gc.collect()
        assert complaints == []
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert pykka.ActorRegistry.get_all() == []

    @pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
    def run(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
        # What other tests have left alive is not looked through again and again.
        gc.freeze()
        try:
            with asyncio.Runner(loop_factory=new_loop) as runner:
                runner.run(perform())
        finally:
            gc.unfreeze()

    run.__doc__ = test.__doc__
    return run


class Recorder(AsyncActor):
    """Performs what it is sent: a function is called with the actor, anything else is an echo; notes what happens."""

    def __init__(self, notes: list[Any] | None = None) -> None:
        super().__init__()
        self.notes: list[Any] = [] if notes is None else notes
        self.ended = asyncio.Event()

    async def on_receive(self, message: Any) -> Any:
        self.notes.append(message)
        return await message(self) if callable(message) else message

    async def on_stop(self) -> None:
        self.notes.append("stopped")
        self.ended.set()

    async def on_failure(self, error: BaseException) -> None:
        self.notes.append(error)
        self.ended.set()


class Starter(Recorder):
    """Also notes its start."""

    async def on_start(self) -> None:
        self.notes.append("started")


class Gate:
    """A handler that says when it runs and then waits to be opened."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.opened = asyncio.Event()

    async def __call__(self, _: AsyncActor) -> str:
        self.entered.set()
        await self.opened.wait()
        return "through"


def drain_of(ref: AsyncActorRef) -> "asyncio.Task[Any]":
    return next(task for task in asyncio.all_tasks() if task.get_name() == ref.actor_urn)


async def raise_value_error(_: AsyncActor) -> None:
    raise ValueError("broken")
