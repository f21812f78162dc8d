"""This node's session: its heartbeat in PostgreSQL, its lease in Redis, and what it may do while they hold.

PostgreSQL decides whether the session is alive; the lease decides whether new effects may start. The lease is counted
from the moment when its renewal was sent, on a clock that does not stop in a suspend. A lapsed lease suspends: nothing
new starts, what is in flight goes on, commits may be tried, and everything resumes with the next renewal. A session
that was declared dead never comes back: the node stops at once and a new one is started.
"""

import asyncio
from collections.abc import Callable

import structlog

from understudy.domain.errors import Unreachable
from understudy.domain.ports import Clock, Leases, Sessions

log = structlog.get_logger("ownership")

BEAT_SECONDS = 0.5
RENEWALS_PER_TTL = 3
MARGIN_FRACTION = 0.1


class Ownership:
    """One life of this node."""

    def __init__(
        self, sessions: Sessions, leases: Leases, clock: Clock, ttl_seconds: float, on_lost: Callable[[], None]
    ) -> None:
        self.session_id = clock.new_id()
        self._sessions = sessions
        self._leases = leases
        self._clock = clock
        self._ttl_seconds = ttl_seconds
        self._on_lost = on_lost
        self._valid_until = float("-inf")
        self._renewed = asyncio.Event()
        self._beats_at = float("-inf")

    @property
    def is_valid(self) -> bool:
        """Whether the lease holds now."""
        return self._clock.monotonic() < self._valid_until

    async def permit(self) -> None:
        """Return when the lease holds: to be awaited before anything with an effect starts."""
        while not self.is_valid:
            self._renewed.clear()
            await self._renewed.wait()

    async def open(self, node: str, address: str | None) -> None:
        """Register the session and take its lease.

        Raises:
            Unreachable: PostgreSQL or Redis does not answer.
        """
        await self._sessions.open(self.session_id, node, address)
        sent_at = self._clock.monotonic()
        await self._leases.open(self.session_id)
        self._extend(sent_at)

    async def close(self) -> None:
        """Give the lease up and end the session; its row turning dead is the last step."""
        self._valid_until = float("-inf")
        try:
            await self._leases.close(self.session_id)
        except Unreachable as error:
            log.warning("lease_not_released", reason=str(error))
        await self._sessions.close()

    async def beat(self) -> None:
        """Count heartbeats up for as long as the session lives."""
        while True:
            try:
                is_alive = await self._sessions.beat(lease_ok=self.is_valid)
            except Unreachable as error:
                log.warning("beat_failed", reason=str(error))
            else:
                if not is_alive:
                    log.error("session_lost", session_id=str(self.session_id))
                    self._valid_until = float("-inf")
                    self._on_lost()
                    return
                self._beats_at = self._clock.monotonic()
            await self._clock.sleep(BEAT_SECONDS)

    async def renew(self) -> None:
        """Prolong the lease again and again."""
        while True:
            await self._clock.sleep(self._ttl_seconds / RENEWALS_PER_TTL)
            sent_at = self._clock.monotonic()
            try:
                is_known = await self._leases.renew(self.session_id)
                if not is_known and sent_at - self._beats_at < self._ttl_seconds:
                    # Redis forgot us, PostgreSQL did not: only its word allows the lease to be made anew.
                    await self._leases.open(self.session_id)
                    is_known = True
            except Unreachable as error:
                log.warning("renewal_failed", reason=str(error))
                continue
            if is_known:
                self._extend(sent_at)

    def _extend(self, sent_at: float) -> None:
        self._valid_until = sent_at + self._ttl_seconds * (1 - MARGIN_FRACTION)
        self._renewed.set()
