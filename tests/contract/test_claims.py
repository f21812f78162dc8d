"""Claims: Redis first, PostgreSQL decides, one slot for each process, and nothing left without a driver."""

from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from tests.contract.node_rig import Cluster, cluster
from tests.factories import PROCESS_ID, created, http, transform
from tests.fakes.clock import settle
from understudy.domain.errors import Unreachable
from understudy.domain.messages import CancelRequested
from understudy.domain.state import DefinitionRef
from understudy.domain.states import ProcessState
from understudy.runtime import claims
from understudy.runtime.router import Router

GONE = Unreachable("gone")
MANUAL = {"id": "ask", "type": "manual"}


@pytest.fixture
async def scene() -> AsyncIterator[Cluster]:
    async with cluster() as made:
        made.define(http())
        yield made


async def test_a_poked_process_gets_an_actor(scene: Cluster) -> None:
    node = await scene.start()
    scene.poke(node, [scene.put()])
    await settle()
    assert node.directory.find(PROCESS_ID) is not None
    assert scene.row.owner_session == node.ownership.session_id
    assert scene.redis.records[PROCESS_ID] == node.ownership.session_id
    assert len(scene.effects.calls) == 1


async def test_pokes_that_arrive_together_are_one_claim(scene: Cluster) -> None:
    node = await scene.start()
    scene.poke(node, [scene.put(UUID(int=number)) for number in range(1, 101)])
    await settle()
    assert len(node.directory) == 100
    assert scene.faults.count("journal.claim") == 1


async def test_pokes_for_one_process_make_one_actor(scene: Cluster) -> None:
    node = await scene.start()
    scene.put()
    gate = scene.faults.hold("journal.claim")
    scene.poke(node, [PROCESS_ID])
    await gate.entered.wait()
    scene.poke(node, [PROCESS_ID, PROCESS_ID])
    gate.opened.set()
    await settle()
    scene.poke(node, [PROCESS_ID])
    await settle()
    assert len(scene.effects.calls) == 1
    assert scene.row.owner_epoch == 1


async def test_a_poke_that_arrives_during_a_claim_is_heard_after_it(scene: Cluster) -> None:
    scene.define(MANUAL)
    node = await scene.start()
    scene.put()
    gate = scene.faults.hold("definitions.content")
    scene.poke(node, [PROCESS_ID])
    await gate.entered.wait()
    # The claim has read the inbox already.
    scene.store.send(PROCESS_ID, CancelRequested())
    scene.poke(node, [PROCESS_ID])
    gate.opened.set()
    await settle()
    assert scene.state.state is ProcessState.CANCELLED


async def test_what_a_live_node_holds_is_not_claimed(scene: Cluster) -> None:
    first, second = await scene.start("first"), await scene.start("second")
    scene.poke(first, [scene.put()])
    await settle()
    claims = scene.faults.count("journal.claim")
    scene.poke(second, [PROCESS_ID])
    await settle()
    assert scene.faults.count("journal.claim") == claims
    assert scene.row.owner_session == first.ownership.session_id


async def test_redis_says_free_and_postgresql_says_owned_so_the_record_is_repaired(scene: Cluster) -> None:
    first, second = await scene.start("first"), await scene.start("second")
    scene.poke(first, [scene.put()])
    await settle()
    scene.redis.records.clear()
    scene.poke(second, [PROCESS_ID])
    await settle()
    assert scene.row.owner_session == first.ownership.session_id
    assert scene.redis.records[PROCESS_ID] == first.ownership.session_id
    assert PROCESS_ID not in second.directory


async def test_an_ended_process_leaves_no_record(scene: Cluster) -> None:
    scene.define(transform("a"))
    node = await scene.start()
    scene.poke(node, [scene.put()])
    await settle()
    assert scene.state.state is ProcessState.COMPLETED
    scene.poke(node, [PROCESS_ID])
    await settle()
    assert scene.redis.records == {}


async def test_nothing_is_claimed_without_a_lease(scene: Cluster) -> None:
    node = await scene.start()
    scene.faults.cut("leases.renew", GONE)
    await scene.advance(9.5)
    scene.poke(node, [scene.put()])
    await scene.advance(5)
    assert scene.row.owner_session is None
    scene.faults.mend("leases.renew")
    scene.redis.leases[node.ownership.session_id] = float("inf")
    await scene.advance(4)
    assert scene.row.owner_session == node.ownership.session_id


