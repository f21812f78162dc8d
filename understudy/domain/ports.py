"""What the core asks of the outside, as small protocols; `persistence` and the fakes implement them."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Protocol
from uuid import UUID

from msgspec import Struct

from understudy.domain.effects import PublishEvent, RunExecutor
from understudy.domain.facts import AnyFact
from understudy.domain.messages import Delivery, ExecutorFailed, ExecutorSucceeded, ExecutorWaits
from understudy.domain.plan import Step
from understudy.domain.state import AwaitedEvent, State
from understudy.domain.views import (
    NewEvent,
    OutboxRow,
    SessionView,
    Submitted,
)


class Tenure(Struct, frozen=True):
    """The fence of one ownership: the number orders, the random claim cannot be issued twice."""

    epoch: int
    claim: UUID


class Claimed(Struct, frozen=True):
    """A process taken into ownership, with its state and everything unconsumed in its inbox."""

    state: State
    tenure: Tenure
    version: int
    claim_fails: int
    deliveries: tuple[Delivery, ...]
    db_now: datetime


class Consumed(Struct, frozen=True):
    """An inbox row used up by a change; `outcome` is `applied` or `rejected: <why>`."""

    message_id: UUID
    outcome: str


class Change(Struct, frozen=True):
    """One transition of one process from `version`; the journal stores what differs between `before` and `after`."""

    tenure: Tenure
    version: int
    before: State
    after: State
    facts: tuple[AnyFact, ...]
    publish: tuple[PublishEvent, ...] = ()
    consumed: tuple[Consumed, ...] = ()


class Verdict(Enum):
    """What the one conditional commit said."""

    APPLIED = "applied"
    FENCED = "fenced"
    DIVERGED = "diverged"
    POISON = "poison"


class Receipt(Struct, frozen=True):
    """The answer to a commit; `reason` says what is wrong with a poison row. `db_now` is the database's clock."""

    verdict: Verdict
    db_now: datetime | None = None
    reason: str | None = None


class OwnerView(Struct, frozen=True):
    """Who owns a process according to PostgreSQL."""

    process_id: UUID
    owner_session: UUID | None
    owner_claim: UUID | None
    owner_alive: bool
    is_claimable: bool


class Wait(Struct, frozen=True):
    """An execution that waits for an event."""

    process_id: UUID
    execution_id: UUID
    awaited: AwaitedEvent


class Journal(Protocol):
    """The truth: ownership and the one write statement that matters."""

    async def claim(self, session_id: UUID, claims: Mapping[UUID, UUID]) -> list[Claimed]:
        """Take processes (id -> claim token) that nobody alive owns; those not answered were refused."""
        ...

    async def commit(self, change: Change) -> Receipt:
        """Apply a change if tenure and version still hold; returns only when the outcome is known."""
        ...

    async def passivate(self, process_id: UUID, tenure: Tenure, version: int) -> bool:
        """Give a process up unless an inbox row waits or the tenure is over."""
        ...

    async def relinquish(self, session_id: UUID, process_ids: Sequence[UUID]) -> None:
        """Give up processes that this session owns, whatever their state, raising their epoch; `claim_fails` stays."""
        ...

    async def spare(self, session_id: UUID, process_ids: Sequence[UUID]) -> None:
        """Give up processes that this session claimed and did not try, raising their epoch; `claim_fails` goes back."""
        ...

    async def quarantine(self, process_id: UUID, tenure: Tenure, reason: str) -> None:
        """Give a process up for good, until an operator releases it."""
        ...

    async def deliveries(self, process_ids: Sequence[UUID]) -> dict[UUID, list[Delivery]]:
        """The unconsumed inbox rows of each process, oldest first."""
        ...

    async def owners(self, process_ids: Sequence[UUID]) -> list[OwnerView]:
        """Who owns these processes."""
        ...

    async def audit(self, session_id: UUID) -> dict[UUID, int]:
        """The processes this session owns that have work due, with their versions."""
        ...


class Sessions(Protocol):
    """The lives of nodes in PostgreSQL: declared dead by compare-and-set, never by a clock."""

    async def open(self, session_id: UUID, node: str, address: str | None) -> None:
        """Register a session and hold its advisory lock on a connection of its own."""
        ...

    async def beat(self, *, lease_ok: bool) -> bool:
        """Count one heartbeat up; false when this session was declared dead."""
        ...

    async def observe(self) -> list[SessionView]:
        """All sessions that are not dead, and dead ones that still own processes."""
        ...

    async def declare_dead(self, session_id: UUID, beat_seq: int) -> bool:
        """Declare a session dead if its count has not moved; true for the single winner."""
        ...

    async def disown(self, session_id: UUID, limit: int) -> int:
        """Take up to `limit` processes away from a dead session, raising their epoch; how many."""
        ...

    async def close(self) -> None:
        """End this session: its row becomes dead, its lock free."""
        ...


