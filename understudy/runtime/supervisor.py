"""What follows when an actor commits or leaves: others are told, ownership is given back, what broke is tried again."""

import asyncio
from uuid import UUID

import structlog

from understudy.actors.process import ProcessActor
from understudy.actors.workplace import Ending
from understudy.domain.errors import Unreachable
from understudy.domain.ports import Change
from understudy.runtime.claims import Claims
from understudy.runtime.completion import Completions
from understudy.runtime.directory import Directory
from understudy.runtime.freshness import Freshness
from understudy.runtime.ownership import Ownership
from understudy.runtime.surroundings import NodePorts

log = structlog.get_logger("supervisor")

RETRY_SECONDS = 1.0


class Supervisor:
    """Hears of every actor's commits and of its end."""

    def __init__(
        self, ports: NodePorts, ownership: Ownership, directory: Directory, claims: Claims, completions: Completions
    ) -> None:
        self._ports = ports
        self._ownership = ownership
        self._directory = directory
        self._claims = claims
        self._completions = completions
        self._released: dict[UUID, None] = {}
        self._broken: dict[UUID, None] = {}
        self._wanted = asyncio.Event()
        self.freshness = Freshness(ports.views, ports.clock)
        self.published = asyncio.Event()
        self.fenced = 0

    def committed(self, change: Change) -> None:
        """Tell the cache about the version, and the relay about events to announce."""
        self.freshness.note(change.after.process_id, change.version + 1)
        self._claims.acquit(change.after.process_id)
        if change.publish:
            self.published.set()

    def left(self, actor: ProcessActor, ending: Ending, error: BaseException | None = None) -> None:
        """See to what an actor leaves behind."""
        self._directory.leave(actor)
        process_id = actor.process_id
        self._claims.acquit(process_id)
        match ending:
            case Ending.ENDED:
                self._completions.announce([process_id])
                self._released[process_id] = None
            case Ending.PASSIVATED:
                self._released[process_id] = None
                if actor.actor_ref.depth:
                    # It was told something while it was being given up.
                    self._claims.request([process_id])
            case Ending.FENCED:
                self.fenced += 1
                self._released[process_id] = None
            case Ending.DIVERGED | Ending.FAILED:
                log.error("actor_left", process_id=str(process_id), ending=ending.value, exc_info=error)
                self._broken[process_id] = None
                self._claims.postpone(process_id, actor.claim_fails)
            case Ending.STOPPED:
                log.info("actor_left", process_id=str(process_id), ending=ending.value)
        self._wanted.set()

    async def run(self) -> None:
        """Give back what was left, many at a time."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                await self._give_back()
            except Unreachable as error:
                log.warning("release_failed", reason=str(error))
                await self._ports.clock.sleep(RETRY_SECONDS)
                self._wanted.set()

    async def _give_back(self) -> None:
        """Free what has no actor here; what is being claimed again belongs to that claim."""
        session_id = self._ownership.session_id
        broken, self._broken = self._broken, {}
        released, self._released = self._released, {}
        try:
            with self._claims.exclusively([*broken, *released]) as free:
                lost = [process_id for process_id in free if process_id in broken]
                if lost:
                    await self._ports.journal.relinquish(session_id, lost)
                if free:
                    await self._ports.leases.release(session_id, free)
        except Unreachable:
            self._broken |= broken
            self._released |= released
            raise
