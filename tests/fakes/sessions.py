"""Sessions and leases in memory: one object for each node, all on the same store."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from tests.fakes.clock import ManualClock
from tests.fakes.faults import Faults
from tests.fakes.store import SessionRow, Store
from understudy.domain.views import SessionView


class FakeSessions:
    """The lives of nodes, under the same conditions as sql/queries/sessions.sql."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.session_id: UUID | None = None

    async def open(self, session_id: UUID, node: str, address: str | None) -> None:
        await self.store.faults.visit("sessions.open")
        self.session_id = session_id
        self.store.sessions.setdefault(session_id, SessionRow(session_id, node, address, self.store.clock.now()))
        self.store.locks.add(session_id)

    async def beat(self, *, lease_ok: bool) -> bool:
        await self.store.faults.visit("sessions.beat")
        assert self.session_id is not None
        row = self.store.sessions.get(self.session_id)
        if row is None or row.state == "dead":
            return False
        self.store.locks.add(self.session_id)
        row.beat_seq += 1
        row.lease_ok = lease_ok
        return True

    async def observe(self) -> list[SessionView]:
        await self.store.faults.visit("sessions.observe")
        owners = {row.owner_session for row in self.store.processes.values()}
        return [
            SessionView(
                row.session_id,
                row.node,
                row.address,
                row.started_at,
                row.beat_seq,
                row.lease_ok,
                row.state,
                row.session_id in self.store.locks,
                self.store.server_started_at,
            )
            for row in self.store.sessions.values()
            if row.state != "dead" or row.session_id in owners
        ]

    async def declare_dead(self, session_id: UUID, beat_seq: int) -> bool:
        await self.store.faults.visit("sessions.declare_dead")
        row = self.store.sessions.get(session_id)
        if row is None or row.beat_seq != beat_seq or row.state == "dead":
            return False
        row.state = "dead"
        return True

    async def disown(self, session_id: UUID, limit: int) -> int:
        await self.store.faults.visit("sessions.disown")
        if not self.store.is_dead(session_id):
            return 0
        owned = [row for row in self.store.processes.values() if row.owner_session == session_id][:limit]
        for row in owned:
            row.owner_session = row.owner_claim = None
            row.owner_epoch += 1
        return len(owned)

    async def close(self) -> None:
        await self.store.faults.visit("sessions.close")
        if self.session_id is not None:
            self.store.sessions[self.session_id].state = "dead"
            self.store.locks.discard(self.session_id)
            self.session_id = None


@dataclass
class Redis:
    """What Redis holds: until when each session's lease lasts, and who holds which process."""

    clock: ManualClock
    faults: Faults
    ttl_seconds: float = 10.0
    leases: dict[UUID, float] = field(default_factory=dict)
    records: dict[UUID, UUID] = field(default_factory=dict)

    def flush(self) -> None:
        self.leases.clear()
        self.records.clear()

    def lives(self, session_id: UUID) -> bool:
        return self.leases.get(session_id, 0.0) > self.clock.monotonic()


class FakeLeases:
    """Who holds what, as the scripts beside persistence/leases.py say."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis

    async def open(self, session_id: UUID) -> None:
        await self.redis.faults.visit("leases.open")
        self._prolong(session_id)

    async def renew(self, session_id: UUID) -> bool:
        await self.redis.faults.visit("leases.renew")
        if not self.redis.lives(session_id):
            return False
        self._prolong(session_id)
        return True

    async def claim(self, session_id: UUID, process_ids: Sequence[UUID]) -> list[UUID | None] | None:
        await self.redis.faults.visit("leases.claim")
        if not self.redis.lives(session_id):
            return None
        holders = [self._other_holder(process_id, session_id) for process_id in process_ids]
        for process_id, holder in zip(process_ids, holders, strict=True):
            if holder is None:
                self.redis.records[process_id] = session_id
        return holders

    async def holders(self, process_ids: Sequence[UUID]) -> list[UUID | None]:
        await self.redis.faults.visit("leases.holders")
        return [self._other_holder(process_id, None) for process_id in process_ids]

    async def repair(self, process_id: UUID, seen: UUID, owner: UUID) -> None:
        await self.redis.faults.visit("leases.repair")
        if self.redis.records.get(process_id) == seen:
            self.redis.records[process_id] = owner

    async def release(self, session_id: UUID, process_ids: Sequence[UUID]) -> None:
        await self.redis.faults.visit("leases.release")
        for process_id in process_ids:
            if self.redis.records.get(process_id) == session_id:
                del self.redis.records[process_id]

    async def close(self, session_id: UUID) -> None:
        await self.redis.faults.visit("leases.close")
        self.redis.leases.pop(session_id, None)

    def _prolong(self, session_id: UUID) -> None:
        self.redis.leases[session_id] = self.redis.clock.monotonic() + self.redis.ttl_seconds

    def _other_holder(self, process_id: UUID, session_id: UUID | None) -> UUID | None:
        holder = self.redis.records.get(process_id)
        return holder if holder is not None and holder != session_id and self.redis.lives(holder) else None
