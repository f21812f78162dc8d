"""The safety nets: each finds what nobody was told of."""

from collections.abc import AsyncIterator

import pytest
import structlog.testing

from tests.contract.node_rig import Cluster, cluster
from tests.factories import PROCESS_ID, http, transform
from tests.fakes.clock import settle
from understudy.domain.errors import Unreachable
from understudy.domain.messages import Answered, CancelRequested
from understudy.domain.states import ProcessState
from understudy.domain.views import NewEvent
from understudy.runtime import sweeper

GONE = Unreachable("gone")
MANUAL = {"id": "ask", "type": "manual"}
EVENT = {"id": "w", "type": "wait", "event": {"type": "go"}}


@pytest.fixture
async def scene() -> AsyncIterator[Cluster]:
    async with cluster() as made:
        yield made


async def test_a_process_that_was_never_poked_is_found(scene: Cluster) -> None:
    scene.define(transform("a"))
    await scene.start()
    scene.put()
    await scene.advance(2.5)
    assert scene.state.state is ProcessState.COMPLETED


async def test_an_inbox_row_that_was_never_poked_is_found(scene: Cluster) -> None:
    scene.define(MANUAL)
    node = await scene.start()
    scene.poke(node, [scene.put()])
    await settle()
    scene.store.send(PROCESS_ID, CancelRequested())
    await scene.advance(2.9)
    assert scene.state.state is ProcessState.WAITING
    await scene.advance(2.6)
    assert scene.state.state is ProcessState.CANCELLED


async def test_a_timer_of_a_sleeping_process_is_found(scene: Cluster) -> None:
    scene.define({"id": "w", "type": "wait", "for": "100s"})
    node = await scene.start()
    scene.poke(node, [scene.put()])
    await scene.advance(31)
    assert len(node.directory) == 0
    await scene.advance(68.9)
    assert scene.state.state is ProcessState.WAITING
    await scene.advance(1.6)
    assert scene.state.state is ProcessState.COMPLETED
    assert scene.store.facts(PROCESS_ID).count("activity.completed") == 1


async def test_an_event_that_was_stored_and_not_handed_out_is_found(scene: Cluster) -> None:
    scene.define(EVENT)
    node = await scene.start()
    scene.poke(node, [scene.put()])
    await settle()
    await scene.ports().events.accept(NewEvent(scene.store.new_id(), "go", None, 1))
    # The first sweep may have met it between being stored and being handed out.
    await scene.advance(5.1)
    assert scene.state.state is ProcessState.COMPLETED


async def test_a_wait_and_its_event_that_missed_each_other_are_found(scene: Cluster) -> None:
    scene.define(EVENT)
    node = await scene.start()
    scene.poke(node, [scene.put()])
    await scene.advance(31)
    event = NewEvent(scene.store.new_id(), "go", None, 1)
    await scene.ports().events.accept(event)
    scene.store.events[event.event_id].is_fanned_out = True
    await scene.advance(2.5)
    assert scene.state.state is ProcessState.COMPLETED


async def test_a_row_that_nobody_can_use_up_is_rejected(scene: Cluster) -> None:
    scene.define(transform("a"))
    node = await scene.start()
    scene.poke(node, [scene.put()])
    await settle()
    row = scene.store.send(PROCESS_ID, CancelRequested())
    await scene.advance(2.5)
    assert row.outcome == "rejected: the process is COMPLETED"


async def test_old_events_are_forgotten(scene: Cluster) -> None:
    event = NewEvent(scene.store.new_id(), "go", None, 1)
    await scene.ports().events.accept(event)
    scene.store.events[event.event_id].is_fanned_out = True
    scene.clock.jump(25 * 3600)
    await scene.start()
    assert scene.store.events == {}


async def test_more_old_events_than_a_page_are_forgotten_at_once(
    scene: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeper, "PAGE", 2)
    for number in range(5):
        event = NewEvent(scene.store.new_id(), "go", None, number)
        await scene.ports().events.accept(event)
        scene.store.events[event.event_id].is_fanned_out = True
    scene.clock.jump(25 * 3600)
    await scene.start()
    assert scene.store.events == {}


