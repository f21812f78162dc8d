"""What becomes of a process whose actor has left."""

from collections.abc import AsyncIterator

import pytest
import structlog.testing

from tests.contract.node_rig import Cluster, cluster
from tests.factories import PROCESS_ID, http, transform
from tests.fakes.clock import settle
from understudy.domain.errors import Stopped, Unreachable
from understudy.domain.states import ProcessState

GONE = Unreachable("gone")
MANUAL = {"id": "ask", "type": "manual"}


@pytest.fixture
async def scene() -> AsyncIterator[Cluster]:
    async with cluster() as made:
        yield made


async def test_the_record_of_a_process_that_ended_goes(scene: Cluster) -> None:
    scene.define(transform("a"))
    node = await scene.start()
    scene.poke(node, [scene.put()])
    await settle()
    assert scene.state.state is ProcessState.COMPLETED
    assert len(node.directory) == 0
    assert scene.redis.records == {}


async def test_the_record_of_a_process_that_sleeps_goes(scene: Cluster) -> None:
    scene.define(MANUAL)
    node = await scene.start()
    scene.poke(node, [scene.put()])
    await scene.advance(31)
    assert len(node.directory) == 0
    assert scene.row.owner_session is None
    assert scene.redis.records == {}


async def test_what_could_not_be_given_back_is_given_back_later(scene: Cluster) -> None:
    scene.define(transform("a"))
    node = await scene.start()
    scene.faults.fail("leases.release", GONE, GONE)
    scene.poke(node, [scene.put()])
    await settle()
    assert PROCESS_ID in scene.redis.records
    await scene.advance(2)
    assert scene.redis.records == {}


async def test_the_record_of_a_process_that_was_claimed_again_stays(scene: Cluster) -> None:
    scene.define(MANUAL)
    node = await scene.start(idle_seconds=1.5)
    scene.faults.fail("leases.release", GONE)
    scene.poke(node, [scene.put()])
    await scene.advance(1.5)
    assert len(node.directory) == 0
    scene.poke(node, [PROCESS_ID])
    await settle()
    assert PROCESS_ID in node.directory
    # By now the release has been tried again.
    await scene.advance(1.2)
    assert scene.redis.records[PROCESS_ID] == node.ownership.session_id


async def test_a_poke_that_came_during_the_passivation_claims_again(scene: Cluster) -> None:
    scene.define(MANUAL)
    node = await scene.start()
    scene.poke(node, [scene.put()])
    await settle()
    gate = scene.faults.hold("journal.passivate")
    await scene.advance(30)
    assert gate.entered.is_set()
    # Its row comes a moment after the statement has looked for one.
    scene.poke(node, [PROCESS_ID])
    await settle()
    gate.opened.set()
    await settle()
    assert scene.row.owner_epoch == 2
    assert PROCESS_ID in node.directory


async def test_a_process_whose_actor_broke_is_given_up_and_claimed_again(scene: Cluster) -> None:
    scene.define(http())
    node = await scene.start()
    scene.faults.fail("journal.commit", ValueError("a bug"))
    scene.poke(node, [scene.put()])
    await settle()
    assert scene.row.owner_session is None
    await scene.advance(2)
    assert PROCESS_ID in node.directory
    assert len(scene.effects.calls) == 1


async def test_giving_up_what_broke_is_repeated_and_never_hits_the_next_actor(scene: Cluster) -> None:
    scene.define(http())
    node = await scene.start()
    scene.faults.fail("journal.commit", ValueError("a bug"))
    scene.faults.fail("leases.release", GONE, GONE, GONE, GONE)
    scene.poke(node, [scene.put()])
    await scene.advance(10)
    assert PROCESS_ID in node.directory
    assert scene.row.owner_session == node.ownership.session_id
    assert len(scene.effects.calls) == 1
    assert node.supervisor.fenced == 0


async def test_a_diverged_actor_reads_again(scene: Cluster) -> None:
    scene.define(http("a"), transform("b"))
    node = await scene.start()
    scene.poke(node, [scene.put()])
    await settle()
    scene.row.version += 1
    scene.effects.last.succeed()
    await scene.advance(2)
    assert len(scene.effects.calls) == 2
    scene.effects.last.succeed()
    await settle()
    assert scene.state.state is ProcessState.COMPLETED


async def test_a_fenced_actor_is_counted_and_its_record_goes(scene: Cluster) -> None:
    scene.define(http())
    node = await scene.start()
    scene.poke(node, [scene.put()])
    await settle()
    other = scene.store.session()
    scene.redis.leases[other] = float("inf")
    scene.store.give(PROCESS_ID, other)
    scene.effects.last.succeed()
    await settle()
    assert node.supervisor.fenced == 1
    assert scene.redis.records == {}
    assert scene.row.owner_session == other


async def test_a_stopped_journal_gives_nothing_up(scene: Cluster) -> None:
    scene.define(http())
    node = await scene.start()
    scene.poke(node, [scene.put()])
    await settle()
    scene.faults.fail("journal.commit", Stopped())
    with structlog.testing.capture_logs() as logs:
        scene.effects.last.succeed()
        await settle()
    assert scene.row.owner_session == node.ownership.session_id
    assert scene.faults.count("journal.relinquish") == 0
    assert [line["process_id"] for line in logs if line["event"] == "actor_left"] == [str(PROCESS_ID)]
