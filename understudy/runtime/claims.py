"""Taking processes into ownership: batched, one claim per process at a time, Redis first, PostgreSQL decides.

A process that lives on another node is not taken: that node is told. If it cannot be told, it may be dying, so the
process is looked at again a little later, at most for two leases; after that the sweeper names it when there is work.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from uuid import UUID

import structlog

from understudy.actors.gate import Gate
from understudy.actors.process import ProcessActor, Resume
from understudy.actors.workplace import Workplace
from understudy.domain.errors import Unreachable
from understudy.domain.plan import Plan
from understudy.domain.ports import Alarm, Claimed
from understudy.runtime.directory import Directory
from understudy.runtime.ownership import Ownership
from understudy.runtime.plans import Plans
from understudy.runtime.surroundings import NodePorts

log = structlog.get_logger("claims")

BATCH_MAX = 200
WANTED_MAX = 100_000
"""Ids beyond this are dropped: their rows are there, and the sweeper names them again."""

LIVE_MAX = 100_000
PAUSE_SECONDS = 1.0
POSTPONED_SECONDS = 1.0
DOUBLINGS_MAX = 6
PARKED_SECONDS_MIN = 0.5
PARKED_SECONDS_MAX = 2.0
PARKED_MAX = 10_000

SUSPECT_FAILS = 3
"""Claims in a row that no commit followed: from here on a process is tried alone, and later each time."""

QUARANTINE_FAILS = 6
"""From here on it is not tried any more: it would kill one node after the other."""


class Claims:
    """Wants processes, claims those that nobody alive owns, and launches their actors.

    Each process has one slot: claiming it, giving it back and auditing it exclude each other. Who asks for a process
    meanwhile is heard when the slot is free.
    """

    def __init__(
        self, ports: NodePorts, ownership: Ownership, plans: Plans, directory: Directory, patience_seconds: float
    ) -> None:
        self.quarantined = 0
        self._ports = ports
        self._patience_seconds = patience_seconds
        self._ownership = ownership
        self._plans = plans
        self._directory = directory
        self._workplace: Workplace | None = None
        self._wanted: dict[UUID, None] = {}
        self._busy: set[UUID] = set()
        self._again: set[UUID] = set()
        self._postponed: dict[UUID, Alarm] = {}
        self._parked_since: dict[UUID, float] = {}
        self._gates: dict[UUID, Gate] = {}
        self._suspect_id: UUID | None = None
        self._suspects: dict[UUID, None] = {}
        self._arrived = asyncio.Event()
        self._is_closed = False

    def open(self, workplace: Workplace) -> None:
        """Begin to claim for this workplace."""
        self._workplace = workplace

    def close(self) -> None:
        """Claim nothing any more: the node drains."""
        self._is_closed = True
        self._wanted.clear()
        for alarm in self._postponed.values():
            alarm.cancel()
        self._open_gates(list(self._gates))

    def request(self, process_ids: Iterable[UUID]) -> None:
        """Look at processes: wake those that live here, claim the others."""
        for process_id in process_ids:
            actor = self._directory.find(process_id)
            if actor is not None:
                actor.wake()
            elif process_id in self._busy:
                self._again.add(process_id)
            elif not self._is_closed and process_id not in self._postponed and len(self._wanted) < WANTED_MAX:
                self._wanted[process_id] = None
                self._arrived.set()

    def find(self, process_id: UUID) -> ProcessActor | None:
        """The actor of a process, if it lives here."""
        return self._directory.find(process_id)

    async def settle(self, process_ids: Sequence[UUID]) -> None:
        """Look at processes; returns when each is settled: what its inbox held is committed, or others see to it."""
        self.request(process_ids)
        for process_id in process_ids:
            while process_id in self._wanted or process_id in self._busy:
                await self._gates.setdefault(process_id, Gate()).passed()
            actor = self._directory.find(process_id)
            if actor is not None:
                await actor.settled.passed()

    def postpone(self, process_id: UUID, claim_fails: int) -> None:
        """Claim a process that broke its actor again later, the later the more often it did; until then never."""
        self._look_again(process_id, POSTPONED_SECONDS * 2 ** min(claim_fails, DOUBLINGS_MAX))

    def acquit(self, process_id: UUID) -> None:
        """The process has committed something, or its actor has left: it is not the suspect any more."""
        if process_id == self._suspect_id:
            self._suspect_id = None
            for suspect_id in list(self._suspects):
                if suspect_id in self._postponed:
                    self._postponed[suspect_id].cancel()
                    self._recall(suspect_id)
                    return

    def _look_again(self, process_id: UUID, seconds: float) -> None:
        if self._is_closed:
            return
        self._wanted.pop(process_id, None)
        earlier = self._postponed.get(process_id)
        if earlier is not None:
            earlier.cancel()
        self._postponed[process_id] = self._ports.clock.call_later(seconds, partial(self._recall, process_id))

    def _recall(self, process_id: UUID) -> None:
        del self._postponed[process_id]
        self._suspects.pop(process_id, None)
        self.request([process_id])

    @contextmanager
    def exclusively(self, process_ids: Iterable[UUID]) -> Iterator[list[UUID]]:
        """Hold the slots of those processes that have no actor here and a free slot; they are the answer."""
        free = [
            process_id
            for process_id in dict.fromkeys(process_ids)
            if process_id not in self._directory and process_id not in self._busy
        ]
        for process_id in free:
            if process_id in self._wanted:
                del self._wanted[process_id]
                self._again.add(process_id)
        self._busy.update(free)
        try:
            yield free
        finally:
            self._busy.difference_update(free)
            again = self._again.intersection(free)
            self._again -= again
            self.request(again)
            self._open_gates(free)

    async def run(self) -> None:
        """Claim what is wanted: the next batch gathers while the last one is out."""
        while True:
            await self._arrived.wait()
            await self._ownership.permit()
            room = min(BATCH_MAX, LIVE_MAX - len(self._directory))
            batch = list(self._wanted)[: max(room, 0)]
            if not batch:
                self._arrived.clear()
                if self._wanted:
                    await self._directory.change()
                    self._arrived.set()
                continue
            for process_id in batch:
                del self._wanted[process_id]
            with self.exclusively(batch) as free:
                try:
                    await self._claim(free)
                except Unreachable as error:
                    log.warning("claim_failed", reason=str(error), processes=[str(ident) for ident in free])
                    await self._ports.clock.sleep(PAUSE_SECONDS)
            self._open_gates(batch)

    def _open_gates(self, process_ids: Iterable[UUID]) -> None:
        for process_id in process_ids:
            if process_id not in self._wanted and process_id not in self._busy:
                gate = self._gates.pop(process_id, None)
                if gate is not None:
                    gate.open()

    async def _claim(self, batch: list[UUID]) -> None:
        session_id, clock = self._ownership.session_id, self._ports.clock
        holders = await self._ports.leases.claim(session_id, batch)
        if holders is None:
            # Our own lease is gone: the renewal brings it back, the sweeper the ids.
            await clock.sleep(PAUSE_SECONDS)
            return
        granted: list[UUID] = []
        held: defaultdict[UUID, list[UUID]] = defaultdict(list)
        for process_id, holder in zip(batch, holders, strict=True):
            (granted if holder is None else held[holder]).append(process_id)
        await self._forward(held)
        if not granted:
            return
        claimed = await self._ports.journal.claim(session_id, {process_id: clock.new_id() for process_id in granted})
        await self._launch(claimed)
        taken = {found.state.process_id for found in claimed}
        refused = [process_id for process_id in granted if process_id not in taken]
        if refused:
            await self._reconcile(refused)

    async def _forward(self, held: Mapping[UUID, list[UUID]]) -> None:
        """Tell the nodes that hold processes; what cannot be told is looked at again."""
        for holder, process_ids in held.items():
            if await self._ports.carrier.direct(holder, process_ids):
                for process_id in process_ids:
                    self._parked_since.pop(process_id, None)
            else:
                self._park(process_ids)

    def _park(self, process_ids: Iterable[UUID]) -> None:
        now = self._ports.clock.monotonic()
        for process_id in process_ids:
            since = self._parked_since.setdefault(process_id, now)
            if now - since > self._patience_seconds or len(self._parked_since) > PARKED_MAX:
                del self._parked_since[process_id]
                continue
            spread = PARKED_SECONDS_MAX - PARKED_SECONDS_MIN
            self._look_again(process_id, PARKED_SECONDS_MIN + spread * self._ports.clock.fraction())

    async def _launch(self, claimed: Sequence[Claimed]) -> None:
        plans = await self._plans_of(claimed)
        for found in claimed:
            self._ports.clock.learn(found.db_now)
            self._parked_since.pop(found.state.process_id, None)
        crashers = [found for found in claimed if found.claim_fails >= QUARANTINE_FAILS]
        others = [found for found in claimed if found.claim_fails < QUARANTINE_FAILS]
        unplanned = [found for found in others if found.state.definition.digest not in plans]
        planned = [found for found in others if found.state.definition.digest in plans]
        suspects = [found for found in planned if found.claim_fails >= SUSPECT_FAILS]
        tried = suspects[:1] if self._suspect_id is None else []
        for found in planned:
            if found.claim_fails < SUSPECT_FAILS:
                self._enter(found, plans[found.state.definition.digest])
        # Before the suspect may kill this node: nobody pays for what was not tried.
        await self._put_off(suspects[len(tried) :])
        for found in tried:
            self._suspect_id = found.state.process_id
            self._enter(found, plans[found.state.definition.digest])
        await self._give_up(unplanned)
        for found in crashers:
            await self._quarantine(found)

    def _enter(self, found: Claimed, plan: Plan) -> None:
        assert self._workplace is not None
        ref = ProcessActor.launch(self._workplace.stage, self._workplace, plan, found)
        actor = ref.actor
        assert isinstance(actor, ProcessActor)
        self._directory.enter(actor)
        ref.tell(Resume(found.deliveries))

    async def _put_off(self, suspects: Sequence[Claimed]) -> None:
        """Let suspects wait for the one that is tried."""
        if suspects:
            process_ids = [found.state.process_id for found in suspects]
            for found in suspects:
                self.postpone(found.state.process_id, found.claim_fails)
            self._suspects |= dict.fromkeys(process_ids)
            await self._ports.journal.spare(self._ownership.session_id, process_ids)
            await self._ports.leases.release(self._ownership.session_id, process_ids)

    async def _give_up(self, unplanned: Sequence[Claimed]) -> None:
        """Try processes whose plan cannot be had again later; that says nothing against the processes."""
        if unplanned:
            process_ids = [found.state.process_id for found in unplanned]
            for found in unplanned:
                digest = found.state.definition.digest.hex()
                log.error("process_without_plan", process_id=str(found.state.process_id), digest=digest)
                self.postpone(found.state.process_id, found.claim_fails)
            await self._ports.journal.spare(self._ownership.session_id, process_ids)
            await self._ports.leases.release(self._ownership.session_id, process_ids)

    async def _plans_of(self, claimed: Sequence[Claimed]) -> dict[bytes, Plan]:
        """The plans that can be had: what is wrong with one definition concerns its own processes alone."""
        plans: dict[bytes, Plan] = {}
        for digest in dict.fromkeys(found.state.definition.digest for found in claimed):
            try:
                plans[digest] = await self._plans.load(digest)
            except Unreachable as error:
                log.warning("plan_unreachable", digest=digest.hex(), reason=str(error))
            except Exception:
                log.exception("plan_unusable", digest=digest.hex())
        return plans

    async def _quarantine(self, found: Claimed) -> None:
        process_id = found.state.process_id
        reason = f"claimed {found.claim_fails} times without a commit: it may have killed the nodes that ran it"
        log.error("process_quarantined", process_id=str(process_id), reason=reason)
        self.quarantined += 1
        await self._ports.journal.quarantine(process_id, found.tenure, reason)
        await self._ports.leases.release(self._ownership.session_id, [process_id])

    async def _reconcile(self, refused: list[UUID]) -> None:
        """Make Redis agree with PostgreSQL about processes that it granted and PostgreSQL did not."""
        session_id = self._ownership.session_id
        owners = {view.process_id: view for view in await self._ports.journal.owners(refused)}
        held: defaultdict[UUID, list[UUID]] = defaultdict(list)
        free: list[UUID] = []
        for process_id in refused:
            view = owners.get(process_id)
            if view is None or view.owner_session is None or not view.owner_alive:
                free.append(process_id)
                if view is not None and view.is_claimable:
                    # Its row was locked for a moment.
                    self._park([process_id])
                else:
                    self._parked_since.pop(process_id, None)
            elif view.owner_session != session_id:
                await self._ports.leases.repair(process_id, session_id, view.owner_session)
                held[view.owner_session].append(process_id)
        if free:
            await self._ports.leases.release(session_id, free)
        await self._forward(held)
