"""This node's session: its heartbeat in PostgreSQL, its lease in Redis, and what it may do while they hold.

PostgreSQL decides whether the session is alive; the lease decides whether new effects may start. The lease is counted
from the moment when its renewal was sent, on a clock that does not stop in a suspend. A lapsed lease suspends: nothing
new starts, what is in flight goes on, commits may be tried, and everything resumes with the next renewal. A session
that was declared dead never comes back: from that moment nothing may start, and a new node takes this one's place.
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
        self._is_over = False
        self._valid_until = float("-inf")
        self._renewed = asyncio.Event()
        self._beaten_at = float("-inf")
        self._beaten = asyncio.Event()

    @property
    def is_valid(self) -> bool:
        """Whether the lease holds now."""
        return not self._is_over and self._clock.monotonic() < self._valid_until

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

    def end(self) -> None:
        """Permit nothing any more, for good."""
        self._is_over = True

    async def close(self) -> None:
        """Give the lease up and end the session; its row turning dead is the last step."""
        self.end()
        try:
            await self._leases.close(self.session_id)
        except Unreachable as error:
            log.warning("lease_not_released", session_id=str(self.session_id), reason=str(error))
        try:
            await self._sessions.close()
        except Unreachable as error:
            # The others see it standing still.
            log.warning("session_not_ended", session_id=str(self.session_id), reason=str(error))

    async def beat(self) -> None:
        """Count heartbeats up for as long as the session lives."""
        while not self._is_over:
            sent_at = self._clock.monotonic()
            try:
                is_alive = await self._sessions.beat(lease_ok=self.is_valid)
            except Unreachable as error:
                log.warning("beat_failed", reason=str(error))
            else:
                if not is_alive:
                    log.error("session_lost", session_id=str(self.session_id))
                    self.end()
                    self._on_lost()
                    return
                self._beaten_at = sent_at
                self._beaten.set()
            await self._clock.sleep(BEAT_SECONDS)

    async def renew(self) -> None:
        """Prolong the lease again and again."""
        while not self._is_over:
            await self._clock.sleep(self._ttl_seconds / RENEWALS_PER_TTL)
            sent_at = self._clock.monotonic()
            try:
                if not await self._leases.renew(self.session_id):
                    log.warning("lease_forgotten", session_id=str(self.session_id))
                    await self._confirmation()
                    sent_at = self._clock.monotonic()
                    await self._leases.open(self.session_id)
            except Unreachable as error:
                log.warning("renewal_failed", reason=str(error))
            else:
                self._extend(sent_at)

    async def _confirmation(self) -> None:
        """Return when PostgreSQL has counted a heartbeat that was sent after this moment.

        Whoever declares a session dead deletes its lease: only PostgreSQL's word allows a forgotten one to come back.
        """
        asked_at = self._clock.monotonic()
        while self._beaten_at <= asked_at:
            self._beaten.clear()
            await self._beaten.wait()

    def _extend(self, sent_at: float) -> None:
        self._valid_until = sent_at + self._ttl_seconds * (1 - MARGIN_FRACTION)
        self._renewed.set()