async def test_a_lease_that_redis_forgot_claims_nothing(scene: Cluster) -> None:
    node = await scene.start()
    scene.redis.flush()
    scene.poke(node, [scene.put()])
    await settle()
    assert scene.row.owner_session is None
    await scene.advance(8)
    assert scene.row.owner_session == node.ownership.session_id


async def test_a_claim_that_fails_is_made_again(scene: Cluster) -> None:
    node = await scene.start()
    scene.faults.fail("journal.claim", GONE)
    with capture_logs() as logs:
        scene.poke(node, [scene.put()])
        await settle()
        assert PROCESS_ID not in node.directory
        await scene.advance(4)
    assert PROCESS_ID in node.directory
    assert [line["event"] for line in logs if line["log_level"] in {"warning", "error"}] == ["claim_failed"]


async def test_a_claim_whose_answer_was_lost_is_found_by_the_audit(scene: Cluster) -> None:
    node = await scene.start()
    scene.put()
    scene.store.give(PROCESS_ID, node.ownership.session_id)
    await scene.advance(14)
    assert PROCESS_ID in node.directory
    assert scene.row.owner_epoch == 3


async def test_a_process_without_a_definition_is_given_up_and_its_batch_is_not(scene: Cluster) -> None:
    node = await scene.start()
    lonely = UUID(int=77)
    scene.store.put(replace(created(None, lonely), definition=DefinitionRef("lost", 1, b"missing")))
    scene.poke(node, [lonely, scene.put()])
    await settle()
    assert PROCESS_ID in node.directory
    row = scene.store.processes[lonely]
    assert (row.owner_session, row.claim_fails) == (None, 0)
    assert lonely not in scene.redis.records


async def test_a_definition_that_cannot_be_loaded_now_loses_nobody(scene: Cluster) -> None:
    node = await scene.start()
    scene.faults.fail("definitions.content", GONE)
    scene.poke(node, [scene.put()])
    await settle()
    assert scene.row.owner_session is None
    await scene.advance(5)
    assert PROCESS_ID in node.directory


async def test_a_definition_that_this_version_cannot_read_concerns_its_processes_alone(scene: Cluster) -> None:
    node = await scene.start()
    scene.definitions.contents[b"digest"] = b"{}"
    scene.poke(node, [scene.put()])
    await settle()
    assert scene.row.owner_session is None
    assert node.stage.refs == []


async def test_a_process_that_breaks_its_actor_is_claimed_later_each_time_and_then_not_at_all(scene: Cluster) -> None:
    node = await scene.start()
    scene.faults.cut("journal.commit", ValueError("a bug"))
    scene.poke(node, [scene.put()])
    await scene.advance(60)
    # After 2, 4, 8, 16 and 32 seconds, although the sweeper names it every two.
    assert scene.row.claim_fails == 5
    assert scene.row.owner_session is None
    await scene.advance(5)
    assert scene.row.quarantined is not None
    assert scene.row.owner_session is None
    assert scene.redis.records == {}
    await scene.advance(200)
    assert scene.row.claim_fails == 6


async def test_suspects_are_tried_one_at_a_time_and_nobody_pays_for_the_others(scene: Cluster) -> None:
    node = await scene.start()
    idents = [scene.put(UUID(int=number)) for number in range(1, 9)]
    for ident in idents:
        scene.store.processes[ident].claim_fails = 2
    gate = scene.faults.hold("journal.commit")
    scene.poke(node, idents)
    await gate.entered.wait()
    await settle()
    assert len(node.directory) == 1
    counts = sorted(row.claim_fails for row in scene.store.processes.values())
    assert counts == [2, 2, 2, 2, 2, 2, 2, 3]
    gate.opened.set()
    await settle()
    # Each that commits makes room for the next, without waiting for its time.
    assert len(node.directory) == 8
    assert {row.claim_fails for row in scene.store.processes.values()} == {0}


async def test_a_suspect_without_a_definition_blocks_no_other(scene: Cluster) -> None:
    node = await scene.start()
    lost = UUID(int=3)
    scene.store.put(replace(created(None, lost), definition=DefinitionRef("lost", 1, b"missing"))).claim_fails = 2
    scene.store.processes[scene.put()].claim_fails = 2
    scene.poke(node, [lost, PROCESS_ID])
    await settle()
    assert PROCESS_ID in node.directory


async def test_a_quarantine_that_fails_loses_nobody_else(scene: Cluster) -> None:
    node = await scene.start()
    bad = scene.put(UUID(int=3))
    scene.store.processes[bad].claim_fails = 5
    scene.faults.fail("journal.quarantine", GONE)
    scene.poke(node, [bad, scene.put()])
    await settle()
    assert PROCESS_ID in node.directory
    await scene.advance(30)
    assert scene.store.processes[bad].quarantined is not None
    assert bad not in node.directory


