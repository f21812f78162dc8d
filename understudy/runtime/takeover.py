"""Watching other nodes die, and freeing what they owned (protocol.md, sections 5 and 9).

A crash shows in PostgreSQL at once: the session's advisory lock is free. A hang shows only in a heartbeat that stands
still, seen over one TTL of this observer's own time. Either way death is declared by compare-and-set on the count that
was observed, so a session that has beaten since survives, and one observer wins.
"""

import asyncio
from datetime import datetime
from uuid import UUID

import structlog
from msgspec import Struct

from understudy.domain.errors import Unreachable
from understudy.domain.views import SessionView
from understudy.runtime.ownership import BEAT_SECONDS, Ownership
from understudy.runtime.surroundings import NodePorts

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

    def __init__(self, ports: NodePorts, ownership: Ownership, ttl_seconds: float) -> None:
        self._sessions = ports.sessions
        self._leases = ports.leases
        self._clock = ports.clock
        self._ownership = ownership
        self._ttl_seconds = ttl_seconds
        self._sightings: dict[UUID, Sighting] = {}
        self.declared = 0
        self.inherited = asyncio.Event()
        """Set when processes have lost their owner, so that those with work are looked for at once."""
        self.eldest_id: UUID | None = None
        """The session that began before all others that live: it does what one node does for all."""

    async def bury_all(self) -> None:
        """Declare every other session dead: for a caller who knows that no other node can be running.

        Raises:
            Unreachable: PostgreSQL does not answer.
        """
        for view in await self._sessions.observe():
            if view.session_id != self._ownership.session_id:
                await self._bury(view)

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
        asked_at = self._clock.monotonic()
        everybody = await self._sessions.observe()
        self.eldest_id = next((view.session_id for view in everybody if view.state == "alive"), None)
        views = [view for view in everybody if view.session_id != self._ownership.session_id]
        self._sightings = {
            view.session_id: self._sightings[view.session_id] for view in views if view.session_id in self._sightings
        }
        for view in views:
            if view.state == "dead" or self._is_gone(view, asked_at):
                await self._bury(view)

    def _is_gone(self, view: SessionView, asked_at: float) -> bool:
        """Whether the session has been seen not to move for long enough.

        What was seen is as old as the question and as young as the answer: a span ends when the last read was asked for
        and begins when the first one was answered, so that a server which hangs in between adds nothing to it.
        """
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
        is_hung = asked_at - seen.since >= self._ttl_seconds
        is_crashed = (
            seen.free_since is not None
            and seen.lock_seen_at == view.server_started_at
            and asked_at - seen.free_since >= 2 * BEAT_SECONDS
        )
        return seen.reads >= READS_MIN and (is_hung or is_crashed)

    async def _bury(self, view: SessionView) -> None:
        session_id = view.session_id
        if view.state != "dead":
            if not await self._sessions.declare_dead(session_id, view.beat_seq):
                # It has beaten since, or somebody else was quicker.
                return
            self.declared += 1
            log.warning("session_declared_dead", session_id=str(session_id), node=view.node)
        while await self._sessions.disown(session_id, DISOWN_BATCH) == DISOWN_BATCH:
            pass
        self.inherited.set()
        try:
            await self._leases.close(session_id)
        except Unreachable as error:
            log.warning("lease_of_the_dead_stays", session_id=str(session_id), reason=str(error))
