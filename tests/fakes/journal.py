"""The journal in memory, under the same conditions as sql/queries/journal.sql."""

from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

from tests.fakes.store import HistoryRow, ProcessRow, Store
from understudy.domain.evolution import evolve
from understudy.domain.messages import Delivery
from understudy.domain.ports import Change, Claimed, OwnerView, Receipt, Tenure, Verdict, Wait
from understudy.domain.state import subscriptions_of, timers_of
from understudy.domain.views import OutboxRow


class FakeJournal:
    """Every commit is checked: it must continue the state that is stored, and its facts must fold to its result."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.is_poison: Callable[[Change], bool] = lambda _: False
        self.changes: list[Change] = []

    async def claim(self, session_id: UUID, claims: Mapping[UUID, UUID]) -> list[Claimed]:
        await self.store.faults.visit("journal.claim")
        session = self.store.sessions.get(session_id)
        if session is None or session.state != "alive":
            return []
        return [
            self._take(self.store.processes[process_id], session_id, claim)
            for process_id, claim in sorted(claims.items())
            if process_id in self.store.processes and self._is_claimable(self.store.processes[process_id])
        ]

    async def commit(self, change: Change) -> Receipt:
        await self.store.faults.visit("journal.commit")
        row = self.store.processes.get(change.after.process_id)
        if row is None or (row.owner_epoch, row.owner_claim) != (change.tenure.epoch, change.tenure.claim):
            return Receipt(Verdict.FENCED, self.store.clock.now())
        if row.version != change.version:
            return Receipt(Verdict.DIVERGED, self.store.clock.now())
        if self.is_poison(change):
            return Receipt(Verdict.POISON, reason="the database cannot store it: DataError")
        self._apply(row, change)
        return Receipt(Verdict.APPLIED, self.store.clock.now())

    async def passivate(self, process_id: UUID, tenure: Tenure, version: int) -> bool:
        await self.store.faults.visit("journal.passivate")
        row = self.store.processes[process_id]
        if (row.owner_epoch, row.owner_claim, row.version) != (tenure.epoch, tenure.claim, version):
            return False
        if self.store.pending(process_id):
            return False
        row.owner_session = row.owner_claim = None
        row.claim_fails = 0
        return True

    async def relinquish(self, session_id: UUID, process_ids: Sequence[UUID]) -> None:
        await self.store.faults.visit("journal.relinquish")
        for process_id in process_ids:
            row = self.store.processes.get(process_id)
            if row is not None and row.owner_session == session_id:
                row.owner_session = row.owner_claim = None
                row.owner_epoch += 1

    async def spare(self, session_id: UUID, process_ids: Sequence[UUID]) -> None:
        await self.store.faults.visit("journal.spare")
        for process_id in process_ids:
            row = self.store.processes.get(process_id)
            if row is not None and row.owner_session == session_id:
                row.owner_session = row.owner_claim = None
                row.owner_epoch += 1
                row.claim_fails = max(row.claim_fails - 1, 0)

    async def quarantine(self, process_id: UUID, tenure: Tenure, reason: str) -> None:
        await self.store.faults.visit("journal.quarantine")
        row = self.store.processes[process_id]
        if row.owner_claim == tenure.claim:
            row.quarantined = reason
            row.owner_session = row.owner_claim = None
            row.owner_epoch += 1

    async def deliveries(self, process_ids: Sequence[UUID]) -> dict[UUID, list[Delivery]]:
        await self.store.faults.visit("journal.deliveries")
        found = {process_id: list(self._deliveries(process_id)) for process_id in process_ids}
        return {process_id: deliveries for process_id, deliveries in found.items() if deliveries}

    async def owners(self, process_ids: Sequence[UUID]) -> list[OwnerView]:
        await self.store.faults.visit("journal.owners")
        return [
            OwnerView(
                process_id,
                row.owner_session,
                row.owner_claim,
                row.owner_session in self.store.sessions and not self.store.is_dead(row.owner_session),
                self._is_claimable(row),
            )
            for process_id in process_ids
            if (row := self.store.processes.get(process_id)) is not None
        ]

    async def audit(self, session_id: UUID) -> dict[UUID, int]:
        await self.store.faults.visit("journal.audit")
        now = self.store.clock.now()
        return {
            process_id: row.version
            for process_id, row in self.store.processes.items()
            if row.owner_session == session_id and row.quarantined is None
            if row.is_ready
            or self.store.pending(process_id)
            or any(timer.due_at <= now for timer in timers_of(row.state).values())
        }

    def _is_claimable(self, row: ProcessRow) -> bool:
        return row.quarantined is None and self.store.is_free(row) and not row.state.state.is_terminal

    def _take(self, row: ProcessRow, session_id: UUID, claim: UUID) -> Claimed:
        row.owner_session, row.owner_claim = session_id, claim
        row.owner_epoch += 1
        row.claim_fails += 1
        process_id = row.state.process_id
        return Claimed(
            row.state,
            Tenure(row.owner_epoch, claim),
            row.version,
            row.claim_fails,
            self._deliveries(process_id),
            self.store.clock.now(),
        )

    def _deliveries(self, process_id: UUID) -> tuple[Delivery, ...]:
        return tuple(Delivery(row.message_id, row.message, row.created_at) for row in self.store.pending(process_id))

    def _apply(self, row: ProcessRow, change: Change) -> None:
        store, state = self.store, row.state
        for seq, fact in enumerate(change.facts, state.seq + 1):
            state = evolve(state, fact)
            store.history[state.process_id].append(HistoryRow(seq, row.version + 1, row.owner_epoch, fact))
        assert state == change.after, "the facts of a change fold to its result"
        waited, waits = subscriptions_of(row.state), subscriptions_of(state)
        if not state.state.is_terminal:
            fresh = waits.keys() - waited.keys()
            store.subscriptions |= {ident: Wait(state.process_id, ident, waits[ident]) for ident in fresh}
        for ident in waited.keys() - waits.keys():
            store.subscriptions.pop(ident, None)
        row.state, row.version, row.claim_fails = state, row.version + 1, 0
        if state.state.is_terminal:
            row.owner_session = row.owner_claim = None
        consumed = {used.message_id: used.outcome for used in change.consumed}
        for message in store.pending(state.process_id):
            if message.message_id in consumed:
                message.consumed_version, message.outcome = row.version, consumed[message.message_id]
        store.outbox += [
            OutboxRow(
                state.process_id, row.version, idx, event.event_id, event.type, event.key, event.data, store.clock.now()
            )
            for idx, event in enumerate(change.publish)
        ]
        self.changes.append(change)
