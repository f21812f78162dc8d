"""The shell around the pure core: commit first, act after, and stop when the fence says so."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import structlog.testing

from tests.contract.actor_rig import ActorRig, actor_rig
from tests.factories import PROCESS_ID, http, manual, plan_of, transform, wait
from tests.fakes.clock import settle
from understudy.actors.workplace import Ending
from understudy.domain.errors import Stopped
from understudy.domain.messages import Answered, CancelRequested
from understudy.domain.ports import Assignment, Change
from understudy.domain.states import ActivityState, ProcessState
from understudy.executors.outcome import succeeded

RETRY = {"max_attempts": 3, "initial": "10s", "jitter": "none"}


@pytest.fixture
async def rig() -> AsyncIterator[ActorRig]:
    async with actor_rig() as made:
        yield made


# Commit first, act after


async def test_an_effect_begins_only_after_the_commit_that_announced_it(rig: ActorRig) -> None:
    rig.put()
    gate = rig.faults.hold("journal.commit")
    actor = await rig.launch(plan_of(http()))
    await gate.entered.wait()
    await settle()
    assert rig.effects.calls == []
    assert actor.state.state is ProcessState.CREATED

    gate.opened.set()
    await settle()
    assert len(rig.effects.calls) == 1
    assert actor.state.state is ProcessState.IN_PROGRESS


async def test_a_result_is_believed_only_when_it_is_committed(rig: ActorRig) -> None:
    actor = await rig.run(http("a"), http("b"))
    gate = rig.faults.hold("journal.commit")
    rig.effects.last.succeed(7)
    await gate.entered.wait()
    await settle()
    assert actor.state.executions["a"].state is ActivityState.RUNNING
    assert len(rig.effects.calls) == 1

    gate.opened.set()
    await settle()
    assert actor.state.executions["a"].output == 7
    assert [call.assignment.effect.activity for call in rig.effects.calls] == ["a", "b"]


async def test_a_process_of_pure_activities_is_one_commit(rig: ActorRig) -> None:
    await rig.run(transform("a"), transform("b"), transform("c"))
    assert rig.state.state is ProcessState.COMPLETED
    assert len(rig.journal.changes) == 1
    assert rig.ending is Ending.ENDED
    assert rig.row.owner_session is None


async def test_every_activity_is_a_commit_of_its_own_when_asked() -> None:
    async with actor_rig(activities_per_commit=1) as rig:
        await rig.run(transform("a"), transform("b"), transform("c"))
        assert rig.state.state is ProcessState.COMPLETED
        assert len(rig.journal.changes) == 3
        assert [change.after.is_ready for change in rig.journal.changes] == [True, True, False]


async def test_a_stretch_holds_a_hundred_activities(rig: ActorRig) -> None:
    await rig.run(*[transform(f"a{number}") for number in range(150)])
    completed = [
        sum(fact.__struct_config__.tag == "activity.completed" for fact in change.facts)
        for change in rig.journal.changes
    ]
    assert completed == [100, 50]


async def test_a_stretch_holds_a_quarter_of_a_mebibyte(rig: ActorRig) -> None:
    await rig.run(*[transform(f"a{number}", "${input}") for number in range(6)], process_input="x" * 100_000)
    completed = [
        sum(fact.__struct_config__.tag == "activity.completed" for fact in change.facts)
        for change in rig.journal.changes
    ]
    assert completed == [3, 3]


async def test_a_cancellation_is_heard_between_two_stretches(rig: ActorRig) -> None:
    rig.put()
    gate = rig.faults.hold("journal.commit")
    actor = await rig.launch(plan_of(*[transform(f"a{number}") for number in range(150)]))
    await gate.entered.wait()
    rig.store.send(PROCESS_ID, CancelRequested())
    actor.wake()
    gate.opened.set()
    await settle()
    assert rig.state.state is ProcessState.CANCELLED
    assert rig.facts.count("activity.completed") == 100


# The fence


async def test_a_fenced_actor_stops_and_starts_nothing(rig: ActorRig) -> None:
    rig.put()
    gate = rig.faults.hold("journal.commit")
    actor = await rig.launch(plan_of(http()))
    await gate.entered.wait()
    rig.take_away()
    gate.opened.set()
    await settle()
    assert rig.ending is Ending.FENCED
    assert actor.actor_stopped.is_set()
    assert rig.effects.calls == []
    assert rig.facts == []


async def test_a_fenced_actor_aborts_what_is_in_flight(rig: ActorRig) -> None:
    actor = await rig.run(http(deadline="60s"))
    rig.take_away()
    rig.store.send(PROCESS_ID, CancelRequested())
    actor.wake()
    await settle()
    assert rig.ending is Ending.FENCED
    assert rig.effects.last.is_aborted
    assert rig.state.state is ProcessState.IN_PROGRESS


async def test_an_actor_that_is_fenced_while_it_resumes_arms_no_timer_and_takes_no_event(rig: ActorRig) -> None:
    plan = plan_of(wait(event={"type": "go"}, timeout="60s"))
    rig.put()
    first = await rig.launch(plan)
    await settle()
    rig.store.give(PROCESS_ID, None)
    first.stop()
    await settle()
    rig.store.send(PROCESS_ID, CancelRequested())
    gate = rig.faults.hold("journal.commit")
    await rig.launch(plan)
    await gate.entered.wait()
    rig.take_away()
    takes = rig.faults.count("events.take")
    gate.opened.set()
    await settle()
    assert rig.ending is Ending.FENCED
    assert rig.faults.count("events.take") == takes
    assert len(rig.stage) == 0
    assert rig.clock.alarms == []


async def test_an_actor_whose_version_is_not_the_stored_one_is_discarded(rig: ActorRig) -> None:
    await rig.run(http())
    rig.row.version -= 1
    rig.effects.last.succeed()
    await settle()
    assert rig.ending is Ending.DIVERGED


async def test_what_cannot_be_stored_fails_the_process_with_the_reason(rig: ActorRig) -> None:
    await rig.run(http())
    rig.journal.is_poison = lambda change: change.after.executions["call"].state is ActivityState.COMPLETED
    rig.effects.last.succeed("poison")
    await settle()
    assert rig.state.state is ProcessState.FAILED
    assert rig.state.failure is not None
    assert rig.state.failure.type == "limit.storage"
    assert rig.ending is Ending.ENDED


async def test_the_messages_of_a_poisoned_change_are_used_up(rig: ActorRig) -> None:
    actor = await rig.run(manual())
    rig.journal.is_poison = lambda change: change.after.state is ProcessState.COMPLETED
    message = rig.store.send(PROCESS_ID, Answered("ask", rig.execution_id("ask"), "complete", 5))
    actor.wake()
    await settle()
    assert rig.state.state is ProcessState.FAILED
    assert message.consumed_version == rig.row.version


async def test_a_process_that_cannot_even_fail_is_left_to_the_supervisor(rig: ActorRig) -> None:
    rig.journal.is_poison = lambda _: True
    await rig.run(transform("a"))
    assert rig.ending is Ending.FAILED
    assert rig.row.owner_session == rig.session_id


async def test_a_stopped_journal_is_no_failure_of_the_actor(rig: ActorRig) -> None:
    await rig.run(http())
    rig.faults.fail("journal.commit", Stopped())
    with structlog.testing.capture_logs() as logs:
        rig.effects.last.succeed()
        await settle()
    assert rig.ending is Ending.STOPPED
    assert [line for line in logs if line["log_level"] == "error"] == []


async def test_a_commit_that_raises_hands_the_process_to_the_supervisor(rig: ActorRig) -> None:
    rig.faults.fail("journal.commit", ValueError("a bug"))
    await rig.run(http())
    assert rig.ending is Ending.FAILED
    assert isinstance(rig.witness.errors[0], ValueError)


# Children


async def test_a_new_owner_repeats_what_it_finds_in_flight_under_the_same_key(rig: ActorRig) -> None:
    first = await rig.run(http())
    key = rig.effects.last.key
    rig.store.give(PROCESS_ID, None)
    await rig.launch(plan_of(http()))
    await settle()
    assert (rig.effects.last.key, rig.effects.last.attempt) == (key, 1)
    rig.effects.last.succeed("late but well")
    await settle()
    assert rig.facts[-3:] == ["activity.redispatched", "activity.completed", "process.completed"]
    first.stop()


async def test_an_answer_that_was_not_committed_is_asked_for_again_under_the_same_key(rig: ActorRig) -> None:
    await rig.run(http())
    key = rig.effects.last.key
    gate = rig.faults.hold("journal.commit")
    rig.effects.last.succeed("lost")
    await gate.entered.wait()
    rig.store.give(PROCESS_ID, None)
    await rig.launch(plan_of(http()))
    await settle()
    assert (len(rig.effects.calls), rig.effects.last.key) == (2, key)
    gate.opened.set()
    await settle()
    assert rig.ending is Ending.FENCED
    rig.effects.last.succeed("kept")
    await settle()
    assert rig.state.output == "kept"


async def test_a_repeat_alone_is_no_sign_of_life(rig: ActorRig) -> None:
    """A process that kills its node with an effect must not be taken for a healthy one each time it is tried again."""
    first = await rig.run(http())
    rig.store.give(PROCESS_ID, None)
    rig.row.claim_fails = 4
    actor = await rig.launch(plan_of(http()))
    await settle()
    assert (rig.row.claim_fails, actor.claim_fails) == (5, 5)
    assert rig.facts[-1] == "activity.started"
    await rig.clock.advance(30)
    assert (rig.row.claim_fails, rig.facts[-1]) == (0, "activity.redispatched")
    first.stop()


async def test_a_poke_makes_no_sign_of_life_of_a_repeat(rig: ActorRig) -> None:
    first = await rig.run(http())
    rig.store.give(PROCESS_ID, None)
    rig.row.claim_fails = 4
    actor = await rig.launch(plan_of(http()))
    await settle()
    actor.wake()
    await settle()
    assert (rig.row.claim_fails, rig.facts[-1]) == (5, "activity.started")
    rig.effects.last.succeed("well")
    await settle()
    assert rig.facts[-3:] == ["activity.redispatched", "activity.completed", "process.completed"]
    first.stop()


async def test_a_late_result_changes_nothing(rig: ActorRig) -> None:
    actor = await rig.run(http(retry=RETRY))
    late = rig.effects.last.assignment
    rig.effects.last.fail()
    await rig.clock.advance(10)
    assert rig.effects.last.attempt == 2
    seq = rig.state.seq
    actor.actor_ref.tell(succeeded(late, "late"))
    await settle()
    assert rig.state.seq == seq


async def test_a_cancelled_process_aborts_its_request(rig: ActorRig) -> None:
    actor = await rig.run(http())
    rig.store.send(PROCESS_ID, CancelRequested("enough"))
    actor.wake()
    await settle()
    assert rig.effects.last.is_aborted
    assert rig.state.state is ProcessState.CANCELLED


async def test_an_attempt_that_waits_for_the_lease_is_aborted_before_it_begins(rig: ActorRig) -> None:
    rig.lease.clear()
    actor = await rig.run(http())
    rig.store.send(PROCESS_ID, CancelRequested())
    # The lease comes back in the very turn in which the process ends.
    rig.witness.committed = lambda _: rig.lease.set()  # type: ignore[method-assign] # the first to hear of it
    actor.wake()
    await settle()
    assert rig.state.state is ProcessState.CANCELLED
    assert rig.effects.calls == []


async def test_nothing_begins_without_a_lease(rig: ActorRig) -> None:
    rig.lease.clear()
    await rig.run(http())
    assert rig.state.is_ready
    assert rig.effects.calls == []
    rig.lease.set()
    await settle()
    assert len(rig.effects.calls) == 1


async def test_an_executor_that_breaks_fails_its_attempt(rig: ActorRig) -> None:
    await rig.run(http())
    rig.effects.last.break_(RuntimeError("password=1234"))
    await settle()
    assert rig.state.state is ProcessState.FAILED
    assert rig.state.failure is not None
    assert (rig.state.failure.type, rig.state.failure.message) == ("executor", "the executor broke: RuntimeError")


async def test_an_executor_whose_request_others_cancel_fails_its_attempt(rig: ActorRig) -> None:
    await rig.run(http())
    rig.effects.last.reply.cancel()
    await settle()
    assert rig.state.state is ProcessState.FAILED


async def test_a_pure_executor_that_breaks_fails_its_activity(rig: ActorRig, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_(_: Assignment) -> Any:
        raise RecursionError

    monkeypatch.setattr(rig.registry, "perform_inline", break_)
    await rig.run(transform("a"))
    assert rig.state.failure is not None
    assert rig.state.failure.type == "executor"
    assert rig.ending is Ending.ENDED


async def test_a_repeat_after_a_timeout_waits_for_the_old_call(rig: ActorRig) -> None:
    plan = plan_of(http(on_unknown="retry_after_timeout", timeout="40s"))
    rig.put()
    first = await rig.launch(plan)
    await rig.clock.advance(10)
    rig.store.give(PROCESS_ID, None)
    await rig.launch(plan)
    await rig.clock.advance(39.9)
    assert len(rig.effects.calls) == 1
    await rig.clock.advance(0.1)
    assert len(rig.effects.calls) == 2
    first.stop()


# A node that drains


async def test_a_retiring_actor_finishes_its_request_and_begins_no_other(rig: ActorRig) -> None:
    actor = await rig.run(http("a"), http("b"))
    actor.retire()
    await settle()
    assert rig.ending is None
    rig.effects.last.succeed(1)
    await settle()
    assert rig.ending is Ending.PASSIVATED
    assert len(rig.effects.calls) == 1
    assert rig.state.executions["b"].state is ActivityState.RUNNING
    assert rig.row.owner_session is None


async def test_a_retiring_actor_leaves_an_attempt_that_waits_for_the_lease(rig: ActorRig) -> None:
    rig.lease.clear()
    actor = await rig.run(http())
    actor.retire()
    await settle()
    assert rig.ending is Ending.PASSIVATED
    rig.lease.set()
    await settle()
    assert rig.effects.calls == []


async def test_a_retiring_actor_still_sends_what_may_be_sent_at_most_once(rig: ActorRig) -> None:
    """The next owner could not know that it was never sent, and would have to ask an operator."""
    actor = await rig.run(http("a"), http("b", on_unknown="park"))
    actor.retire()
    rig.effects.last.succeed(1)
    await settle()
    assert rig.effects.last.assignment.effect.activity == "b"
    rig.effects.last.succeed(2)
    await settle()
    assert rig.state.state is ProcessState.COMPLETED


async def test_a_retiring_actor_takes_in_what_arrived(rig: ActorRig) -> None:
    actor = await rig.run(manual(), manual("again"))
    rig.store.send(PROCESS_ID, Answered("ask", rig.execution_id("ask"), "complete", 1))
    actor.retire()
    await settle()
    assert rig.state.executions["ask"].output == 1
    assert rig.ending is Ending.PASSIVATED


async def test_a_retiring_actor_leaves_pure_activities_to_the_next_owner(rig: ActorRig) -> None:
    rig.put()
    gate = rig.faults.hold("journal.commit")
    actor = await rig.launch(plan_of(*[transform(f"a{number}") for number in range(200)]))
    await gate.entered.wait()
    actor.retire()
    gate.opened.set()
    await settle()
    assert rig.ending is Ending.PASSIVATED
    assert rig.facts.count("activity.completed") == 100
    await rig.launch(plan_of(*[transform(f"a{number}") for number in range(200)]))
    await settle()
    assert rig.state.state is ProcessState.COMPLETED


# What is logged


async def test_beginnings_and_ends_are_logged_after_the_commit_without_values(rig: ActorRig) -> None:
    with structlog.testing.capture_logs() as logs:
        await rig.run(http(retry=RETRY), process_input={"secret": "hunter2"})
        rig.effects.last.fail()
        await rig.clock.advance(10)
        rig.effects.last.succeed("hunter2")
        await settle()
    lines = [(line["event"], line.get("attempt"), line.get("error")) for line in logs if line["log_level"] == "info"]
    assert lines == [
        ("process.started", None, None),
        ("activity.started", 1, None),
        ("activity.retry_scheduled", 1, "http.status.503"),
        ("activity.started", 2, None),
        ("activity.completed", 2, None),
        ("process.completed", None, None),
    ]
    assert {line["process_id"] for line in logs} == {str(PROCESS_ID)}
    assert "hunter2" not in str(logs)


async def test_nothing_is_logged_that_is_not_committed(rig: ActorRig) -> None:
    with structlog.testing.capture_logs() as logs:
        rig.put()
        gate = rig.faults.hold("journal.commit")
        await rig.launch(plan_of(http()))
        await gate.entered.wait()
        rig.take_away()
        gate.opened.set()
        await settle()
    assert [line["event"] for line in logs] == ["commit_refused"]


async def test_a_change_continues_the_one_before(rig: ActorRig) -> None:
    await rig.run(http("a"), http("b"))
    rig.effects.last.succeed(1)
    await settle()
    rig.effects.last.succeed(2)
    await settle()
    changes: list[Change] = rig.witness.changes
    assert [change.version for change in changes] == [0, 1, 2]
    assert [change.before for change in changes[1:]] == [change.after for change in changes[:-1]]
    assert asyncio.all_tasks() == {asyncio.current_task()}
