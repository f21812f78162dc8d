"""Taking processes into ownership: batched, one claim per process at a time, Redis first, PostgreSQL decides."""

import asyncio
from collections.abc import Iterable
from uuid import UUID

import structlog

from understudy.actors.process import ProcessActor, Resume, Wake
from understudy.actors.workplace import Workplace
from understudy.domain.errors import NotFound, Unreachable
from understudy.domain.ports import Claimed, Journal, Leases, OwnerView
from understudy.runtime.directory import Directory
from understudy.runtime.ownership import Ownership
from understudy.runtime.plans import Plans

log = structlog.get_logger("claims")

BATCH_MAX = 200
WANTED_MAX = 100_000
"""Ids beyond this are dropped: their rows are there, and the sweeper names them again."""

LIVE_MAX = 100_000
PAUSE_SECONDS = 1.0


class Claims:
    """Wants processes, claims those that nobody alive owns, and launches their actors."""

    def __init__(
        self,
        journal: Journal,
        leases: Leases,
        ownership: Ownership,
        plans: Plans,
        directory: Directory,
    ) -> None:
        self._journal = journal
        self._leases = leases
        self._ownership = ownership
        self._plans = plans
        self._directory = directory
        self._workplace: Workplace | None = None
        self._wanted: dict[UUID, None] = {}
        self._under_way: set[UUID] = set()
        self._again: set[UUID] = set()
        self._arrived = asyncio.Event()
        self._is_closed = False

    def open(self, workplace: Workplace) -> None:
        """Begin to claim for this workplace."""
        self._workplace = workplace

    def close(self) -> None:
        """Claim nothing any more: the node drains."""
        self._is_closed = True
        self._wanted.clear()

    def is_under_way(self, process_id: UUID) -> bool:
        """Whether a claim of this process is wanted or running."""
        return process_id in self._wanted or process_id in self._under_way

    def request(self, process_ids: Iterable[UUID]) -> None:
        """Look at processes: wake those that live here, claim the others."""
        for process_id in process_ids:
            actor = self._directory.find(process_id)
            if actor is not None:
                if not actor.actor_stopped.is_set():
                    actor.actor_ref.tell(Wake())
            elif process_id in self._under_way:
                self._again.add(process_id)
            elif not self._is_closed and len(self._wanted) < WANTED_MAX:
                self._wanted[process_id] = None
                self._arrived.set()

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
            self._under_way.update(batch)
            try:
                await self._claim(batch)
            except Unreachable as error:
                log.warning("claim_failed", reason=str(error), processes=len(batch))
                await self._pause()
            finally:
                self._under_way.difference_update(batch)
            again = self._again.intersection(batch)
            self._again -= again
            self.request(again)

    async def _pause(self) -> None:
        assert self._workplace is not None
        await self._workplace.clock.sleep(PAUSE_SECONDS)

    async def _claim(self, batch: list[UUID]) -> None:
        assert self._workplace is not None
        session_id = self._ownership.session_id
        holders = await self._leases.claim(session_id, batch)
        if holders is None:
            # Our own lease is gone: the renewal brings it back, the sweeper the ids.
            await self._pause()
            return
        granted = [process_id for process_id, holder in zip(batch, holders, strict=True) if holder is None]
        if not granted:
            return
        clock = self._workplace.clock
        claimed = await self._journal.claim(session_id, {process_id: clock.new_id() for process_id in granted})
        for found in claimed:
            clock.learn(found.db_now)
            await self._launch(found)
        refused = set(granted) - {found.state.process_id for found in claimed}
        if refused:
            await self._settle(list(refused))

    async def _launch(self, claimed: Claimed) -> None:
        assert self._workplace is not None
        process_id = claimed.state.process_id
        try:
            plan = await self._plans.load(claimed.state.definition.digest)
        except NotFound as error:
            log.warning("definition_missing", process_id=str(process_id), reason=str(error))
            return
        ref = ProcessActor.launch(self._workplace.stage, self._workplace, plan, claimed)
        actor = ref.actor
        assert isinstance(actor, ProcessActor)
        self._directory.enter(actor)
        ref.tell(Resume(claimed.deliveries))

    async def _settle(self, refused: list[UUID]) -> None:
        """Make Redis agree with PostgreSQL about processes that it granted and PostgreSQL did not."""
        session_id = self._ownership.session_id
        owners = {view.process_id: view for view in await self._journal.owners(refused)}
        free = [process_id for process_id in refused if not _is_held(owners.get(process_id))]
        for view in owners.values():
            if _is_held(view) and view.owner_session is not None and view.owner_session != session_id:
                await self._leases.repair(view.process_id, session_id, view.owner_session)
        if free:
            await self._leases.release(session_id, free)


def _is_held(view: OwnerView | None) -> bool:
    return view is not None and view.owner_session is not None and view.owner_alive
