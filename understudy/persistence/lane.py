"""One batch at a time: send it, and find out what became of each transition in it.

When a reply is lost the outcome is unknown: the lane connects again and reads back which processes carry the token of
the batch. It repeats a batch under the same token, so that a first try that was only late is recognised too. A batch
that the database refuses for a value in it is halved until the value's owner stands alone.
"""

from asyncio import Event, Future
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from msgspec import Struct

from understudy.domain.errors import Stopped
from understudy.domain.ports import Clock, Receipt, Tenure, Verdict
from understudy.persistence.batch import Rows, parameters_of
from understudy.persistence.line import Line
from understudy.persistence.outcome import Fault, fault_of, poison_reason, verdict_of
from understudy.persistence.pool import Database
from understudy.persistence.queries import Queries

log = structlog.get_logger("journal")

BATCH_COUNT_MAX = 500
BATCH_SIZE_MAX = 1_000_000
DELAY_FIRST_SECONDS = 0.05
DELAY_MAX_SECONDS = 5.0
ROUNDS_MAX = 5
"""Tries of a change that is neither applied nor refused before it counts as diverged."""


class Counters(Struct):
    """What the lanes have seen, for the metrics."""

    batches: int = 0
    changes: int = 0
    batch_size_max: int = 0
    applied: int = 0
    applied_earlier: int = 0
    fenced: int = 0
    diverged: int = 0
    poisoned: int = 0
    bisected: int = 0
    repeated: int = 0
    unknown: int = 0
    unknown_resolved: int = 0
    exhausted: int = 0


class Ticket(Struct, eq=False):
    """A change on its way, and who waits for it."""

    rows: Rows
    receipt: "Future[Receipt]"
    rounds: int = 0
    is_settled: bool = False

    @property
    def process_id(self) -> UUID:
        return self.rows.process_id

    @property
    def tenure(self) -> Tenure:
        return self.rows.tenure

    @property
    def waiter(self) -> "Future[Any]":
        return self.receipt


class Farewell(Struct, eq=False):
    """A passivation on its way, and who waits for it."""

    process_id: UUID
    tenure: Tenure
    version: int
    answered: "Future[bool]"

    @property
    def waiter(self) -> "Future[Any]":
        return self.answered


