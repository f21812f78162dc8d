"""Executors with an effect that answer when the test says so."""

import asyncio
from typing import Any

from understudy.domain.failure import Category, Failure
from understudy.domain.ports import Assignment, ExecutorResult
from understudy.executors.outcome import failed, succeeded


class Call:
    """One attempt that has begun."""

    def __init__(self, assignment: Assignment) -> None:
        self.assignment = assignment
        self.is_aborted = False
        self.reply: asyncio.Future[ExecutorResult] = asyncio.get_running_loop().create_future()

    @property
    def key(self) -> Any:
        return self.assignment.effect.idempotency_key

    @property
    def attempt(self) -> int:
        return self.assignment.effect.attempt

    def succeed(self, output: Any = None) -> None:
        self.reply.set_result(succeeded(self.assignment, output))

    def fail(self, kind: str = "http.status.503", *, is_unknown: bool = False) -> None:
        failure = Failure(kind, Category.EXTERNAL, "it failed")
        self.reply.set_result(failed(self.assignment, failure, is_unknown=is_unknown))

    def break_(self, error: BaseException) -> None:
        self.reply.set_exception(error)


class Effects:
    """Every attempt that has begun, oldest first."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    async def __call__(self, assignment: Assignment) -> ExecutorResult:
        call = Call(assignment)
        self.calls.append(call)
        try:
            return await call.reply
        except asyncio.CancelledError:
            call.is_aborted = True
            raise

    @property
    def last(self) -> Call:
        return self.calls[-1]