async def test_what_another_node_holds_is_told_to_it(scene: Cluster) -> None:
    scene.define(MANUAL)
    first, second = await scene.start("first"), await scene.start("second")
    scene.poke(first, [scene.put()])
    await settle()
    scene.store.send(PROCESS_ID, CancelRequested())
    scene.poke(second, [PROCESS_ID])
    await settle()
    assert scene.state.state is ProcessState.CANCELLED


def hold_elsewhere(scene: Cluster) -> UUID:
    """Let a session hold the process in Redis that cannot be told anything."""
    silent = scene.store.session()
    scene.redis.leases[silent] = float("inf")
    scene.redis.records[scene.put()] = silent
    return silent


async def test_what_a_silent_node_holds_is_looked_at_again(scene: Cluster) -> None:
    node = await scene.start()
    other = hold_elsewhere(scene)
    scene.poke(node, [PROCESS_ID])
    await settle()
    assert PROCESS_ID not in node.directory
    del scene.redis.leases[other]
    # The next sweep would come later.
    await scene.advance(1.5)
    assert PROCESS_ID in node.directory


async def test_what_a_silent_node_holds_is_not_looked_at_for_ever(scene: Cluster) -> None:
    scene.define(MANUAL)
    node = await scene.start()
    scene.poke(node, [scene.put()])
    await scene.advance(31)
    assert len(node.directory) == 0
    other = scene.store.new_id()
    scene.redis.leases[other] = float("inf")
    scene.redis.records[PROCESS_ID] = other
    looks = scene.faults.count("leases.claim")
    scene.poke(node, [PROCESS_ID])
    await scene.advance(25)
    # Every 1.25 seconds for two leases; then there is nothing to do that a sweeper would not name.
    assert 15 <= scene.faults.count("leases.claim") - looks <= 18
    await scene.advance(60)
    assert scene.faults.count("leases.claim") - looks <= 18


async def test_what_is_not_to_be_had_any_more_is_not_looked_at_again(scene: Cluster) -> None:
    node = await scene.start()
    other = hold_elsewhere(scene)
    scene.poke(node, [PROCESS_ID])
    await settle()
    assert list(node._claims._parked_since) == [PROCESS_ID]
    scene.row.quarantined = "it killed its nodes"
    del scene.redis.leases[other]
    await scene.advance(2)
    assert node._claims._parked_since == {}


async def test_a_poke_for_a_holder_without_a_queue_goes_to_whoever_is_free(scene: Cluster) -> None:
    await scene.start()
    silent = scene.store.new_id()
    scene.redis.leases[silent] = float("inf")
    scene.redis.records[scene.put()] = silent
    gateway = scene.ports()
    looks = scene.faults.count("leases.claim")
    await Router(gateway.carrier, gateway.leases).poke([PROCESS_ID])
    await settle()
    assert scene.faults.count("leases.claim") == looks + 1


async def test_a_node_that_is_full_waits_for_room(scene: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "LIVE_MAX", 1)
    node = await scene.start()
    scene.poke(node, [scene.put(UUID(int=1)), scene.put(UUID(int=2))])
    await settle()
    assert len(node.directory) == 1
    scene.effects.last.succeed()
    await settle()
    assert scene.store.processes[UUID(int=2)].owner_session == node.ownership.session_id


async def test_a_delivery_is_settled_when_its_claim_has_been_acted_on(scene: Cluster) -> None:
    node = await scene.start()
    scene.put()
    claim, commit = scene.faults.hold("journal.claim"), scene.faults.hold("journal.commit")
    delivery = node.stage.spawn(node.receive([PROCESS_ID]), name="delivery")
    for gate in (claim, commit):
        await gate.entered.wait()
        await settle()
        assert not delivery.done()
        gate.opened.set()
    await settle()
    assert delivery.done()


async def test_a_slot_is_held_by_one_at_a_time(scene: Cluster) -> None:
    node = await scene.start()
    scene.put()
    held = node._claims
    with held.exclusively([PROCESS_ID]) as first, held.exclusively([PROCESS_ID]) as second:
        assert (first, second) == ([PROCESS_ID], [])
        scene.poke(node, [PROCESS_ID])
        await settle()
        assert PROCESS_ID not in node.directory
    await settle()
    assert PROCESS_ID in node.directory
    with held.exclusively([PROCESS_ID]) as third:
        assert third == []
