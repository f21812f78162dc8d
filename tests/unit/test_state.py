"""The state machines, the scope that expressions see, and facts that become rows and facts again."""

from itertools import product
from uuid import uuid4

import pytest

from tests.factories import PROCESS_ID, T0, Drive, created, http, plan_of, transform
from understudy.domain.cache import NO_CACHE
from understudy.domain.evolution import evolve
from understudy.domain.facts import EventReceived, ProcessCompleted, ProcessWaiting, row_of
from understudy.domain.identity import (
    answer_id,
    event_id_for,
    message_id_for,
    process_id_for,
    shard_of,
)
from understudy.domain.state import ActivityScope, DefinitionRef, scope_of, timers_of
from understudy.domain.states import (
    ACTIVITY_TRANSITIONS,
    PROCESS_TRANSITIONS,
    ActivityState,
    IllegalTransition,
    ProcessState,
    check_activity,
    check_process,
)
from understudy.domain.stores import Retained
from understudy.domain.views import NewProcess, SessionView


def test_the_tables_are_those_of_the_contract() -> None:
    assert len(PROCESS_TRANSITIONS) == 12
    assert len(ACTIVITY_TRANSITIONS) == 9


@pytest.mark.parametrize(("origin", "target"), list(product(ProcessState, ProcessState)))
def test_a_process_makes_only_the_transitions_of_the_table(origin: ProcessState, target: ProcessState) -> None:
    if (origin, target) in PROCESS_TRANSITIONS:
        check_process(origin, target)
    else:
        with pytest.raises(IllegalTransition, match=f"{origin} to {target}"):
            check_process(origin, target)


@pytest.mark.parametrize(("origin", "target"), list(product(ActivityState, ActivityState)))
def test_an_activity_makes_only_the_transitions_of_the_table(origin: ActivityState, target: ActivityState) -> None:
    if (origin, target) in ACTIVITY_TRANSITIONS:
        check_activity(origin, target)
    else:
        with pytest.raises(IllegalTransition, match=f"{origin} to {target}"):
            check_activity(origin, target)


def test_nothing_follows_a_terminal_state() -> None:
    drive = Drive(plan_of(transform("a"))).begin()
    with pytest.raises(IllegalTransition):
        evolve(drive.state, ProcessCompleted(at=T0, origin="COMPLETED"))
    with pytest.raises(IllegalTransition):
        evolve(drive.state, ProcessWaiting(at=T0, origin="COMPLETED"))


def test_every_activity_has_a_state_and_only_reached_ones_an_output_or_error() -> None:
    plan = plan_of(
        transform("a", None),
        http(catch=[{"errors": ["*"], "next": "z"}], retry={"max_attempts": 1}),
        http("b"),
        transform("z"),
    )
    drive = Drive(plan).begin()
    drive.fail("http.status.404")
    seen = scope_of(drive.state, plan.steps)["activities"]
    assert isinstance(seen, ActivityScope)
    assert seen["a"] == {"state": "COMPLETED", "output": None}
    assert seen["call"]["error"]["type"] == "http.status.404"
    assert "output" not in seen["call"]
    assert seen["b"] == {"state": "PENDING"}
    assert list(seen) == ["a", "call", "b", "z"]
    assert len(seen) == 4
    with pytest.raises(KeyError):
        seen["nowhere"]


def test_the_scope_names_the_process() -> None:
    plan = plan_of(http())
    assert scope_of(created(), plan.steps)["process"]["started_at"] is None
    process = scope_of(Drive(plan).begin().state, plan.steps)["process"]
    assert process == {"id": str(created().process_id), "key": None, "started_at": "2030-01-02T03:04:05Z"}


def test_an_ended_process_has_no_timers() -> None:
    drive = Drive(plan_of(transform("a"), timeout="1h")).begin()
    assert drive.state.deadline_at is not None
    assert timers_of(drive.state) == {}


def test_a_row_holds_what_only_its_fact_has() -> None:
    ident = uuid4()
    row = row_of(EventReceived(T0, "WAITING", "w", ident, 1, uuid4(), "paid", "k"))
    assert (row.type, row.activity, row.execution_id, row.attempt, row.target) == (
        "event.received",
        "w",
        ident,
        1,
        None,
    )
    assert set(row.data) == {"event_id", "event", "key"}


def test_ids_are_deterministic_and_distinct() -> None:
    tenant, process = uuid4(), uuid4()
    ids = {
        process_id_for(tenant, "POST /processes", "k"),
        message_id_for(process, "POST", "/x", "k"),
        event_id_for(tenant, "k"),
        answer_id(process),
    }
    assert len(ids) == 4
    assert process_id_for(tenant, "POST /processes", "k") in ids
    assert 0 <= shard_of(process) < 1024


def test_a_process_just_started_is_seen_as_created() -> None:
    ref = DefinitionRef("order", 3, b"digest")
    view = NewProcess(PROCESS_ID, ref, None, "k", {"team": "blue"}, {"n": 1}, b"hash").view(T0)
    assert (view.process_id, view.definition, view.key, view.labels) == (PROCESS_ID, ref, "k", {"team": "blue"})
    assert (view.state, view.version, view.input, view.created_at) == (ProcessState.CREATED, 0, {"n": 1}, T0)
    assert (view.output, view.failure, view.started_at, view.owner_session) == (None, None, None, None)


async def test_a_cache_that_is_off_remembers_nothing() -> None:
    view = NewProcess(PROCESS_ID, DefinitionRef("order", 3, b""), None, None, {}, None, b"").view(T0)
    await NO_CACHE.keep(view)
    assert await NO_CACHE.find(PROCESS_ID) is None
    assert await NO_CACHE.outdate({PROCESS_ID: 1})
    await NO_CACHE.remember("POST /events", "k", Retained(b"", 202, "r"))
    assert await NO_CACHE.recall("POST /events", "k") is None
    await NO_CACHE.add([])
    assert await NO_CACHE.latest() == []


def test_a_session_does_not_show_its_token() -> None:
    view = SessionView(
        PROCESS_ID, "n", "http://h", T0, 1, True, "alive", True, T0, admin_token="s3cret", beat_age_seconds=0.1
    )
    assert "s3cret" not in repr(view)
    assert "n" in repr(view)


def test_a_process_not_begun_is_ready_and_one_that_waits_is_not() -> None:
    drive = Drive(plan_of({"id": "w", "type": "wait", "for": "1h"}))
    assert drive.state.is_ready
    assert not drive.begin().state.is_ready
