"""What a node tells about its actors."""

from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from tests.contract.node_rig import Cluster, cluster
from tests.factories import http
from tests.fakes.clock import settle
from understudy.domain.live import ActorFilter
from understudy.domain.states import ProcessState
from understudy.runtime.live import Live
from understudy.runtime.node import Node


@pytest.fixture
async def scene() -> AsyncIterator[Cluster]:
    async with cluster() as made:
        made.define(http("call"))
        yield made


@pytest.fixture
async def node(scene: Cluster) -> Node:
    """A node with the processes 1 to 5, each of which has a request in flight."""
    node = await scene.start("n")
    scene.poke(node, [scene.put(UUID(int=number)) for number in (3, 1, 5, 2, 4)])
    await settle()
    return node


def ids(live: Live, **wanted: object) -> list[int]:
    return [view.process_id.int for view in live.report(ActorFilter(**wanted)).actors]  # type: ignore[arg-type] # of tests


async def test_an_actor_is_described(scene: Cluster, node: Node) -> None:
    await scene.advance(2.5)
    live = Live(node, scene.clock)
    report = live.report(ActorFilter(process_id=UUID(int=3)))
    assert (report.session, report.live_actors) == (node.ownership.session_id, 5)
    assert report.memory_bytes is not None
    assert report.memory_bytes > 1_000_000
    (view,) = report.actors
    row = scene.store.processes[UUID(int=3)]
    assert (view.process_id, view.definition, view.state) == (UUID(int=3), row.state.definition, row.state.state)
    assert (view.node, view.session, view.epoch, view.version) == ("n", report.session, row.owner_epoch, row.version)
    assert (view.current_activities, view.children_in_flight, view.mailbox_depth) == (("call",), 1, 0)
    assert view.age_seconds == 2.5
    assert view.last_commit_at is not None


async def test_actors_are_chosen_by_what_they_are_and_come_in_order(scene: Cluster, node: Node) -> None:
    live = Live(node, scene.clock)
    assert ids(live) == [1, 2, 3, 4, 5]
    assert ids(live, limit=2) == [1, 2]
    assert ids(live, limit=2, after=UUID(int=2)) == [3, 4]
    assert ids(live, limit=0) == []
    assert ids(live, definition="test", definition_version=1) == [1, 2, 3, 4, 5]
    assert ids(live, definition="other") == ids(live, definition="test", definition_version=2) == []
    assert ids(live, state=ProcessState.IN_PROGRESS) == [1, 2, 3, 4, 5]
    assert ids(live, state=ProcessState.WAITING) == []
    assert ids(live, process_id=UUID(int=9)) == []
