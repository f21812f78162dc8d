"""Watching other nodes die, and freeing what they owned (protocol.md, sections 5 and 9).

A crash shows in PostgreSQL at once: the session's advisory lock is free. A hang shows only in a heartbeat that stands
still, seen over one TTL of this observer's own time. Either way death is declared by compare-and-set on the count that
was observed, so a session that has beaten since survives, and one observer wins.
"""

from datetime import datetime
from uuid import UUID

import structlog
from msgspec import Struct

from understudy.domain.errors import Unreachable
from understudy.domain.ports import Clock, Leases, Sessions
from understudy.domain.views import SessionView
from understudy.runtime.ownership import BEAT_SECONDS, Ownership

log = structlog.get_logger("takeover")

WATCH_SECONDS = 0.5
READS_MIN = 3
DISOWN_BATCH = 1_000


class Sighting(Struct):
    """What this observer has seen of a session since its count last moved."""

    beat_seq: int
    since: float
    reads: int
    lock_seen_at: datetime | None
    free_since: float | None


class Takeover:
    """Declares dead sessions dead and takes their processes away from them."""

    def __init__(
        self, sessions: Sessions, leases: Leases, ownership: Ownership, clock: Clock, ttl_seconds: float
    ) -> None:
        self._sessions = sessions
        self._leases = leases
        self._ownership = ownership
        self._clock = clock
        self._ttl_seconds = ttl_seconds
        self._sightings: dict[UUID, Sighting] = {}
        self.declared = 0

    async def bury_all(self) -> None:
        """Declare every other session dead: for a caller who knows that no other node can be running."""
        for view in await self._sessions.observe():
            if view.session_id != self._ownership.session_id:
                if view.state != "dead":
                    await self._sessions.declare_dead(view.session_id, view.beat_seq)
                await self._inherit(view.session_id)

    async def run(self) -> None:
        """Watch for ever."""
        while True:
            try:
                await self._watch()
            except Unreachable as error:
                # Nobody may be declared dead by an observer who could not look: start all over.
                self._sightings.clear()
                log.warning("watch_failed", reason=str(error))
            await self._clock.sleep(WATCH_SECONDS)

    async def _watch(self) -> None:
        views = [view for view in await self._sessions.observe() if view.session_id != self._ownership.session_id]
        self._sightings = {
            view.session_id: self._sightings[view.session_id] for view in views if view.session_id in self._sightings
        }
        for view in views:
            if view.state == "dead":
                await self._inherit(view.session_id)
            elif self._is_gone(view) and await self._sessions.declare_dead(view.session_id, view.beat_seq):
                self.declared += 1
                log.warning("session_declared_dead", session_id=str(view.session_id), node=view.node)
                await self._inherit(view.session_id)

    def _is_gone(self, view: SessionView) -> bool:
        now = self._clock.monotonic()
        seen = self._sightings.get(view.session_id)
        if seen is None or seen.beat_seq != view.beat_seq:
            lock_seen_at = None if seen is None else seen.lock_seen_at
            seen = Sighting(view.beat_seq, now, 0, lock_seen_at, None)
            self._sightings[view.session_id] = seen
        seen.reads += 1
        if view.lock_held:
            seen.lock_seen_at = view.server_started_at
            seen.free_since = None
        elif seen.free_since is None:
            seen.free_since = now
        is_hung = seen.reads >= READS_MIN and now - seen.since >= self._ttl_seconds
        is_crashed = (
            seen.free_since is not None
            and seen.lock_seen_at == view.server_started_at
            and now - seen.free_since >= 2 * BEAT_SECONDS
            and seen.reads >= READS_MIN
        )
        return is_hung or is_crashed

    async def _inherit(self, session_id: UUID) -> None:
        while await self._sessions.disown(session_id, DISOWN_BATCH) == DISOWN_BATCH:
            pass
        await self._leases.close(session_id)
