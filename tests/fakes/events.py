"""Events, the outbox and the safety nets in memory, under the same conditions as the queries of their names."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from uuid import UUID, uuid5

from tests.fakes.store import EventRow, InboxRow, Store
from understudy.domain.messages import EventArrived
from understudy.domain.ports import Wait
from understudy.domain.state import AwaitedEvent, timers_of
from understudy.domain.views import NewEvent, OutboxRow, Submitted

KEEPING = timedelta(hours=24)


class FakeEvents:
    """External events and the waits for them."""

    def __init__(self, store: Store) -> None:
        self.store = store

    async def accept(self, event: NewEvent) -> Submitted:
        await self.store.faults.visit("events.accept")
        known = self.store.events.get(event.event_id)
        if known is not None:
            is_same = event.request_hash in (None, known.request_hash)
            return Submitted(is_replay=is_same, conflicts=not is_same, first_status=202)
        self.store.events[event.event_id] = EventRow(
            event.event_id,
            event.type,
            event.key,
            event.data,
            event.process_id,
            event.request_hash,
            self.store.clock.now(),
        )
        return Submitted(first_status=202)

    async def deliver(self, event_id: UUID) -> list[UUID]:
        await self.store.faults.visit("events.deliver")
        event = self.store.events.get(event_id)
        if event is None or event.is_fanned_out:
            return []
        event.is_fanned_out = True
        reached = [wait for wait in list(self.store.subscriptions.values()) if _matches(event, wait)]
        self._hand_over(event, reached)
        return sorted({wait.process_id for wait in reached})

    async def take(self, process_id: UUID, execution_id: UUID, awaited: AwaitedEvent) -> bool:
        await self.store.faults.visit("events.take")
        wait = self.store.subscriptions.get(execution_id)
        if wait is None:
            return False
        asked = Wait(process_id, execution_id, awaited)
        event = next((row for row in self._kept() if _matches(row, asked)), None)
        if event is None:
            return False
        self._hand_over(event, [wait])
        return True

    async def undelivered(self, limit: int) -> list[UUID]:
        await self.store.faults.visit("events.undelivered")
        return [row.event_id for row in self.store.events.values() if not row.is_fanned_out][:limit]

    async def expire(self, limit: int) -> int:
        await self.store.faults.visit("events.expire")
        past = self.store.clock.now() - KEEPING
        old = [row.event_id for row in self.store.events.values() if row.is_fanned_out and row.received_at <= past]
        for event_id in old[:limit]:
            del self.store.events[event_id]
        return len(old[:limit])

    def _kept(self) -> list[EventRow]:
        past = self.store.clock.now() - KEEPING
        return [row for row in self.store.events.values() if row.taken_by is None and row.received_at > past]

    def _hand_over(self, event: EventRow, waits: Iterable[Wait]) -> None:
        for wait in waits:
            del self.store.subscriptions[wait.execution_id]
            event.taken_by = event.taken_by or wait.process_id
            message = EventArrived(wait.execution_id, event.event_id, event.type, event.key, event.data)
            ident = uuid5(wait.execution_id, str(event.event_id))
            self.store.inbox.append(InboxRow(wait.process_id, ident, message, self.store.clock.now()))


def _matches(event: EventRow, wait: Wait) -> bool:
    is_addressed = event.process_id in (None, wait.process_id)
    return is_addressed and (event.type, event.key) == (wait.awaited.type, wait.awaited.key)


class FakeOutbox:
    """Announced events."""

    def __init__(self, store: Store) -> None:
        self.store = store

    async def pending(self, limit: int) -> list[OutboxRow]:
        await self.store.faults.visit("outbox.pending")
        return self.store.outbox[:limit]

    async def delete(self, rows: Sequence[OutboxRow]) -> None:
        await self.store.faults.visit("outbox.delete")
        self.store.outbox = [row for row in self.store.outbox if row not in rows]


class FakeLookout:
    """What should be poked although no message said so."""

    def __init__(self, store: Store) -> None:
        self.store = store

    async def ready(self, limit: int) -> list[UUID]:
        await self.store.faults.visit("lookout.ready")
        rows = sorted(self.store.processes.items(), key=lambda item: item[1].claim_fails)
        return [ident for ident, row in rows if row.owner_session is None and row.is_ready and row.quarantined is None][
            :limit
        ]

    async def pending(self, older_than: timedelta, limit: int) -> list[UUID]:
        await self.store.faults.visit("lookout.pending")
        past = self.store.clock.now() - older_than
        waiting = [row for row in self.store.inbox if row.consumed_version is None and row.created_at <= past]
        named = dict.fromkeys(row.process_id for row in waiting)
        return [ident for ident in named if not self.store.processes[ident].state.state.is_terminal][:limit]

    async def due(self, limit: int) -> list[UUID]:
        await self.store.faults.visit("lookout.due")
        now = self.store.clock.now()
        return [
            ident
            for ident, row in self.store.processes.items()
            if self.store.is_free(row) and any(timer.due_at <= now for timer in timers_of(row.state).values())
        ][:limit]

    async def unmet(self, limit: int) -> list[Wait]:
        await self.store.faults.visit("lookout.unmet")
        kept = [row for row in self.store.events.values() if row.taken_by is None and row.is_fanned_out]
        waits = self.store.subscriptions.values()
        return [wait for wait in waits if any(_matches(event, wait) for event in kept)][:limit]

    async def reject_orphans(self, limit: int) -> int:
        await self.store.faults.visit("lookout.reject_orphans")
        orphans = [
            row
            for row in self.store.inbox
            if row.consumed_version is None and self.store.processes[row.process_id].state.state.is_terminal
        ][:limit]
        for row in orphans:
            process = self.store.processes[row.process_id]
            row.consumed_version = process.version
            row.outcome = f"rejected: the process is {process.state.state}"
        return len(orphans)
