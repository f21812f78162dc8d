"""Every task has an owner: the event loop holds tasks weakly, and one that nobody holds may vanish in mid-work."""

import asyncio
import contextvars
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")


class HandlerCancelledError(Exception):
    """What a handler awaited was cancelled by somebody else; the task that handles was not."""


class Crew:
    """The tasks that run for one owner."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, coroutine: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        """Run a coroutine until it ends or the crew is dismissed; its error goes to the loop's exception handler."""
        return self.own(coroutine, name=name, context=contextvars.copy_context(), on_done=_report)

    def own(
        self,
        coroutine: Coroutine[Any, Any, T],
        *,
        name: str,
        context: contextvars.Context,
        on_done: Callable[[asyncio.Task[T]], None],
    ) -> asyncio.Task[T]:
        """Run a coroutine and, when it is done, the callback, both in the given context and never in the caller's."""
        task = asyncio.get_running_loop().create_task(coroutine, name=name, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard, context=context)
        task.add_done_callback(on_done, context=context)
        return task

    async def dismiss(self, timeout_seconds: float) -> None:
        """Cancel every task but the one that calls, and wait until they have ended or the time is over."""
        tasks = self._tasks - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=timeout_seconds)


async def contained(awaitable: Awaitable[T]) -> T:
    """Await somebody else's code.

    Raises:
        HandlerCancelledError: instead of a cancellation that was not aimed at the running task.
    """
    try:
        return await awaitable
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise HandlerCancelledError("what the handler awaited was cancelled") from error


@types.coroutine
def give_way() -> Generator[None, None, None]:
    """Let the event loop run what else is ready."""
    yield


def _report(task: asyncio.Task[Any]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        task.get_loop().call_exception_handler(
            {"message": f"{task.get_name()} failed", "exception": error, "task": task}
        )
