"""The tables of PostgreSQL in memory, and what a superuser would do to them by hand."""

import itertools
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from tests.factories import T0
from tests.fakes.clock import ManualClock
from tests.fakes.faults import Faults
from understudy.domain.facts import AnyFact
from understudy.domain.messages import InboxMessage
from understudy.domain.ports import Wait
from understudy.domain.state import State
from understudy.domain.views import OutboxRow


@dataclass
class ProcessRow:
    state: State
    version: int = 0
    owner_session: UUID | None = None
    owner_claim: UUID | None = None
    owner_epoch: int = 0
    claim_fails: int = 0
    quarantined: str | None = None

    @property
    def is_ready(self) -> bool:
        return self.state.is_ready and not self.state.state.is_terminal


@dataclass
class InboxRow:
    process_id: UUID
    message_id: UUID
    message: InboxMessage
    created_at: datetime
    consumed_version: int | None = None
    outcome: str | None = None


@dataclass
class HistoryRow:
    seq: int
    version: int
    epoch: int
    fact: AnyFact


@dataclass
class EventRow:
    event_id: UUID
    type: str
    key: str | None
    data: Any
    process_id: UUID | None
    request_hash: bytes | None
    received_at: datetime
    is_fanned_out: bool = False
    taken_by: UUID | None = None


@dataclass
class SessionRow:
    session_id: UUID
    node: str
    address: str | None
    started_at: datetime
    beat_seq: int = 0
    lease_ok: bool = True
    state: str = "alive"


@dataclass
class Store:
    """One database, shared by the fakes of every node that a test runs."""

    clock: ManualClock = field(default_factory=ManualClock)
    faults: Faults = field(default_factory=Faults)
    processes: dict[UUID, ProcessRow] = field(default_factory=dict)
    inbox: list[InboxRow] = field(default_factory=list)
    history: defaultdict[UUID, list[HistoryRow]] = field(default_factory=lambda: defaultdict(list))
    subscriptions: dict[UUID, Wait] = field(default_factory=dict)
    outbox: list[OutboxRow] = field(default_factory=list)
    events: dict[UUID, EventRow] = field(default_factory=dict)
    sessions: dict[UUID, SessionRow] = field(default_factory=dict)
    locks: set[UUID] = field(default_factory=set)
    server_started_at: datetime = T0
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def new_id(self) -> UUID:
        return UUID(int=next(self.numbers) << 96)

    def put(self, state: State) -> ProcessRow:
        """A process as the gateway inserts it."""
        row = self.processes[state.process_id] = ProcessRow(state)
        return row

    def send(self, process_id: UUID, message: InboxMessage) -> InboxRow:
        """An inbox row as the gateway inserts it."""
        row = InboxRow(process_id, self.new_id(), message, self.clock.now())
        self.inbox.append(row)
        return row

    def session(self, state: str = "alive") -> UUID:
        """Another node's session, which holds its lock."""
        ident = self.new_id()
        self.sessions[ident] = SessionRow(ident, "other", None, self.clock.now(), state=state)
        self.locks.add(ident)
        return ident

    def give(self, process_id: UUID, session_id: UUID | None) -> None:
        """Make a session the owner, as a claim of its own would."""
        row = self.processes[process_id]
        row.owner_session = session_id
        row.owner_claim = None if session_id is None else self.new_id()
        row.owner_epoch += 1

    def restart(self) -> None:
        """Restart the server: every lock is free at once."""
        self.locks.clear()
        self.server_started_at = self.clock.now()

    def pending(self, process_id: UUID) -> list[InboxRow]:
        return [row for row in self.inbox if row.process_id == process_id and row.consumed_version is None]

    def is_dead(self, session_id: UUID | None) -> bool:
        session = None if session_id is None else self.sessions.get(session_id)
        return session is not None and session.state == "dead"

    def is_free(self, row: ProcessRow) -> bool:
        return row.owner_session is None or self.is_dead(row.owner_session)

    def facts(self, process_id: UUID) -> list[str]:
        return [str(row.fact.__struct_config__.tag) for row in self.history[process_id]]