async def test_one_search_that_fails_leaves_the_others(scene: Cluster) -> None:
    scene.define(transform("a"))
    scene.faults.cut("lookout.ready", GONE)
    scene.faults.cut("events.undelivered", GONE)
    await scene.start()
    await scene.advance(5)
    assert scene.faults.count("lookout.pending") >= 2
    assert scene.faults.count("lookout.reject_orphans") >= 2


async def test_a_process_owned_without_an_actor_is_found_by_the_audit(scene: Cluster) -> None:
    scene.define(http())
    node = await scene.start()
    scene.put()
    scene.store.give(PROCESS_ID, node.ownership.session_id)
    with structlog.testing.capture_logs() as logs:
        await scene.advance(13)
    assert PROCESS_ID in node.directory
    (found,) = [line for line in logs if line["event"] == "orphans_found"]
    assert found["processes"] == [str(PROCESS_ID)]


async def test_the_audit_leaves_alone_what_is_being_claimed(scene: Cluster) -> None:
    scene.define(http())
    node = await scene.start()
    scene.put()
    gate = scene.faults.hold("definitions.content")
    scene.poke(node, [PROCESS_ID])
    await gate.entered.wait()
    assert scene.row.owner_session == node.ownership.session_id
    await scene.advance(30)
    assert scene.row.owner_session == node.ownership.session_id
    gate.opened.set()
    await settle()
    assert PROCESS_ID in node.directory
    assert scene.row.owner_epoch == 1
    assert node.supervisor.fenced == 0


async def test_the_audit_leaves_actors_alone(scene: Cluster) -> None:
    scene.define(http())
    node = await scene.start()
    scene.poke(node, [scene.put()])
    await scene.advance(60)
    assert scene.row.owner_epoch == 1
    assert len(scene.effects.calls) == 1


async def test_a_claim_may_not_pass_an_audit(scene: Cluster) -> None:
    """Between the audit's look and its giving up, nobody claims."""
    scene.define(http())
    node = await scene.start()
    scene.put()
    scene.store.give(PROCESS_ID, node.ownership.session_id)
    gate = scene.faults.hold("journal.spare")
    await scene.advance(13)
    assert gate.entered.is_set()
    scene.store.give(PROCESS_ID, None)
    scene.poke(node, [PROCESS_ID])
    await settle()
    assert PROCESS_ID not in node.directory
    gate.opened.set()
    await settle()
    assert PROCESS_ID in node.directory
    assert scene.row.owner_session == node.ownership.session_id


async def test_an_answer_for_a_sleeping_process_wakes_it(scene: Cluster) -> None:
    scene.define(MANUAL)
    node = await scene.start()
    scene.poke(node, [scene.put()])
    await scene.advance(31)
    scene.store.send(PROCESS_ID, Answered("ask", scene.state.executions["ask"].execution_id, "complete", 5))
    scene.poke(node, [PROCESS_ID])
    await settle()
    assert scene.state.output == 5


async def test_an_actor_that_is_ahead_of_its_row_gives_way(scene: Cluster) -> None:
    """A failover lost the commit of the wait: nothing would ever make the actor commit again."""
    scene.define(MANUAL)
    node = await scene.start()
    scene.poke(node, [scene.put()])
    before = (scene.row.state, scene.row.version)
    await settle()
    assert scene.row.version == 1
    scene.row.state, scene.row.version = before
    with structlog.testing.capture_logs() as logs:
        await scene.advance(40)
    assert (scene.state.state, scene.row.version) == (ProcessState.WAITING, 1)
    assert scene.row.owner_epoch > 1
    assert [line["version"] for line in logs if line["event"] == "actor_ahead_of_its_row"] == [0]
    actor = node.directory.find(PROCESS_ID)
    assert actor is not None
    assert actor.version == 1
