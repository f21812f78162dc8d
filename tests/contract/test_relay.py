"""Announced events reach whoever waits, at least once and in order."""

from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from tests.contract.node_rig import Cluster, cluster
from tests.factories import http
from tests.fakes.clock import settle
from understudy.domain.errors import Invalid, Unreachable
from understudy.domain.states import ProcessState
from understudy.domain.views import OutboxRow
from understudy.runtime import relay as module

GONE = Unreachable("gone")
LISTENER, SPEAKER = UUID(int=1), UUID(int=2)


@pytest.fixture
async def scene() -> AsyncIterator[Cluster]:
    async with cluster() as made:
        yield made


def announce(scene: Cluster, number: int, kind: str = "go", process_id: UUID = SPEAKER) -> OutboxRow:
    row = OutboxRow(process_id, number, 0, scene.store.new_id(), kind, None, number, scene.clock.now())
    scene.store.outbox.append(row)
    return row


async def test_an_event_of_one_process_reaches_another_that_waits(scene: Cluster) -> None:
    scene.define(
        {"id": "choose", "type": "decision", "cases": [{"when": "process.key == null", "next": "w"}], "otherwise": "w"},
        {"id": "w", "type": "wait", "event": {"type": "go"}},
    )
    node = await scene.start()
    scene.poke(node, [scene.put(LISTENER)])
    await settle()
    scene.definitions.contents.clear()
    scene.plans._plans.clear()
    scene.define({"id": "e", "type": "event", "event": "go", "data": {"n": 1}})
    scene.poke(node, [scene.put(SPEAKER)])
    await settle()
    assert scene.store.processes[LISTENER].state.output == {"n": 1}
    assert scene.store.outbox == []


async def test_a_row_goes_only_when_the_receiver_has_it(scene: Cluster) -> None:
    await scene.start()
    announce(scene, 1)
    gate = scene.faults.hold("events.accept")
    await scene.advance(2)
    assert gate.entered.is_set()
    assert len(scene.store.outbox) == 1
    gate.opened.set()
    await settle()
    assert scene.store.outbox == []


async def test_a_row_that_fails_is_tried_again_and_not_overtaken(scene: Cluster) -> None:
    await scene.start()
    first, second = announce(scene, 1), announce(scene, 2)
    scene.faults.fail("events.accept", GONE)
    await scene.advance(2)
    assert scene.store.events == {}
    await scene.advance(4)
    assert list(scene.store.events) == [first.event_id, second.event_id]
    assert scene.store.outbox == []


async def test_a_repeat_after_a_crash_hands_nothing_out_twice(scene: Cluster) -> None:
    await scene.start()
    announce(scene, 1)
    scene.faults.fail("outbox.delete", GONE)
    await scene.advance(2)
    assert len(scene.store.outbox) == 1
    await scene.advance(4)
    assert scene.store.outbox == []
    assert scene.faults.count("events.accept") == 2
    assert scene.faults.count("events.deliver") == 1


async def test_an_event_that_can_never_be_stored_holds_nobody_up(scene: Cluster) -> None:
    await scene.start()
    announce(scene, 1)
    second = announce(scene, 2)
    scene.faults.fail("events.accept", Invalid("no"))
    await scene.advance(2)
    assert list(scene.store.events) == [second.event_id]
    assert scene.store.outbox == []


async def test_a_backlog_is_carried_page_by_page(scene: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS_MAX", 10)
    for number in range(95):
        announce(scene, number)
    await scene.start()
    assert scene.store.outbox == []
    assert len(scene.store.events) == 95


async def test_a_row_that_the_broker_does_not_confirm_is_kept_and_not_overtaken(
    scene: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await scene.start()
    refused, confirmed = {1}, []

    async def say(row: OutboxRow) -> bool:
        if row.version not in refused:
            confirmed.append(row.version)
        return row.version not in refused

    monkeypatch.setattr(node._ports.carrier, "announce", say)
    announce(scene, 1)
    announce(scene, 2)
    announce(scene, 7, process_id=LISTENER)
    await scene.advance(2.5)
    assert confirmed == [7]
    assert [row.version for row in scene.store.outbox] == [1, 2]
    refused.clear()
    await scene.advance(2.5)
    assert confirmed == [7, 1, 2]
    assert scene.store.outbox == []


async def test_the_eldest_node_relays_for_all(scene: Cluster) -> None:
    await scene.start("first")
    await scene.advance(1)
    second = await scene.start("second")
    await scene.advance(4)
    looks = scene.faults.count("outbox.pending")
    await scene.advance(10)
    assert scene.faults.count("outbox.pending") == looks + 5
    announce(scene, 1)
    second.supervisor.published.set()
    await settle()
    assert scene.store.outbox == []


async def test_the_relay_is_told_of_a_commit_and_does_not_wait(scene: Cluster) -> None:
    scene.define({"id": "e", "type": "event", "event": "go"}, http())
    node = await scene.start()
    scene.poke(node, [scene.put()])
    await settle()
    assert len(scene.store.events) == 1
    assert scene.state.state is ProcessState.IN_PROGRESS