class Lane:
    """The transitions of the processes that hash to it."""

    def __init__(self, database: Database, clock: Clock, node: str, queries: Queries, counters: Counters) -> None:
        self._line = Line(database, queries)
        self._clock = clock
        self._node = node
        self._counters = counters
        self._waiting: deque[Ticket | Farewell] = deque()
        self._batch: list[Ticket | Farewell] = []
        self._outstanding: dict[UUID, Ticket | Farewell] = {}
        self._wake = Event()
        self._failures = 0

    def put(self, item: Ticket | Farewell) -> None:
        """Queue something of a process, of which one tenure has one thing outstanding at most."""
        earlier = self._outstanding.get(item.process_id)
        assert earlier is None or earlier.tenure != item.tenure, "an actor has at most one transition outstanding"
        self._outstanding[item.process_id] = item
        self._waiting.append(item)
        self._wake.set()

    async def run(self) -> None:
        """Settle batch after batch."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                self._batch = self._take()
                await self._settle([item for item in self._batch if isinstance(item, Ticket)])
                await self._let_go([item for item in self._batch if isinstance(item, Farewell)])

    def disconnect(self) -> None:
        """Drop the connection; what waits for it fails."""
        self._line.drop()

    def abandon(self) -> None:
        """Tell everyone who waits that nothing more will come."""
        self._line.drop()
        for item in (*self._batch, *self._waiting):
            if not item.waiter.done():
                item.waiter.set_exception(Stopped())
        self._waiting.clear()
        self._outstanding.clear()

    def _take(self) -> list[Ticket | Farewell]:
        """The next batch: what fits, each process once, because of two rows for one only one would be applied."""
        taken: dict[UUID, Ticket | Farewell] = {}
        size = 0
        while self._waiting and len(taken) < BATCH_COUNT_MAX and size < BATCH_SIZE_MAX:
            if self._waiting[0].process_id in taken:
                break
            item = self._waiting.popleft()
            taken[item.process_id] = item
            if isinstance(item, Ticket):
                size += item.rows.size
        return list(taken.values())

    async def _settle(self, tickets: Sequence[Ticket]) -> None:
        if not tickets:
            return
        self._counters.batches += 1
        self._counters.changes += len(tickets)
        self._counters.batch_size_max = max(self._counters.batch_size_max, len(tickets))
        batch = self._clock.new_id()
        work: list[tuple[Sequence[Ticket], bool]] = [(tickets, False)]
        while work:
            group, is_unknown = work.pop()
            try:
                rest = await self._read_back(batch, group) if is_unknown else group
                rest = await self._apply(batch, rest) if rest else rest
                rest = await self._read_back(batch, rest) if rest else rest
            except Exception as error:
                fault = fault_of(error)
                if fault is None:
                    raise
                left = [ticket for ticket in group if not ticket.is_settled]
                if fault is Fault.POISON:
                    work += self._halve(left, error)
                else:
                    work.append((left, fault is Fault.UNKNOWN))
                    await self._pause(fault, error)
                continue
            self._failures = 0
            if is_unknown:
                self._counters.unknown_resolved += 1
            if rest:
                work.append((rest, False))

    async def _apply(self, batch: UUID, group: Sequence[Ticket]) -> list[Ticket]:
        """Send the one statement; the transitions it did not apply."""
        rows = await self._line.rows("commit", *parameters_of(batch, self._node, [ticket.rows for ticket in group]))
        if not rows:
            return list(group)
        receipt = Receipt(Verdict.APPLIED, self._learn(rows[0]["db_now"]))
        for row in rows:
            self._answer(group[row["place"] - 1], receipt)
        self._counters.applied += len(rows)
        return [ticket for ticket in group if not ticket.is_settled]

    async def _read_back(self, batch: UUID, group: Sequence[Ticket]) -> list[Ticket]:
        """Look at what became of transitions; those that are to be sent again."""
        rows = await self._line.rows("read_back", [ticket.process_id for ticket in group])
        db_now = self._learn(rows[0]["db_now"]) if rows else None
        found = {row["process_id"]: row for row in rows}
        for ticket in group:
            verdict = verdict_of(ticket.rows, found.get(ticket.process_id), batch)
            if verdict is None:
                ticket.rounds += 1
                if ticket.rounds < ROUNDS_MAX:
                    continue
                verdict = Verdict.DIVERGED
            self._counters.applied_earlier += verdict is Verdict.APPLIED
            self._counters.fenced += verdict is Verdict.FENCED
            self._counters.diverged += verdict is Verdict.DIVERGED
            self._answer(ticket, Receipt(verdict, db_now))
        return [ticket for ticket in group if not ticket.is_settled]

    def _halve(self, group: list[Ticket], error: Exception) -> list[tuple[Sequence[Ticket], bool]]:
        if len(group) == 1:
            self._counters.poisoned += 1
            self._answer(group[0], Receipt(Verdict.POISON, reason=poison_reason(error)))
            return []
        self._counters.bisected += 1
        middle = len(group) // 2
        return [(group[middle:], False), (group[:middle], False)]

    async def _let_go(self, group: Sequence[Farewell]) -> None:
        is_unknown = False
        while group:
            keys = [(item.process_id, item.tenure.epoch, item.tenure.claim, item.version) for item in group]
            try:
                gone = {row["process_id"] for row in await self._line.rows("passivate", *zip(*keys, strict=True))}
                if is_unknown:
                    gone |= await self._gone_before(group)
            except Exception as error:
                fault = fault_of(error)
                if fault is None:
                    raise
                is_unknown |= fault is Fault.UNKNOWN
                await self._pause(fault, error)
                continue
            self._failures = 0
            for item in group:
                self._answer(item, item.process_id in gone)
            return

    async def _gone_before(self, group: Sequence[Farewell]) -> set[UUID]:
        """Those that a first try, whose reply was lost, has given up."""
        rows = await self._line.rows("read_back", [item.process_id for item in group])
        left = {(row["process_id"], row["owner_epoch"], row["version"]) for row in rows if row["owner_claim"] is None}
        return {item.process_id for item in group if (item.process_id, item.tenure.epoch, item.version) in left}

    def _answer(self, item: Ticket | Farewell, answer: Receipt | bool) -> None:
        if isinstance(item, Ticket):
            item.is_settled = True
        if self._outstanding.get(item.process_id) is item:
            del self._outstanding[item.process_id]
        if not item.waiter.done():  # whoever waited may have been cancelled
            item.waiter.set_result(answer)

    def _learn(self, db_now: datetime) -> datetime:
        self._clock.learn(db_now)
        return db_now

    async def _pause(self, fault: Fault, error: Exception) -> None:
        """Wait before another try, longer each time; an unknown outcome asks for another connection."""
        # Not the message: it may repeat the values of a user.
        log.warning("commit_delayed", fault=fault.name, error=type(error).__name__, tries=self._failures + 1)
        self._counters.repeated += fault is Fault.REPEAT
        self._counters.unknown += fault is Fault.UNKNOWN
        self._counters.exhausted += fault is Fault.EXHAUSTED
        if fault is Fault.UNKNOWN:
            self._line.drop()
        delay = min(DELAY_MAX_SECONDS, DELAY_FIRST_SECONDS * 2 ** min(self._failures, 10))
        self._failures += 1
        await self._clock.sleep(delay * (0.5 + self._clock.fraction() / 2))
