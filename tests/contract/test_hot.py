"""Reading with a cache in front: what is read where, and that nobody sees a process go back."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar
from uuid import UUID

import pytest

from tests.contract.cache_promises import A, B, view
from tests.contract.node_rig import cluster
from tests.factories import PROCESS_ID, http
from tests.fakes.cache import FakeCache
from tests.fakes.clock import ManualClock, settle
from understudy.actors.crew import give_way
from understudy.domain.cache import VIEW_TTL_SECONDS
from understudy.domain.errors import Unreachable
from understudy.domain.facts import HistoryRow
from understudy.domain.state import Execution
from understudy.domain.views import NewProcess, ProcessView, Query, RecordedRow, Submitted
from understudy.runtime import freshness, hot
from understudy.runtime.freshness import Freshness
from understudy.runtime.hot import SLOW_SECONDS, HotProcesses

T = TypeVar("T")


async def nothing() -> None:
    """No time passes."""


class Table:
    """The processes in PostgreSQL: only their versions matter. `before` and `after` are the ways to it and back."""

    def __init__(self) -> None:
        self.versions: dict[UUID, int] = {}
        self.reads = 0
        self.before: Callable[[], Awaitable[None]] = nothing
        self.after: Callable[[], Awaitable[None]] = nothing

    async def _read(self, read: Callable[[], T]) -> T:
        self.reads += 1
        await self.before()
        found = read()
        await self.after()
        return found

    async def find(self, process_id: UUID) -> ProcessView | None:
        return await self._read(lambda: self._view(process_id))

    async def search(self, query: Query) -> list[ProcessView]:
        return await self._read(lambda: [view(version, ident) for ident, version in self.versions.items()])

    async def history(self, process_id: UUID, after: int, limit: int) -> list[RecordedRow]:
        return await self._read(lambda: [_row(seq) for seq in range(after + 1, self.versions[process_id] + 2)])

    async def executions(self, process_id: UUID) -> list[Execution]:
        return await self._read(list)

    async def start(self, process: NewProcess) -> Submitted:
        self.versions[process.process_id] = 0
        return Submitted()

    async def ended(self, process_ids: Sequence[UUID]) -> list[UUID]:
        return list(process_ids)

    def _view(self, process_id: UUID) -> ProcessView | None:
        version = self.versions.get(process_id)
        return None if version is None else view(version, process_id)


def _row(seq: int) -> RecordedRow:
    row = HistoryRow("process.waiting", view().created_at, None, None, None, None, None, {})
    return RecordedRow(seq, row, seq - 1, "n", 1)


class Scene:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.cache = FakeCache(self.clock)
        self.table = Table()
        self.table.versions = {A: 6, B: 1}
        self.processes = self.gateway()

    def gateway(self) -> HotProcesses:
        return HotProcesses(self.table, self.cache, self.clock)

    async def glance(self) -> int:
        found = await self.processes.glance(A)
        assert found is not None
        return found.version


@pytest.fixture
async def scene() -> Scene:
    return Scene()


async def test_a_second_look_reads_the_copy_and_a_decision_reads_postgresql(scene: Scene) -> None:
    assert [await scene.glance(), await scene.glance(), scene.table.reads] == [6, 6, 1]
    scene.table.versions[A] = 7
    assert await scene.glance() == 6
    decided = await scene.gateway().find(A)
    assert decided is not None
    assert [decided.version, await scene.glance(), scene.table.reads] == [7, 7, 2]
    scene.clock.jump(VIEW_TTL_SECONDS)
    scene.table.versions[A] = 8
    assert await scene.glance() == 8


@pytest.mark.parametrize("show", ["search", "history"])
async def test_lists_and_histories_tell_the_versions_they_show(scene: Scene, show: str) -> None:
    assert await scene.glance() == 6
    scene.table.versions[A] = 7
    other = scene.gateway()
    await (other.search(Query()) if show == "search" else other.history(A, 0, 50))
    assert await scene.glance() == 7


async def test_what_is_not_there_or_not_begun_is_not_kept(scene: Scene) -> None:
    assert await scene.processes.glance(UUID(int=3)) is None
    scene.table.versions = {A: 0}
    assert await scene.glance() == 0
    await scene.processes.search(Query())
    await scene.processes.history(A, 0, 50)
    assert scene.cache.views == {}


async def test_a_cache_that_fails_leaves_the_reading_to_postgresql(scene: Scene) -> None:
    scene.cache.faults.cut("cache", Unreachable("down"))
    assert [await scene.glance(), await scene.glance(), scene.table.reads] == [6, 6, 2]
    assert len(await scene.processes.search(Query())) == 2
    assert len(await scene.processes.history(A, 0, 50)) == 7


async def test_a_copy_that_was_long_under_way_is_not_kept(scene: Scene) -> None:
    """Meanwhile others may have shown a newer version, and the cache may have forgotten it again."""

    async def long() -> None:
        scene.clock.jump(SLOW_SECONDS + 0.01)

    scene.table.after = long
    assert await scene.glance() == 6
    scene.table.versions[A] = 7
    assert await scene.glance() == 7


async def test_an_owner_s_commit_outdates_copies() -> None:
    async with cluster() as made:
        made.define(http())
        made.put()
        node = await made.start()
        made.poke(node, [PROCESS_ID])
        await settle()
        await made.cache.keep(view(made.row.version, PROCESS_ID))
        assert await made.cache.find(PROCESS_ID) is not None
        made.effects.last.succeed()
        await settle()
        assert made.state.state.is_terminal
        assert await made.cache.find(PROCESS_ID) is None
        await made.cache.keep(view(made.row.version, PROCESS_ID))
        assert await made.cache.find(PROCESS_ID) is not None


class TestFreshness:
    async def test_versions_that_were_not_told_are_told_again(self) -> None:
        clock = ManualClock()
        cache = FakeCache(clock)
        told = Freshness(cache, clock)
        async with running(told):
            cache.faults.cut("cache", Unreachable("down"))
            told.note(A, 7)
            told.note(B, 1)
            await settle()
            told.note(A, 8)
            cache.faults.mend("cache")
            await clock.advance(freshness.RETRY_SECONDS)
            assert {ident: version for ident, (version, _, _) in cache.views.items()} == {A: 8, B: 1}
            assert cache.faults.count("cache") == 2

    async def test_many_commits_are_told_at_once(self) -> None:
        clock = ManualClock()
        cache = FakeCache(clock)
        told = Freshness(cache, clock)
        async with running(told):
            gate = cache.faults.hold("cache")
            told.note(A, 1)
            await gate.entered.wait()
            for version in range(2, 100):
                told.note(A, version)
                told.note(B, version)
            gate.opened.set()
            await settle()
            assert {ident: version for ident, (version, _, _) in cache.views.items()} == {A: 99, B: 99}
            assert cache.faults.count("cache") == 2

    async def test_a_cache_that_stays_away_costs_no_memory_for_ever(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(freshness, "UNTOLD_MAX", 10)
        clock = ManualClock()
        cache = FakeCache(clock)
        cache.faults.cut("cache", Unreachable("down"))
        told = Freshness(cache, clock)
        async with running(told):
            for number in range(100):
                told.note(UUID(int=number), 1)
                await clock.advance(freshness.RETRY_SECONDS)
            assert len(told._untold) <= 11


class running:  # noqa: N801 - it reads like a function
    """A loop of `Freshness` for the length of a block."""

    def __init__(self, told: Freshness) -> None:
        self._told = told

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._told.run())

    async def __aexit__(self, *error: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


class Distant(FakeCache):
    """A cache at the end of a line: calls overtake each other on their way there and back."""

    def __init__(self, clock: ManualClock, chance: random.Random) -> None:
        super().__init__(clock)
        self.in_flight = 0
        self._chance = chance

    async def _is_down(self) -> bool:
        self.in_flight += 1
        await self.dawdle(3)
        self.in_flight -= 1
        return False

    async def dawdle(self, most: int) -> None:
        for _ in range(self._chance.randint(0, most)):
            await give_way()


async def _interleaved(seed: int) -> int:
    """Owners commit and clients read, all at once; how often somebody saw a process older than it had been shown."""
    chance = random.Random(seed)
    scene = Scene()
    clock = scene.clock
    cache = scene.cache = Distant(clock, chance)
    shown = relapses = 0

    async def drag() -> None:
        await cache.dawdle(chance.choice([3, 60]))
        # The cache answers within its patience, PostgreSQL when it can.
        if not cache.in_flight:
            clock.jump(chance.choice([0.0, 0.0, 0.2, SLOW_SECONDS + 0.1, VIEW_TTL_SECONDS + 0.1]))

    scene.table.before = scene.table.after = drag
    told = Freshness(cache, clock)

    async def own() -> None:
        for _ in range(12):
            await cache.dawdle(10)
            scene.table.versions[A] += 1
            told.note(A, scene.table.versions[A])

    async def read() -> None:
        nonlocal shown, relapses
        gateway = scene.gateway()
        for _ in range(20):
            floor = shown
            match chance.randrange(6):
                case 0:
                    version = max(row.version for row in await gateway.history(A, 0, 50))
                case 1:
                    version = (await gateway.search(Query()))[0].version
                case 2:
                    found = await gateway.find(A)
                    assert found is not None
                    version = found.version
                case _:
                    glanced = await gateway.glance(A)
                    assert glanced is not None
                    version = glanced.version
            relapses += version < floor
            shown = max(shown, version)

    async with running(told):
        await asyncio.gather(own(), read(), read(), read())
    return relapses


async def test_nobody_sees_a_process_go_back() -> None:
    assert [seed for seed in range(150) if await _interleaved(seed)] == []


async def test_the_limit_for_slow_reads_is_what_prevents_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hot, "SLOW_SECONDS", float("inf"))
    assert [seed for seed in range(150) if await _interleaved(seed)] != []


async def test_telling_what_is_shown_is_what_prevents_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def say_nothing(self: HotProcesses, shown: object) -> None: ...

    monkeypatch.setattr(HotProcesses, "_tell", say_nothing)
    assert [seed for seed in range(150) if await _interleaved(seed)] != []
