"""The child of a process actor: it performs one effect and tells its parent what came of it."""

import asyncio

from msgspec import Struct

from understudy.actors.broken import broken
from understudy.actors.crew import contained
from understudy.actors.loop import ActorDeadError, AsyncActor, AsyncActorRef
from understudy.actors.workplace import Workplace
from understudy.domain.ports import Assignment, ExecutorResult


class Perform(Struct, frozen=True):
    """Begin."""


class ExecutorActor(AsyncActor):
    """Performs one attempt. `has_begun` tells whether the effect may have reached the outside."""

    def __init__(self, parent: AsyncActorRef, workplace: Workplace, assignment: Assignment) -> None:
        super().__init__()
        self.has_begun = False
        self._parent = parent
        self._workplace = workplace
        self._assignment = assignment
        self._attempt: asyncio.Task[None] | None = None
        self._is_aborted = False

    async def on_receive(self, message: Perform) -> None:
        """Start the attempt beside the mail, so that a stop is heard."""
        assert isinstance(message, Perform)
        if not self._is_aborted:
            self._attempt = self.spawn(self._perform_attempt(), name=f"{self.actor_urn}:perform")

    async def on_failure(self, error: BaseException) -> None:
        """Let an executor that broke fail its attempt: the process must not wait for it for ever."""
        self._report(broken(self._assignment.effect, error, is_unknown=self.has_begun))

    def abort(self) -> None:
        """End the attempt now: a stop alone is mail, and the effect could begin before it is read."""
        self._is_aborted = True
        if self._attempt is not None:
            self._attempt.cancel()
        self.stop()

    async def _perform_attempt(self) -> None:
        clock, not_before = self._workplace.clock, self._assignment.effect.not_before
        if not_before is not None:
            while (seconds := (not_before - clock.now()).total_seconds()) > 0:
                await clock.sleep(seconds)
        await self._workplace.permit()
        self.has_begun = True
        # What the executor awaits may be cancelled by others: then the attempt has failed, instead of being forgotten.
        self._report(await contained(self._workplace.executors.perform(self._assignment)))
        self.stop()

    def _report(self, result: ExecutorResult) -> None:
        try:
            self._parent.tell(result)
        except ActorDeadError:
            # The parent was fenced or has ended: whoever owns the process now repeats the attempt.
            return
