"""The life of a node: start, work, drain, stop, and the loss of its session."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
import structlog.testing

from tests.contract.node_rig import Cluster, cluster
from tests.factories import PROCESS_ID, http, transform
from tests.fakes.clock import settle
from understudy.domain.errors import Stopped, Unreachable
from understudy.domain.states import ActivityState, ProcessState
from understudy.runtime import sweeper

GONE = Unreachable("gone")
MANUAL = {"id": "ask", "type": "manual"}


@pytest.fixture
async def scene() -> AsyncIterator[Cluster]:
    async with cluster() as made:
        made.define(http("a"), http("b"))
        yield made


async def test_a_node_takes_up_what_lies_around(scene: Cluster) -> None:
    scene.put()
    node = await scene.start()
    assert PROCESS_ID in node.directory


async def test_a_node_alone_takes_over_from_a_dead_one_at_its_start(scene: Cluster) -> None:
    dead = scene.store.session()
    scene.put()
    scene.store.give(PROCESS_ID, dead)
    node = await scene.start(is_alone=True)
    assert scene.row.owner_session == node.ownership.session_id
    assert len(scene.effects.calls) == 1


async def test_a_stopped_node_has_given_everything_up(scene: Cluster) -> None:
    scene.define(MANUAL)
    node = await scene.start()
    scene.poke(node, [scene.put(UUID(int=number)) for number in range(1, 20)])
    await settle()
    await scene.stop(node)
    assert {row.owner_session for row in scene.store.processes.values()} == {None}
    assert scene.store.is_dead(node.ownership.session_id)
    assert not scene.redis.lives(node.ownership.session_id)
    assert len(node.directory) == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_node_that_drains_lets_requests_end_and_begins_none(scene: Cluster) -> None:
    node = await scene.start()
    scene.poke(node, [scene.put()])
    await settle()
    async with asyncio.TaskGroup() as group:
        stopping = group.create_task(node.stop())
        await scene.advance(3)
        assert not stopping.done()
        scene.effects.last.succeed(1)
        await scene.advance(1)
        assert stopping.done()
    assert len(scene.effects.calls) == 1
    assert scene.state.executions["a"].output == 1
    assert scene.row.owner_session is None


async def test_a_drain_ends_when_its_time_is_over(scene: Cluster) -> None:
    node = await scene.start(drain_seconds=5.0)
    scene.poke(node, [scene.put()])
    await settle()
    with structlog.testing.capture_logs() as logs:
        async with asyncio.TaskGroup() as group:
            group.create_task(node.stop())
            await scene.advance(5.1)
    assert scene.effects.last.is_aborted
    assert scene.store.is_dead(node.ownership.session_id)
    (line,) = [line for line in logs if line["event"] == "drain_incomplete"]
    assert line["processes"] == [str(PROCESS_ID)]


async def test_a_node_without_a_lease_drains_at_once(scene: Cluster) -> None:
    node = await scene.start()
    scene.poke(node, [scene.put()])
    await settle()
    scene.faults.cut("leases.renew", GONE)
    await scene.advance(10)
    scene.effects.last.succeed(1)
    await settle()
    assert scene.state.executions["b"].state is ActivityState.RUNNING
    async with asyncio.TaskGroup() as group:
        group.create_task(node.stop())
        await scene.advance(0.1)
    assert len(scene.effects.calls) == 1
    assert scene.row.owner_session is None


async def test_the_next_node_goes_on_where_a_stopped_one_was(scene: Cluster) -> None:
    node = await scene.start("first")
    scene.poke(node, [scene.put()])
    await settle()
    async with asyncio.TaskGroup() as group:
        group.create_task(node.stop())
        scene.effects.last.succeed(1)
        await scene.advance(0.1)
    await scene.start("second")
    scene.effects.last.succeed(2)
    await settle()
    assert scene.state.state is ProcessState.COMPLETED
    assert [call.assignment.effect.activity for call in scene.effects.calls] == ["a", "b"]


async def test_a_node_may_be_stopped_twice_and_unstarted(scene: Cluster) -> None:
    await scene.node("never").stop()
    node = await scene.start()
    await scene.stop(node)
    await node.stop()
    assert scene.faults.count("sessions.close") == 1


async def test_a_second_start_does_nothing(scene: Cluster) -> None:
    node = await scene.start()
    await node.start()
    assert scene.faults.count("sessions.open") == 1


async def test_a_node_that_could_not_start_leaves_no_session(scene: Cluster) -> None:
    scene.faults.fail("leases.open", GONE)
    node = scene.node()
    with pytest.raises(Unreachable):
        await node.start()
    await node.stop()
    assert scene.store.is_dead(node.ownership.session_id)


async def test_a_node_stops_although_its_journal_hangs(scene: Cluster) -> None:
    node = await scene.start(drain_seconds=1.0)
    scene.poke(node, [scene.put()])
    await settle()
    gate = scene.faults.hold("journal.commit")
    scene.effects.last.succeed(1)
    await gate.entered.wait()
    async with asyncio.TaskGroup() as group:
        group.create_task(node.stop())
        await scene.advance(1.1)
    assert len(node.stage) == 0


async def test_a_node_declared_dead_aborts_everything_and_says_so(scene: Cluster) -> None:
    node = await scene.start()
    scene.poke(node, [scene.put()])
    await settle()
    scene.store.sessions[node.ownership.session_id].state = "dead"
    await scene.advance(0.5)
    assert scene.lost == ["node"]
    assert scene.effects.last.is_aborted
    assert len(node.stage) == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_node_declared_dead_starts_nothing_any_more(scene: Cluster) -> None:
    node = await scene.start()
    scene.poke(node, [scene.put()])
    await settle()
    scene.store.sessions[node.ownership.session_id].state = "dead"
    await scene.advance(0.5)
    other = scene.put(UUID(int=9))
    scene.poke(node, [other, PROCESS_ID])
    await scene.advance(60)
    assert len(scene.effects.calls) == 1
    assert scene.store.processes[other].owner_session is None
    # Nobody waits for it: the broker gives its deliveries to others.
    async with asyncio.timeout(5):
        await node.receive([other, PROCESS_ID])
    await node.stop()
    assert scene.faults.count("journal.passivate") == 0


async def test_a_node_whose_journal_broke_gives_up(scene: Cluster) -> None:
    node = await scene.start()
    scene.faults.cut("journal.claim", Stopped())
    scene.poke(node, [scene.put()])
    await scene.advance(1)
    assert scene.lost == ["node"]
    await node.stop()
    assert scene.store.is_dead(node.ownership.session_id)


async def test_a_delivery_about_what_is_done_is_settled(scene: Cluster) -> None:
    scene.define(transform("a"))
    node = await scene.start()
    scene.poke(node, [scene.put()])
    await settle()
    assert scene.state.state is ProcessState.COMPLETED
    async with asyncio.timeout(5):
        await node.receive([PROCESS_ID, UUID(int=404)])
    assert scene.state.state is ProcessState.COMPLETED


async def test_a_node_without_a_lease_leaves_shared_pokes_to_others(scene: Cluster) -> None:
    node = await scene.start()
    carrier = node._ports.carrier
    assert carrier.is_taking
    scene.faults.cut("leases.renew", GONE)
    await scene.advance(10)
    assert not carrier.is_taking
    assert not scene.store.sessions[node.ownership.session_id].lease_ok
    scene.faults.mend("leases.renew")
    await scene.advance(4)
    assert carrier.is_taking


async def test_a_loop_that_breaks_begins_anew(scene: Cluster) -> None:
    scene.define(transform("a"))
    scene.faults.fail("lookout.ready", ValueError("a bug"))
    with structlog.testing.capture_logs() as logs:
        await scene.start()
        scene.put()
        await scene.advance(4)
    assert scene.state.state is ProcessState.COMPLETED
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["loop_failed"]


async def test_what_a_dead_node_had_under_way_is_taken_up_at_once_and_page_by_page(
    scene: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeper, "PAGE", 10)
    dead = scene.store.session()
    for number in range(1, 26):
        scene.store.give(scene.put(UUID(int=number)), dead)
    node = await scene.start()
    # The next sweep comes two seconds later.
    await scene.advance(2.2)
    scene.store.sessions[dead].state = "dead"
    live: list[int] = []
    for _ in range(4):
        await scene.advance(0.25)
        live.append(len(node.directory))
    assert live == [0, 10, 20, 25]


async def test_the_survivor_goes_on_under_the_same_key(scene: Cluster) -> None:
    first, second = await scene.start("first"), await scene.start("second")
    scene.poke(first, [scene.put()])
    await scene.advance(2)
    key = scene.effects.last.key
    # The first one hangs: nothing of it runs, and its connection stays.
    scene.store.sessions[first.ownership.session_id].state = "dead"
    await scene.advance(5)
    assert scene.row.owner_session == second.ownership.session_id
    assert scene.effects.last.key == key
    assert scene.lost == ["first"]