class Leases(Protocol):
    """Who holds what in Redis: availability, never safety."""

    async def open(self, session_id: UUID) -> None:
        """Create the session's lease."""
        ...

    async def renew(self, session_id: UUID) -> bool:
        """Prolong the lease; false when Redis forgot it."""
        ...

    async def claim(self, session_id: UUID, process_ids: Sequence[UUID]) -> list[UUID | None] | None:
        """For each process None when granted, else the live holder; None at all when this session's lease is gone."""
        ...

    async def holders(self, process_ids: Sequence[UUID]) -> list[UUID | None]:
        """For each process the session that holds it, if its lease lives."""
        ...

    async def repair(self, process_id: UUID, seen: UUID, owner: UUID) -> None:
        """Correct a holder record that PostgreSQL contradicts."""
        ...

    async def release(self, session_id: UUID, process_ids: Sequence[UUID]) -> None:
        """Delete the holder records that still name this session."""
        ...

    async def close(self, session_id: UUID) -> None:
        """Delete a session's lease: one's own at a clean stop, a dead one's at takeover."""
        ...


class Lookout(Protocol):
    """The safety nets: what should be poked although no message said so."""

    async def ready(self, limit: int) -> list[UUID]:
        """Processes that nobody owns and that have work due, oldest first."""
        ...

    async def pending(self, older_than: timedelta, limit: int) -> list[UUID]:
        """Claimable or owned processes with an inbox row that has waited for `older_than`."""
        ...

    async def due(self, limit: int) -> list[UUID]:
        """Processes that nobody owns and that have a timer due."""
        ...

    async def unmet(self, limit: int) -> list[Wait]:
        """Waits for which a kept event is there."""
        ...

    async def reject_orphans(self, limit: int) -> int:
        """Mark inbox rows of ended processes as rejected; how many."""
        ...


class Events(Protocol):
    """External events and the waits for them, which meet without a lock (protocol.md, section 2)."""

    async def accept(self, event: NewEvent) -> Submitted:
        """Store an event and remember its id for 24 hours."""
        ...

    async def deliver(self, event_id: UUID) -> list[UUID]:
        """Hand an event to every execution that waits for it; the processes reached."""
        ...

    async def take(self, process_id: UUID, execution_id: UUID, awaited: AwaitedEvent) -> bool:
        """Hand the oldest kept event that matches to a wait that has just been committed."""
        ...

    async def undelivered(self, limit: int) -> list[UUID]:
        """Events that were stored but not yet handed out."""
        ...

    async def expire(self, limit: int) -> int:
        """Forget events past their keeping time; how many."""
        ...


class Outbox(Protocol):
    """Events on their way to the outside; a row goes only when the receiver has it."""

    async def pending(self, limit: int) -> list[OutboxRow]:
        """The oldest rows, per process in order."""
        ...

    async def delete(self, rows: Sequence[OutboxRow]) -> None:
        """Forget announced rows."""
        ...


class Alarm(Protocol):
    """A callback that is due later."""

    def cancel(self) -> None:
        """Never call back."""
        ...


class Clock(Protocol):
    """Time and randomness from outside."""

    def now(self) -> datetime:
        """The database's time as far as this node knows it; never ahead of it."""
        ...

    def learn(self, db_now: datetime) -> None:
        """Take over a reading of the database's clock that has just arrived."""
        ...

    def monotonic(self) -> float:
        """Seconds that only grow, also through a suspend of the machine."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Alarm:
        """Call back once after some seconds, unless cancelled."""
        ...

    def fraction(self) -> float:
        """A draw from [0, 1)."""
        ...

    def new_id(self, *, ordered: bool = False) -> UUID:
        """A random id; an ordered one sorts by the time of its making."""
        ...


class Assignment(Struct, frozen=True):
    """What an executor is given: one attempt of one activity, and the names its templates see."""

    effect: RunExecutor
    step: Step
    scope: Mapping[str, Any]
    now: datetime


ExecutorResult = ExecutorSucceeded | ExecutorFailed | ExecutorWaits


class Executors(Protocol):
    """How activities are performed: pure ones inline, the others by a child actor after the commit."""

    def is_inline(self, activity_type: str) -> bool:
        """Whether activities of this type are pure functions of committed state."""
        ...

    def perform_inline(self, assignment: Assignment) -> ExecutorResult:
        """Perform a pure activity."""
        ...

    async def perform(self, assignment: Assignment) -> ExecutorResult:
        """Perform an activity that has an effect; cancellation aborts it."""
        ...


Poke = Callable[[Sequence[UUID]], Awaitable[None]]
"""Says "look at these processes"; losing a poke costs time, never a process."""
