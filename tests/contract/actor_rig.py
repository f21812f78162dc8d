"""A stage with a process actor on it, and everything that it talks to in memory."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from structlog.testing import capture_logs

from tests.factories import PROCESS_ID, created, plan_of
from tests.fakes.clock import ManualClock, settle
from tests.fakes.effects import Effects
from tests.fakes.events import FakeEvents
from tests.fakes.faults import Faults
from tests.fakes.journal import FakeJournal
from tests.fakes.store import ProcessRow, Store
from understudy.actors.loop import Stage
from understudy.actors.process import ProcessActor, Resume
from understudy.actors.workplace import Ending, Workplace
from understudy.domain.plan import Plan
from understudy.domain.ports import Change
from understudy.domain.state import State
from understudy.executors.registry import Registry


class Witness:
    """Hears of commits and ends."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.endings: list[Ending] = []
        self.errors: list[BaseException | None] = []

    def committed(self, change: Change) -> None:
        self.changes.append(change)

    def left(self, actor: ProcessActor, ending: Ending, error: BaseException | None = None) -> None:
        self.endings.append(ending)
        self.errors.append(error)


class ActorRig:
    """One node's session, without the node."""

    def __init__(self, *, activities_per_commit: int = 100) -> None:
        self.store = Store()
        self.journal = FakeJournal(self.store)
        self.effects = Effects()
        self.witness = Witness()
        self.stage = Stage()
        self.lease = asyncio.Event()
        self.lease.set()
        self.session_id = self.store.session()
        self.registry = Registry({"http": self.effects})
        self.workplace = Workplace(
            stage=self.stage,
            journal=self.journal,
            events=FakeEvents(self.store),
            executors=self.registry,
            clock=self.clock,
            listener=self.witness,
            permit=self._permit,
            activities_per_commit=activities_per_commit,
            idle_seconds=30.0,
        )

    @property
    def clock(self) -> ManualClock:
        return self.store.clock

    @property
    def faults(self) -> Faults:
        return self.store.faults

    @property
    def row(self) -> ProcessRow:
        return self.store.processes[PROCESS_ID]

    @property
    def state(self) -> State:
        return self.row.state

    @property
    def facts(self) -> list[str]:
        return self.store.facts(PROCESS_ID)

    @property
    def ending(self) -> Ending | None:
        """How the only actor that has left did so; None while it lives."""
        assert len(self.witness.endings) <= 1
        return self.witness.endings[0] if self.witness.endings else None

    def put(self, process_input: Any = None) -> ProcessRow:
        return self.store.put(created(process_input))

    async def launch(self, plan: Plan) -> ProcessActor:
        """Claim the process and let its actor begin, without waiting for what it does."""
        (claimed,) = await self.journal.claim(self.session_id, {PROCESS_ID: self.store.new_id()})
        ref = ProcessActor.launch(self.stage, self.workplace, plan, claimed)
        actor = ref.actor
        assert isinstance(actor, ProcessActor)
        ref.tell(Resume(claimed.deliveries))
        return actor

    async def run(self, *activities: Mapping[str, Any], process_input: Any = None, **fields: Any) -> ProcessActor:
        """Start a process and wait until it rests."""
        self.put(process_input)
        actor = await self.launch(plan_of(*activities, **fields))
        await settle()
        return actor

    def take_away(self) -> None:
        """Let another session own the process."""
        self.store.give(PROCESS_ID, self.store.session())

    def execution_id(self, activity: str) -> UUID:
        return self.state.executions[activity].execution_id

    async def _permit(self) -> None:
        await self.lease.wait()


@asynccontextmanager
async def actor_rig(*, activities_per_commit: int = 100) -> AsyncIterator[ActorRig]:
    """A rig whose stage is left empty, with no task behind."""
    rig = ActorRig(activities_per_commit=activities_per_commit)
    with capture_logs():
        yield rig
    assert await rig.stage.stop_all(5) == []
    assert rig.clock.alarms == [], "an alarm was left behind"
