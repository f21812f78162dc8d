"""A process that waits: timers, memory, the inbox and events."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from tests.contract.actor_rig import ActorRig, actor_rig
from tests.factories import PROCESS_ID, http, manual, plan_of, wait
from tests.fakes.clock import settle
from understudy.actors.process import ProcessActor, Signal
from understudy.actors.workplace import Ending
from understudy.domain.errors import Unreachable
from understudy.domain.messages import Answered, CancelRequested, EventArrived
from understudy.domain.states import ProcessState
from understudy.domain.views import NewEvent

RETRY = {"max_attempts": 3, "initial": "10s", "jitter": "none"}


@pytest.fixture
async def rig() -> AsyncIterator[ActorRig]:
    async with actor_rig() as made:
        yield made


# Time


async def test_a_timer_fires_once_and_never_early(rig: ActorRig) -> None:
    await rig.run(wait(**{"for": "10s"}), http())
    await rig.clock.advance(9.999)
    assert rig.state.state is ProcessState.WAITING
    await rig.clock.advance(0.001)
    assert rig.facts.count("activity.completed") == 1
    await rig.clock.advance(100)
    assert rig.facts.count("activity.completed") == 1


async def test_an_alarm_that_rings_early_is_set_again(rig: ActorRig) -> None:
    actor = await rig.run(wait(**{"for": "10s"}))
    actor.actor_ref.tell(Signal.RING)
    await settle()
    assert rig.state.state is ProcessState.WAITING
    await rig.clock.advance(10)
    assert rig.state.state is ProcessState.COMPLETED


async def test_a_timer_waits_for_the_time_of_a_database_that_was_set_back(
    rig: ActorRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.run(wait(**{"for": "10s"}))
    now = rig.clock.now
    monkeypatch.setattr(rig.clock, "now", lambda: now() - timedelta(seconds=5))
    await rig.clock.advance(14.9)
    assert rig.state.state is ProcessState.WAITING
    await rig.clock.advance(0.1)
    assert rig.state.state is ProcessState.COMPLETED


async def test_a_timer_that_fell_due_while_nobody_owned_the_process_fires_at_once(rig: ActorRig) -> None:
    plan = plan_of(wait(**{"for": "10s"}))
    rig.put()
    first = await rig.launch(plan)
    await settle()
    rig.store.give(PROCESS_ID, None)
    first.stop()
    await settle()
    rig.clock.jump(60)
    await rig.launch(plan)
    await rig.clock.advance()
    assert rig.state.state is ProcessState.COMPLETED


async def test_an_attempt_is_tried_again_when_its_time_comes(rig: ActorRig) -> None:
    await rig.run(http(retry=RETRY))
    first = rig.effects.last.key
    rig.effects.last.fail()
    await rig.clock.advance(9)
    assert len(rig.effects.calls) == 1
    await rig.clock.advance(1)
    assert rig.effects.last.attempt == 2
    assert rig.effects.last.key != first


async def test_a_backoff_lasts_as_long_in_other_hands(rig: ActorRig) -> None:
    first = await rig.run(http(retry=RETRY))
    rig.effects.last.fail()
    await rig.clock.advance(4)
    rig.store.give(PROCESS_ID, None)
    first.stop()
    await settle()
    await rig.launch(plan_of(http(retry=RETRY)))
    await rig.clock.advance(5.9)
    assert len(rig.effects.calls) == 1
    await rig.clock.advance(0.1)
    assert rig.effects.last.attempt == 2


async def test_a_timer_that_two_owners_hear_fires_once(rig: ActorRig) -> None:
    activities = (wait(**{"for": "10s"}), http())
    await rig.run(*activities)
    rig.store.give(PROCESS_ID, None)
    await rig.launch(plan_of(*activities))
    await rig.clock.advance(10)
    assert rig.facts.count("activity.completed") == 1
    assert rig.ending is Ending.FENCED
    assert len(rig.effects.calls) == 1


async def test_a_deadline_aborts_the_attempt(rig: ActorRig) -> None:
    await rig.run(http(deadline="5s"))
    await rig.clock.advance(5)
    assert rig.effects.last.is_aborted
    assert rig.state.failure is not None
    assert rig.state.failure.type == "deadline"


# Memory


async def test_a_process_that_waits_leaves_memory(rig: ActorRig) -> None:
    await rig.run(manual())
    await rig.clock.advance(29)
    assert rig.ending is None
    await rig.clock.advance(1)
    assert rig.ending is Ending.PASSIVATED
    assert rig.row.owner_session is None


async def test_a_process_in_flight_or_soon_due_stays(rig: ActorRig) -> None:
    await rig.run(wait(**{"for": "29s"}), http())
    await rig.clock.advance(1_000)
    assert rig.ending is None
    assert len(rig.effects.calls) == 1


async def test_a_message_that_arrives_during_the_passivation_is_not_lost(rig: ActorRig) -> None:
    actor = await rig.run(manual())
    gate = rig.faults.hold("journal.passivate")
    await rig.clock.advance(30)
    assert gate.entered.is_set()
    rig.store.send(PROCESS_ID, Answered("ask", rig.execution_id("ask"), "complete", 5))
    gate.opened.set()
    await settle()
    # Nobody poked: the refused passivation looked by itself.
    assert rig.state.state is ProcessState.COMPLETED
    assert actor.state.output == 5


async def test_a_poke_that_arrives_after_the_passivation_still_counts_as_mail(rig: ActorRig) -> None:
    actor = await rig.run(manual())
    seen: list[int] = []
    left = rig.witness.left

    def note(leaver: ProcessActor, ending: Ending, error: BaseException | None = None) -> None:
        seen.append(leaver.actor_ref.depth)
        left(leaver, ending, error)

    rig.witness.left = note  # type: ignore[method-assign] # the supervisor's view at that moment
    gate = rig.faults.hold("journal.passivate")
    await rig.clock.advance(30)
    actor.wake()
    gate.opened.set()
    await settle()
    assert rig.ending is Ending.PASSIVATED
    assert seen == [1]


async def test_an_idle_actor_learns_that_somebody_else_owns_its_process(rig: ActorRig) -> None:
    await rig.run(manual())
    rig.take_away()
    await rig.clock.advance(30)
    assert rig.ending is Ending.FENCED


async def test_a_refused_passivation_whose_reason_cannot_be_read_is_looked_into_later(rig: ActorRig) -> None:
    await rig.run(manual())
    rig.take_away()
    rig.faults.fail("journal.owners", Unreachable("gone"))
    await rig.clock.advance(31)
    assert rig.ending is None
    await rig.clock.advance(31)
    assert rig.ending is Ending.FENCED


# The inbox


async def test_an_inbox_that_cannot_be_read_is_read_again(rig: ActorRig) -> None:
    actor = await rig.run(manual())
    rig.store.send(PROCESS_ID, Answered("ask", rig.execution_id("ask"), "complete", 5))
    rig.faults.cut("journal.deliveries", Unreachable("gone"))
    actor.wake()
    await rig.clock.advance(5)
    assert rig.faults.count("journal.deliveries") == 6
    rig.faults.mend("journal.deliveries")
    await rig.clock.advance(1)
    assert rig.state.state is ProcessState.COMPLETED


async def test_a_delivery_is_settled_when_its_message_is_committed(rig: ActorRig) -> None:
    actor = await rig.run(manual())
    rig.store.send(PROCESS_ID, Answered("ask", rig.execution_id("ask"), "complete", 5))
    rig.faults.fail("journal.deliveries", Unreachable("gone"))
    actor.wake()
    settled = rig.stage.spawn(actor.settled.passed(), name="delivery")
    await settle()
    assert not settled.done()
    gate = rig.faults.hold("journal.commit")
    await rig.clock.advance(1)
    assert gate.entered.is_set()
    assert not settled.done()
    gate.opened.set()
    await settle()
    assert settled.done()
    assert rig.state.state is ProcessState.COMPLETED


async def test_a_delivery_for_an_actor_that_breaks_is_settled(rig: ActorRig) -> None:
    actor = await rig.run(manual())
    rig.faults.fail("journal.deliveries", ValueError("a bug"))
    actor.wake()
    await actor.settled.passed()
    await settle()
    assert rig.ending is Ending.FAILED


async def test_many_pokes_are_one_look(rig: ActorRig) -> None:
    actor = await rig.run(manual())
    for _ in range(100):
        actor.wake()
    await settle()
    assert rig.faults.count("journal.deliveries") == 1


async def test_a_second_answer_is_used_up_and_rejected(rig: ActorRig) -> None:
    actor = await rig.run(manual(), manual("again"))
    ident = rig.execution_id("ask")
    first = rig.store.send(PROCESS_ID, Answered("ask", ident, "complete", 1))
    second = rig.store.send(PROCESS_ID, Answered("ask", ident, "complete", 2))
    actor.wake()
    await settle()
    assert first.outcome == "applied"
    assert second.outcome is not None
    assert second.outcome.startswith("rejected")
    assert rig.state.executions["ask"].output == 1


async def test_what_came_before_the_first_owner_is_handled_before_the_beginning(rig: ActorRig) -> None:
    rig.put()
    rig.store.send(PROCESS_ID, CancelRequested())
    await rig.launch(plan_of(http()))
    await settle()
    assert rig.state.state is ProcessState.CANCELLED
    assert rig.facts == ["process.cancelled"]
    assert rig.effects.calls == []


# Events


async def accept(rig: ActorRig, kind: str = "go") -> None:
    event = NewEvent(rig.store.new_id(), kind, None, {"n": 1})
    await rig.workplace.events.accept(event)
    await rig.workplace.events.deliver(event.event_id)


async def test_a_wait_takes_the_event_that_was_there_before_it(rig: ActorRig) -> None:
    await accept(rig)
    await rig.run(wait(event={"type": "go"}))
    assert rig.state.output == {"n": 1}
    assert rig.state.state is ProcessState.COMPLETED


async def test_a_wait_that_another_owner_committed_takes_its_event_too(rig: ActorRig) -> None:
    plan = plan_of(wait(event={"type": "go"}))
    rig.put()
    rig.faults.cut("events.take", Unreachable("gone"))
    first = await rig.launch(plan)
    await settle()
    await accept(rig, "other")
    rig.store.give(PROCESS_ID, None)
    first.stop()
    await settle()
    event = NewEvent(rig.store.new_id(), "go", None, {"n": 2})
    await rig.workplace.events.accept(event)
    rig.store.events[event.event_id].is_fanned_out = True
    rig.faults.mend("events.take")
    await rig.launch(plan)
    await settle()
    assert rig.state.output == {"n": 2}


async def test_a_look_for_an_event_is_repeated_until_it_is_answered(rig: ActorRig) -> None:
    await accept(rig)
    rig.faults.fail("events.take", Unreachable("gone"), Unreachable("gone"))
    await rig.run(wait(event={"type": "go"}))
    assert rig.state.state is ProcessState.WAITING
    await rig.clock.advance(2)
    assert rig.state.state is ProcessState.COMPLETED


async def test_an_event_for_an_execution_that_is_over_is_rejected(rig: ActorRig) -> None:
    actor = await rig.run(manual())
    row = rig.store.send(PROCESS_ID, EventArrived(rig.store.new_id(), rig.store.new_id(), "go"))
    actor.wake()
    await settle()
    assert row.outcome == "rejected: nothing waits for the event"
