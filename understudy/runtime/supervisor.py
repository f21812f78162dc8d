"""What follows when an actor commits or leaves: others are told, ownership is given back, what broke is tried again."""

import asyncio
from uuid import UUID

import structlog

from understudy.actors.process import ProcessActor
from understudy.actors.workplace import Ending
from understudy.domain.errors import Unreachable
from understudy.domain.ports import Change, Clock, Journal, Leases
from understudy.runtime.claims import Claims
from understudy.runtime.completion import Completions
from understudy.runtime.directory import Directory
from understudy.runtime.ownership import Ownership

log = structlog.get_logger("supervisor")

RETRY_SECONDS = 1.0
RETRY_SECONDS_MAX = 60.0


class Supervisor:
    """Hears of every actor's commits and of its end."""

    def __init__(
        self,
        journal: Journal,
        leases: Leases,
        ownership: Ownership,
        directory: Directory,
        claims: Claims,
        completions: Completions,
        clock: Clock,
    ) -> None:
        self._journal = journal
        self._leases = leases
        self._ownership = ownership
        self._directory = directory
        self._claims = claims
        self._completions = completions
        self._clock = clock
        self._released: list[UUID] = []
        self._broken: list[UUID] = []
        self._wanted = asyncio.Event()
        self.published = asyncio.Event()
        self.fenced = 0

    def committed(self, change: Change) -> None:
        """Tell the relay about events to announce."""
        if change.publish:
            self.published.set()

    def left(self, actor: ProcessActor, ending: Ending, error: BaseException | None = None) -> None:
        """See to what an actor leaves behind."""
        self._directory.leave(actor)
        process_id = actor.process_id
        match ending:
            case Ending.ENDED:
                self._completions.announce([process_id])
                self._released.append(process_id)
            case Ending.PASSIVATED:
                self._released.append(process_id)
                if actor.actor_ref.depth:
                    self._claims.request([process_id])
            case Ending.FENCED:
                self.fenced += 1
                self._released.append(process_id)
            case Ending.DIVERGED | Ending.FAILED:
                log.error("actor_left", process_id=str(process_id), ending=ending.value, exc_info=error)
                self._broken.append(process_id)
                delay = min(RETRY_SECONDS * 2**actor.claim_fails, RETRY_SECONDS_MAX)
                self._clock.call_later(delay, lambda: self._claims.request([process_id]))
        self._wanted.set()

    async def run(self) -> None:
        """Give back what was left, many at a time."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                await self._give_back()
            except Unreachable as error:
                # The audit finds what is still owned, a holder record expires: nothing is lost by waiting.
                log.warning("release_failed", reason=str(error))
                await self._clock.sleep(RETRY_SECONDS)

    async def _give_back(self) -> None:
        session_id = self._ownership.session_id
        broken, self._broken = self._broken, []
        if broken:
            await self._journal.relinquish(session_id, broken)
        released, self._released = self._released, []
        gone = [process_id for process_id in (*released, *broken) if process_id not in self._directory]
        if gone:
            await self._leases.release(session_id, gone)
