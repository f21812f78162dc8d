"""The journal: ownership, and the one write statement that matters."""

import asyncio
from collections.abc import Mapping, Sequence
from uuid import UUID

from understudy.domain.errors import Stopped
from understudy.domain.messages import Delivery
from understudy.domain.ports import Change, Claimed, Clock, OwnerView, Receipt, Tenure
from understudy.domain.state import STATE_SCHEMA
from understudy.persistence.claiming import Claims
from understudy.persistence.committer import Committer
from understudy.persistence.lane import Counters
from understudy.persistence.pool import Database
from understudy.persistence.queries import Queries, load_queries
from understudy.persistence.rows import delivery_of
from understudy.persistence.statements import Statements


class PostgresJournal:
    """Implements the port `Journal`; reads raise `Unreachable`, commits wait until the outcome is known."""

    def __init__(
        self, database: Database, clock: Clock, node: str, *, lanes: int = 2, queries: Queries | None = None
    ) -> None:
        queries = queries or load_queries()
        self._statements = Statements(database)
        self._claims = Claims(database, clock, queries)
        self._committer = Committer(database, clock, node, queries, lanes=lanes, companions=[self._claims])

    @property
    def counters(self) -> Counters:
        """What the commits have seen."""
        return self._committer.counters

    @property
    def is_running(self) -> bool:
        """Whether claims and commits are taken; false before the start, after the stop and after a bug."""
        return self._committer.is_running

    async def start(self) -> None:
        """Begin to take claims and commits; a second start does nothing."""
        await self._committer.start()

    async def stop(self) -> None:
        """End at once; who still waits is told `Stopped`. Safe twice and unstarted."""
        await self._committer.stop()

    async def claim(self, session_id: UUID, claims: Mapping[UUID, UUID]) -> list[Claimed]:
        """Take processes (id -> claim token) that nobody alive owns; those not answered were refused.

        Raises:
            Unreachable: nothing happened for want of a server, or the outcome is unknown: then the audit finds it.
            Stopped: the journal does not run.
        """
        if not self.is_running:
            raise Stopped
        granted: asyncio.Future[list[Claimed]] = asyncio.get_running_loop().create_future()
        self._claims.ask(session_id, claims, granted)
        return await granted

    async def commit(self, change: Change) -> Receipt:
        """Apply a change if tenure and version still hold; returns only when the outcome is known.

        Raises:
            Stopped: the journal does not run, or stopped meanwhile.
        """
        return await self._committer.commit(change)

    async def passivate(self, process_id: UUID, tenure: Tenure, version: int) -> bool:
        """Give a process up unless an inbox row waits or the tenure is over.

        Raises:
            Stopped: the journal does not run, or stopped meanwhile.
        """
        return await self._committer.passivate(process_id, tenure, version)

    async def relinquish(self, session_id: UUID, process_ids: Sequence[UUID]) -> None:
        """Give up processes that this session owns, whatever their state, raising their epoch; `claim_fails` stays."""
        await self._statements.rows("relinquish", session_id, process_ids)

    async def spare(self, session_id: UUID, process_ids: Sequence[UUID]) -> None:
        """Give up processes that this session claimed and did not try, raising their epoch; `claim_fails` goes back."""
        await self._statements.rows("spare", session_id, process_ids)

    async def quarantine(self, process_id: UUID, tenure: Tenure, reason: str) -> None:
        """Give a process up for good, until an operator releases it; nothing happens if the tenure is over."""
        await self._statements.rows("quarantine", [process_id], [tenure.claim], [reason])

    async def deliveries(self, process_ids: Sequence[UUID]) -> dict[UUID, list[Delivery]]:
        """The unconsumed inbox rows of each process, oldest first."""
        found: dict[UUID, list[Delivery]] = {}
        for row in await self._statements.rows("deliveries", process_ids):
            found.setdefault(row["process_id"], []).append(delivery_of(row))
        return found

    async def owners(self, process_ids: Sequence[UUID]) -> list[OwnerView]:
        """Who owns these processes."""
        return [
            OwnerView(
                row["process_id"], row["owner_session"], row["owner_claim"], row["owner_alive"], row["is_claimable"]
            )
            for row in await self._statements.rows("owners", process_ids, STATE_SCHEMA)
        ]

    async def audit(self, session_id: UUID) -> dict[UUID, int]:
        """The processes this session owns that have work due, with their versions."""
        rows = await self._statements.rows("owned_with_work", session_id)
        return {row["process_id"]: row["version"] for row in rows}
