"""When a node is declared dead by others, and when never."""

from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from tests.contract.node_rig import Cluster
from tests.factories import created
from tests.fakes.clock import settle
from understudy.actors.loop import Stage
from understudy.domain.errors import Unreachable
from understudy.runtime.ownership import Ownership
from understudy.runtime.takeover import Takeover


class Scene(Cluster):
    """A victim that a test moves by hand, and observers that watch it."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = Stage()
        self.victim = self.store.session()
        self.redis.leases[self.victim] = float("inf")
        self.process_id = UUID(int=5)
        self.store.put(created(None, self.process_id))
        self.store.give(self.process_id, self.victim)

    def watch(self) -> Takeover:
        """Another observer."""
        ports = self.ports()
        ownership = Ownership(ports.sessions, ports.leases, self.clock, 10.0, lambda: None)
        takeover = Takeover(ports, ownership, 10.0)
        self.stage.spawn(takeover.run(), name="observer")
        return takeover

    @property
    def is_dead(self) -> bool:
        return self.store.sessions[self.victim].state == "dead"

    def crash(self) -> None:
        """The victim's connection is gone."""
        self.store.locks.discard(self.victim)

    def beat(self) -> None:
        self.store.sessions[self.victim].beat_seq += 1

    async def live(self, seconds: float) -> None:
        """Time passes and the victim beats in it."""
        for _ in range(round(seconds / 0.5)):
            self.beat()
            await self.clock.advance(0.5)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    made = Scene()
    yield made
    await made.stage.stop_all(5)


async def test_a_crash_is_seen_after_two_beats(scene: Scene) -> None:
    scene.watch()
    await scene.live(2)
    scene.crash()
    await scene.clock.advance(1)
    assert not scene.is_dead
    await scene.clock.advance(1)
    assert scene.is_dead


async def test_what_the_dead_owned_is_free_and_fenced_and_its_lease_is_gone(scene: Scene) -> None:
    scene.watch()
    await scene.live(2)
    epoch = scene.store.processes[scene.process_id].owner_epoch
    scene.crash()
    await scene.clock.advance(2)
    row = scene.store.processes[scene.process_id]
    assert (row.owner_session, row.owner_claim, row.owner_epoch) == (None, None, epoch + 1)
    assert scene.victim not in scene.redis.leases


async def test_a_lock_that_was_never_seen_held_proves_nothing(scene: Scene) -> None:
    scene.crash()
    scene.watch()
    await scene.clock.advance(9.5)
    assert not scene.is_dead
    await scene.clock.advance(1)
    assert scene.is_dead


async def test_a_restart_of_the_server_disables_the_fast_path(scene: Scene) -> None:
    scene.watch()
    await scene.live(2)
    scene.store.restart()
    await scene.clock.advance(9)
    assert not scene.is_dead


async def test_a_node_that_takes_its_lock_again_after_a_restart_is_watched_as_before(scene: Scene) -> None:
    scene.watch()
    await scene.live(2)
    scene.store.restart()
    await scene.clock.advance(3)
    scene.store.locks.add(scene.victim)
    await scene.live(2)
    assert not scene.is_dead
    scene.crash()
    await scene.clock.advance(2)
    assert scene.is_dead


async def test_a_lock_that_comes_back_in_time_saves_the_session(scene: Scene) -> None:
    scene.watch()
    await scene.live(2)
    scene.crash()
    await scene.clock.advance(1)
    scene.store.locks.add(scene.victim)
    await scene.clock.advance(1)
    scene.crash()
    await scene.clock.advance(1)
    assert not scene.is_dead


async def test_beats_without_a_lock_are_beats(scene: Scene) -> None:
    scene.watch()
    await scene.live(2)
    scene.crash()
    await scene.live(20)
    assert not scene.is_dead


async def test_a_hang_is_seen_after_the_ttl(scene: Scene) -> None:
    scene.watch()
    await scene.live(2)
    await scene.clock.advance(9.5)
    assert not scene.is_dead
    await scene.clock.advance(1)
    assert scene.is_dead


async def test_a_beat_begins_the_span_anew(scene: Scene) -> None:
    scene.watch()
    await scene.live(2)
    for _ in range(5):
        await scene.clock.advance(9)
        scene.beat()
    assert not scene.is_dead


