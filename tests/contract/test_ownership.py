"""The session of a node: when effects may start, and when never again."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.fakes.clock import ManualClock, settle
from tests.fakes.sessions import FakeLeases, FakeSessions, Redis
from tests.fakes.store import Store
from understudy.actors.loop import Stage
from understudy.domain.errors import Unreachable
from understudy.runtime.ownership import Ownership

GONE = Unreachable("gone")


class Scene:
    """One session with its two loops."""

    def __init__(self) -> None:
        self.store = Store()
        self.redis = Redis(self.clock, self.store.faults)
        self.losses = 0
        self.ownership = Ownership(FakeSessions(self.store), FakeLeases(self.redis), self.clock, 10.0, self._lose)
        self.stage = Stage()
        self.permitted = 0

    @property
    def clock(self) -> ManualClock:
        return self.store.clock

    @property
    def session_id(self) -> "object":
        return self.ownership.session_id

    async def open(self) -> None:
        await self.ownership.open("node", None)
        for loop in (self.ownership.beat, self.ownership.renew):
            self.stage.spawn(loop(), name=loop.__name__)
        await settle()

    def ask(self) -> None:
        """Something with an effect wants to start."""
        self.stage.spawn(self._wait_for_permit(), name="asker")

    async def _wait_for_permit(self) -> None:
        await self.ownership.permit()
        self.permitted += 1

    def _lose(self) -> None:
        self.losses += 1


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    made = Scene()
    await made.open()
    yield made
    await made.stage.stop_all(5)


async def test_a_session_beats_and_its_lease_is_renewed(scene: Scene) -> None:
    await scene.clock.advance(60)
    row = scene.store.sessions[scene.ownership.session_id]
    assert row.beat_seq == 121
    assert row.lease_ok
    assert scene.ownership.is_valid
    assert scene.redis.lives(scene.ownership.session_id)


async def test_the_lease_is_counted_from_when_its_renewal_was_sent(scene: Scene) -> None:
    gate = scene.store.faults.hold("leases.renew")
    await scene.clock.advance(10 / 3)
    assert gate.entered.is_set()
    # The answer takes eight seconds; the nine of the renewal are counted from before.
    await scene.clock.advance(8)
    scene.store.faults.cut("leases.renew", GONE)
    scene.redis.leases[scene.ownership.session_id] = scene.clock.monotonic() + 10
    scene.store.faults.mend("leases.renew")
    gate.opened.set()
    await settle()
    assert scene.ownership.is_valid
    scene.clock.jump(0.99)
    assert scene.ownership.is_valid
    scene.clock.jump(0.02)
    assert not scene.ownership.is_valid


async def test_a_lapsed_lease_suspends_until_it_is_renewed(scene: Scene) -> None:
    scene.store.faults.cut("leases.renew", GONE)
    scene.store.faults.cut("leases.open", GONE)
    await scene.clock.advance(9.1)
    assert not scene.ownership.is_valid
    scene.ask()
    await scene.clock.advance(20)
    assert scene.permitted == 0
    assert not scene.store.sessions[scene.ownership.session_id].lease_ok
    scene.store.faults.mend("leases.renew")
    scene.store.faults.mend("leases.open")
    await scene.clock.advance(4)
    assert scene.permitted == 1
    assert scene.losses == 0


async def test_a_paused_node_permits_nothing_when_it_wakes(scene: Scene) -> None:
    scene.clock.jump(9.5)
    scene.ask()
    assert not scene.ownership.is_valid


async def test_a_lease_that_redis_forgot_comes_back_once_postgresql_has_counted_a_beat(scene: Scene) -> None:
    await scene.clock.advance(1)
    scene.redis.flush()
    await scene.clock.advance(10 / 3)
    assert scene.redis.lives(scene.ownership.session_id)
    assert scene.ownership.is_valid


async def test_a_forgotten_lease_stays_away_while_postgresql_says_nothing(scene: Scene) -> None:
    scene.redis.flush()
    scene.store.faults.cut("sessions.beat", GONE)
    await scene.clock.advance(30)
    assert not scene.redis.lives(scene.ownership.session_id)
    assert not scene.ownership.is_valid
    scene.store.faults.mend("sessions.beat")
    await scene.clock.advance(0.5)
    assert scene.ownership.is_valid


async def test_a_session_declared_dead_does_not_bring_its_lease_back(scene: Scene) -> None:
    """The winner deletes the lease of the dead: a beat from before the declaration proves nothing."""
    await scene.clock.advance(3)
    scene.store.faults.cut("sessions.beat", GONE)
    scene.store.sessions[scene.ownership.session_id].state = "dead"
    scene.redis.flush()
    await scene.clock.advance(4)
    assert not scene.redis.lives(scene.ownership.session_id)


async def test_a_session_declared_dead_is_lost_for_good(scene: Scene) -> None:
    scene.store.sessions[scene.ownership.session_id].state = "dead"
    scene.ask()
    await scene.clock.advance(0.5)
    assert scene.losses == 1
    asked = scene.permitted
    scene.ask()
    # Its lease still lives in Redis and could be renewed.
    await scene.clock.advance(60)
    assert scene.permitted == asked
    assert not scene.ownership.is_valid
    assert scene.losses == 1


async def test_beats_that_fail_are_tried_again(scene: Scene) -> None:
    scene.store.faults.cut("sessions.beat", GONE)
    await scene.clock.advance(5)
    scene.store.faults.mend("sessions.beat")
    await scene.clock.advance(5)
    assert scene.store.sessions[scene.ownership.session_id].beat_seq == 11
    assert scene.losses == 0


async def test_the_end_of_a_session_is_told_to_both(scene: Scene) -> None:
    await scene.ownership.close()
    assert scene.store.sessions[scene.ownership.session_id].state == "dead"
    assert not scene.redis.lives(scene.ownership.session_id)
    assert not scene.ownership.is_valid


async def test_a_session_ends_although_nobody_answers(scene: Scene) -> None:
    scene.store.faults.cut("leases.close", GONE)
    scene.store.faults.cut("sessions.close", GONE)
    await scene.ownership.close()
    assert not scene.ownership.is_valid


async def test_who_waits_for_a_permit_can_be_cancelled(scene: Scene) -> None:
    scene.ownership.end()
    task = scene.stage.spawn(scene.ownership.permit(), name="asker")
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