async def test_a_paused_observer_cannot_kill(scene: Scene) -> None:
    scene.watch()
    await scene.live(2)
    # It has looked, and sleeps before it acts; meanwhile the victim beats.
    gate = scene.faults.hold("sessions.declare_dead")
    await scene.clock.advance(11)
    assert gate.entered.is_set()
    scene.beat()
    gate.opened.set()
    await settle()
    assert not scene.is_dead


async def test_a_machine_that_was_suspended_with_all_its_nodes_kills_none(scene: Scene) -> None:
    scene.watch()
    await scene.live(2)
    scene.beat()
    await scene.clock.advance(0.5)
    scene.clock.jump(3600)
    await scene.clock.advance(0.4)
    assert not scene.is_dead
    scene.beat()
    await scene.clock.advance(2)
    assert not scene.is_dead


async def test_an_observer_that_was_stopped_for_an_hour_needs_its_reads_again(scene: Scene) -> None:
    scene.watch()
    await scene.live(2)
    scene.beat()
    scene.clock.jump(3600)
    await scene.clock.advance(1)
    assert not scene.is_dead


async def test_a_server_that_hung_kills_nobody(scene: Scene) -> None:
    """The answer is as old as the question: the victim's beat hangs in the same server."""
    scene.watch()
    await scene.live(2)
    await scene.clock.advance(2)
    gate = scene.faults.hold("sessions.observe")
    await scene.clock.advance(0.5)
    assert gate.entered.is_set()
    await scene.clock.advance(60)
    gate.opened.set()
    await settle()
    assert not scene.is_dead
    scene.beat()
    await scene.clock.advance(0.5)
    assert not scene.is_dead


async def test_reads_that_fail_count_for_nothing(scene: Scene) -> None:
    scene.watch()
    await scene.live(2)
    await scene.clock.advance(9)
    scene.faults.cut("sessions.observe", Unreachable("gone"))
    await scene.clock.advance(60)
    scene.faults.mend("sessions.observe")
    await scene.clock.advance(9)
    assert not scene.is_dead


async def test_one_observer_wins(scene: Scene) -> None:
    observers = [scene.watch() for _ in range(3)]
    await scene.live(2)
    scene.crash()
    await scene.clock.advance(5)
    assert sum(observer.declared for observer in observers) == 1


async def test_a_takeover_survives_the_death_of_the_one_that_does_it(scene: Scene) -> None:
    scene.store.sessions[scene.victim].state = "dead"
    scene.watch()
    await settle()
    assert scene.store.processes[scene.process_id].owner_session is None


async def test_a_takeover_goes_on_without_redis(scene: Scene) -> None:
    scene.faults.cut("leases.close", Unreachable("gone"))
    other = scene.store.session()
    scene.watch()
    for _ in range(4):
        scene.store.sessions[other].beat_seq += 1
        await scene.live(0.5)
    scene.crash()
    scene.store.locks.discard(other)
    await scene.clock.advance(2.5)
    assert scene.is_dead
    assert scene.store.is_dead(other)
    assert scene.store.processes[scene.process_id].owner_session is None


async def test_more_than_a_batch_is_disowned(scene: Scene) -> None:
    for number in range(100, 2_600):
        scene.store.put(created(None, UUID(int=number)))
        scene.store.give(UUID(int=number), scene.victim)
    scene.store.sessions[scene.victim].state = "dead"
    scene.watch()
    await settle()
    assert {row.owner_session for row in scene.store.processes.values()} == {None}


async def test_who_is_alone_buries_everybody_at_once(scene: Scene) -> None:
    ports = scene.ports()
    ownership = Ownership(ports.sessions, ports.leases, scene.clock, 10.0, lambda: None)
    await ownership.open("node", None)
    await Takeover(ports, ownership, 10.0).bury_all()
    assert scene.is_dead
    assert not scene.store.is_dead(ownership.session_id)
    assert scene.store.processes[scene.process_id].owner_session is None


async def test_who_only_believes_to_be_alone_takes_nothing_from_the_living(scene: Scene) -> None:
    ports = scene.ports()
    ownership = Ownership(ports.sessions, ports.leases, scene.clock, 10.0, lambda: None)
    await ownership.open("node", None)
    gate = scene.faults.hold("sessions.declare_dead")
    scene.stage.spawn(Takeover(ports, ownership, 10.0).bury_all(), name="burial")
    await gate.entered.wait()
    scene.beat()
    gate.opened.set()
    await settle()
    assert not scene.is_dead
    assert scene.store.processes[scene.process_id].owner_session == scene.victim
    assert scene.redis.lives(scene.victim)
