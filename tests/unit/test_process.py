"""decide: what follows from each message, in every state it may meet."""

from datetime import timedelta
from uuid import UUID, uuid5

import pytest

from tests.factories import PROCESS_ID, T0, Drive, created, definition, failure, http, plan_of, transform
from understudy.domain import messages as m
from understudy.domain.draft import HISTORY_ROWS_MAX
from understudy.domain.effects import AbortExecutor, RunExecutor
from understudy.domain.failure import Category, Failure
from understudy.domain.state import AwaitedEvent, subscriptions_of, timers_of
from understudy.domain.states import ActivityState, ProcessState


def ended(drive: Drive) -> None:
    """What must hold for every process that has ended."""
    assert drive.state.state.is_terminal
    assert drive.state.active == ()
    assert timers_of(drive.state) == {}
    assert subscriptions_of(drive.state) == {}
    assert not drive.state.is_ready
    assert drive.folded() == drive.state
    assert drive.state.seq == 1 + len(drive.facts)


def test_pure_activities_run_to_the_end_and_the_last_output_is_that_of_the_process() -> None:
    drive = Drive(plan_of(transform("a", {"n": "${input.n + 1}"}), transform("b", "${activities.a.output.n}"))).begin()
    assert drive.state.state is ProcessState.COMPLETED
    assert drive.state.output == 2
    assert drive.kinds == [
        "process.started", "activity.started", "activity.completed",
        "activity.started", "activity.completed", "process.completed",
    ]  # fmt: skip
    ended(drive)


def test_execution_id_and_idempotency_key_are_computed_not_drawn() -> None:
    drive = Drive(plan_of(http())).begin()
    assert drive.running.execution_id == uuid5(PROCESS_ID, "call:1")
    assert drive.running.idempotency_key == uuid5(PROCESS_ID, "call:1:0")
    assert drive.state.is_ready


def test_the_output_template_of_the_definition_wins() -> None:
    drive = Drive(plan_of(transform("a", 1), transform("b", 2), output={"got": "${activities.a.output}"})).begin()
    assert drive.state.output == {"got": 1}


def test_an_output_template_without_a_value_fails_the_process() -> None:
    drive = Drive(plan_of(transform("a", 1), output="${input.missing}")).begin()
    assert drive.state.state is ProcessState.FAILED
    assert drive.state.failure is not None
    assert drive.state.failure.type == "expression"
    ended(drive)


def test_an_output_over_the_limit_fails_the_process() -> None:
    big = "x" * 700_000
    drive = Drive(
        plan_of(transform("a", "${input}"), output=["${input}", "${activities.a.output}"]), created(big)
    ).begin()
    assert drive.state.failure is not None
    assert drive.state.failure.type in {"limit.output", "expression"}
    ended(drive)


def test_an_output_is_measured_in_bytes() -> None:
    drive = Drive(plan_of(transform("a", 1), output="${input}"), created("é" * 700_000)).begin()
    assert drive.state.failure is not None
    assert drive.state.failure.type == "limit.output"
    ended(drive)


def test_a_first_message_counts_once() -> None:
    drive = Drive(plan_of(http())).begin()
    assert drive.tell(m.Begin()).startswith("rejected")
    assert drive.kinds.count("process.started") == 1


def test_next_jumps_and_fail_ends_with_the_output_as_details() -> None:
    refuse = transform("c", {"why": "no"}, next="@fail")
    drive = Drive(plan_of(transform("a", 1, next="c"), refuse)).begin()
    assert drive.state.state is ProcessState.FAILED
    message = "activity c ended the process with @fail"
    assert drive.state.failure == Failure("failed", Category.EXECUTION, message, {"why": "no"})
    ended(drive)


def test_a_caught_error_may_lead_to_fail_without_details() -> None:
    drive = Drive(plan_of(http(catch=[{"errors": ["*"], "next": "@fail"}], retry={"max_attempts": 1}))).begin()
    drive.fail()
    assert drive.state.failure is not None
    assert drive.state.failure.details is None
    ended(drive)


def test_a_caught_error_may_lead_to_the_end_without_output() -> None:
    drive = Drive(plan_of(http(catch=[{"errors": ["http.*"], "next": "@end"}], retry={"max_attempts": 1}))).begin()
    drive.fail()
    assert drive.state.state is ProcessState.COMPLETED
    assert drive.state.output is None
    assert drive.state.executions["call"].state is ActivityState.FAILED
    ended(drive)


def test_retries_back_off_and_a_definite_failure_changes_the_key() -> None:
    drive = Drive(plan_of(http(retry={"max_attempts": 3, "initial": "2s", "factor": 3.0}))).begin()
    first = drive.running
    drive.fail()
    execution = drive.state.executions["call"]
    assert execution.state is ActivityState.PENDING
    assert execution.next_attempt_at == T0 + timedelta(seconds=1)
    assert not drive.state.is_ready
    assert drive.state.state is ProcessState.IN_PROGRESS
    assert drive.tell(m.TimerDue("call:1:retry")).startswith("rejected")
    drive.fire("call:1:retry")
    second = drive.running
    assert (second.attempt, second.execution_id) == (2, first.execution_id)
    assert second.idempotency_key != first.idempotency_key
    drive.fail()
    assert timers_of(drive.state)["call:1:retry"].due_at == drive.now + timedelta(seconds=3)
    drive.fire("call:1:retry")
    drive.fail()
    assert drive.kinds[-2:] == ["activity.failed", "process.failed"]
    assert drive.state.failure == Failure("http.status.503", Category.EXTERNAL, "it failed", None, 3)
    ended(drive)


def test_retry_after_wins_over_the_backoff() -> None:
    drive = Drive(plan_of(http())).begin()
    drive.fail(retry_after=17.0)
    assert timers_of(drive.state)["call:1:retry"].due_at == T0 + timedelta(seconds=17)


def test_after_one_unknown_outcome_the_key_stays_for_the_visit() -> None:
    drive = Drive(plan_of(http(retry={"max_attempts": 4}))).begin()
    key = drive.running.idempotency_key
    drive.fail("http.timeout", is_unknown=True)
    drive.fire("call:1:retry")
    assert drive.running.idempotency_key == key
    drive.fail("http.status.503")
    drive.fire("call:1:retry")
    assert drive.running.idempotency_key == key
    drive.succeed({"ok": True})
    ended(drive)


def test_a_request_that_was_never_sent_does_not_use_up_its_key() -> None:
    drive = Drive(plan_of(http())).begin()
    key = drive.running.idempotency_key
    drive.fail("http.connect")
    drive.fire("call:1:retry")
    assert drive.running.idempotency_key == key
    drive.fail("http.status.503")
    drive.fire("call:1:retry")
    assert drive.running.idempotency_key != key


def test_a_client_error_is_final() -> None:
    drive = Drive(plan_of(http())).begin()
    drive.fail("http.status.404")
    assert drive.state.state is ProcessState.FAILED
    ended(drive)


def test_late_and_doubled_results_change_nothing() -> None:
    drive = Drive(plan_of(http(), http("second"))).begin()
    first = drive.running
    drive.succeed(1)
    before = drive.state
    for late in (
        m.ExecutorSucceeded("call", first.execution_id, 1, 2),
        m.ExecutorFailed("call", first.execution_id, 1, failure()),
        m.ExecutorSucceeded("second", first.execution_id, 1, 2),
        m.ExecutorSucceeded("nowhere", first.execution_id, 1, 2),
        m.ExecutorSucceeded("second", drive.running.execution_id, 2, 2),
        m.ExecutorWaits("call", first.execution_id, 1, drive.state.executions["call"].waiting),  # type: ignore[arg-type]
    ):
        assert drive.tell(late).startswith("rejected")
    assert drive.state == before


def test_catch_takes_the_first_matching_entry_after_the_retries() -> None:
    drive = Drive(
        plan_of(
            http(
                retry={"max_attempts": 1},
                catch=[{"errors": ["timeout"], "next": "b"}, {"errors": ["http.status.4*"], "next": "c"}],
            ),
            transform("b", "b", next="@end"),
            transform("c", "${activities.call.error.type}"),
        )
    ).begin()
    drive.fail("http.status.409")
    assert drive.state.output == "http.status.409"
    assert drive.state.executions["call"].state is ActivityState.FAILED
    ended(drive)


def test_a_loop_is_bounded_by_max_visits_and_its_error_can_be_caught() -> None:
    loop = transform("a", 1, next="b", max_visits=3, catch=[{"errors": ["limit.visits"], "next": "c"}])
    drive = Drive(plan_of(loop, transform("b", 1, next="a"), transform("c", "out"))).begin()
    assert drive.state.output == "out"
    assert drive.state.executions["a"].visit == 4
    failed = drive.state.executions["a"].failure
    assert failed is not None
    assert failed.type == "limit.visits"
    ended(drive)


def test_what_was_entered_too_often_does_not_catch_that_itself() -> None:
    once = {"max_visits": 3, "retry": {"max_attempts": 1}}
    drive = Drive(plan_of(http("a", catch=[{"errors": ["*"], "next": "a"}], **once))).begin()
    for _ in range(3):
        drive.fail("http.status.404")
    assert drive.state.failure is not None
    assert drive.state.failure.type == "limit.visits"
    ended(drive)


def test_activities_that_were_entered_too_often_do_not_catch_each_other_without_end() -> None:
    first = transform("a", next="b", max_visits=2, catch=[{"errors": ["*"], "next": "b"}])
    second = transform("b", next="a", max_visits=2, catch=[{"errors": ["*"], "next": "a"}])
    drive = Drive(plan_of(first, second)).begin()
    assert drive.state.failure is not None
    assert drive.state.failure.type == "limit.visits"
    ended(drive)


def test_entering_again_clears_output_and_error() -> None:
    drive = Drive(plan_of(http("a", catch=[{"errors": ["*"], "next": "a"}], retry={"max_attempts": 1}))).begin()
    drive.fail("http.status.404")
    execution = drive.state.executions["a"]
    assert (execution.visit, execution.state, execution.failure) == (2, ActivityState.RUNNING, None)
    assert execution.execution_id == uuid5(PROCESS_ID, "a:2")


def test_a_full_history_fails_the_process() -> None:
    drive = Drive(plan_of(http("a", next="a")))
    drive.begin()
    while not drive.state.state.is_terminal:
        drive.state = drive.state if drive.state.seq > HISTORY_ROWS_MAX - 40 else _skip_ahead(drive)
        drive.succeed()
    assert drive.state.failure is not None
    assert drive.state.failure.type == "limit.history"
    assert drive.state.seq <= HISTORY_ROWS_MAX


def test_a_full_history_ends_the_attempts_too() -> None:
    drive = Drive(plan_of(http(retry={"max_attempts": 1000, "jitter": "none"}))).begin()
    drive.state = _skip_ahead(drive)
    while not drive.state.state.is_terminal:
        drive.fail()
        drive.fire("call:1:retry")
    assert drive.state.failure is not None
    assert drive.state.failure.type == "limit.history"
    assert drive.state.executions["call"].attempt < 10
    assert drive.state.seq <= HISTORY_ROWS_MAX


def _skip_ahead(drive: Drive):
    from msgspec.structs import replace

    return replace(drive.state, seq=HISTORY_ROWS_MAX - 30)


def test_deadline_spans_the_attempts_and_fires_in_a_backoff() -> None:
    drive = Drive(plan_of(http(deadline="10s", retry={"max_attempts": 9, "jitter": "none", "initial": "8s"}))).begin()
    drive.pass_time(1)
    drive.fail()
    assert timers_of(drive.state)["call:1:deadline"].due_at == T0 + timedelta(seconds=10)
    drive.fire("call:1:deadline")
    assert drive.state.failure is not None
    assert (drive.state.failure.type, drive.state.failure.category) == ("deadline", Category.TIMEOUT)
    ended(drive)


def test_deadline_aborts_an_attempt_in_flight() -> None:
    drive = Drive(plan_of(http(deadline="10s"))).begin()
    drive.fire("call:1:deadline")
    assert AbortExecutor(uuid5(PROCESS_ID, "call:1")) in drive.effects
    ended(drive)


def test_the_timeout_of_the_process_cannot_be_caught() -> None:
    drive = Drive(plan_of(http(catch=[{"errors": ["*"], "next": "@end"}]), timeout="1h")).begin()
    assert timers_of(drive.state)["process"].due_at == T0 + timedelta(hours=1)
    drive.fire("process")
    assert drive.state.failure is not None
    assert drive.state.failure.type == "timeout"
    assert drive.state.executions["call"].failure is not None
    ended(drive)


@pytest.mark.parametrize(
    ("field", "value"), [("for", "90s"), ("for", "${'1m30s' == '' ? '1s' : '90s'}"), ("until", "2030-01-02T03:05:35Z")]
)
def test_a_wait_for_time_fires_once_and_never_early(field: str, value: str) -> None:
    drive = Drive(plan_of({"id": "w", "type": "wait", field: value})).begin()
    assert drive.state.state is ProcessState.WAITING
    assert not drive.state.is_ready
    drive.pass_time(89.999)
    assert drive.tell(m.TimerDue("w:1:wait")).startswith("rejected")
    drive.fire("w:1:wait")
    assert drive.state.output == {"fired_at": "2030-01-02T03:05:35Z"}
    assert drive.kinds[-3:] == ["process.continued", "activity.completed", "process.completed"]
    ended(drive)


@pytest.mark.parametrize("value", ["${'soon'}", "${'-3s'}"])
def test_a_wait_for_nonsense_is_an_input_error(value: str) -> None:
    drive = Drive(plan_of({"id": "w", "type": "wait", "for": value})).begin()
    assert drive.state.failure is not None
    assert drive.state.failure.type == "input"
    ended(drive)


def test_a_wait_takes_its_event_once() -> None:
    wait = {"id": "w", "type": "wait", "event": {"type": "paid", "key": "${'o-' + string(input.n)}"}, "timeout": "1h"}
    drive = Drive(plan_of(wait, http())).begin()
    execution_id = drive.state.executions["w"].execution_id
    assert subscriptions_of(drive.state) == {execution_id: AwaitedEvent("paid", "o-1")}
    event = m.EventArrived(execution_id, UUID(int=7), "paid", "o-1", {"sum": 3})
    assert drive.tell(event) == "applied"
    assert drive.state.executions["w"].output == {"sum": 3}
    assert drive.kinds[-4:] == ["event.received", "process.continued", "activity.completed", "activity.started"]
    assert drive.tell(event).startswith("rejected")
    assert drive.folded() == drive.state


def test_a_wait_for_an_event_runs_out_of_time_and_is_caught() -> None:
    wait = {
        "id": "w",
        "type": "wait",
        "event": {"type": "paid"},
        "timeout": "1h",
        "catch": [{"errors": ["timeout"], "next": "late"}],
    }
    drive = Drive(plan_of(wait, transform("ok", 1, next="@end"), transform("late", "late"))).begin()
    drive.fire("w:1:timeout")
    assert drive.state.output == "late"
    ended(drive)


def test_a_deadline_of_a_wait_wakes_the_process() -> None:
    drive = Drive(plan_of({"id": "w", "type": "wait", "event": {"type": "paid"}, "deadline": "5s"})).begin()
    drive.fire("w:1:deadline")
    assert drive.kinds[-3:] == ["process.continued", "activity.failed", "process.failed"]
    ended(drive)


def test_a_decision_jumps_and_without_a_match_fails() -> None:
    cases = [{"when": "input.n > 5", "next": "big"}]
    branches = (transform("small", "small", next="@end"), transform("big", "big"))
    activity = {"id": "d", "type": "decision", "cases": cases}
    drive = Drive(plan_of({**activity, "otherwise": "small"}, *branches)).begin()
    assert drive.state.executions["d"].output == {"case": None, "next": "small"}
    drive = Drive(plan_of({**activity, "otherwise": "small"}, *branches), created({"n": 6})).begin()
    assert drive.state.executions["d"].output == {"case": 0, "next": "big"}
    drive = Drive(plan_of({**activity, "catch": [{"errors": ["x"], "next": "small"}]}, *branches)).begin()
    assert drive.state.failure is not None
    assert drive.state.failure.type == "decision.no_match"
    drive = Drive(
        plan_of({**activity, "otherwise": "small", "cases": [{"when": "input.n", "next": "big"}]}, *branches)
    ).begin()
    assert drive.state.failure is not None
    assert drive.state.failure.type == "input"
    ended(drive)


def test_an_event_is_announced_with_the_commit_under_the_id_of_its_execution() -> None:
    drive = Drive(
        plan_of(
            {"id": "e", "type": "event", "event": "order.approved", "key": "k${input.n}", "data": {"n": "${input.n}"}}
        )
    ).begin()
    (event,) = drive.published
    assert (event.type, event.key, event.data) == ("order.approved", "k1", {"n": 1})
    assert event.event_id == uuid5(PROCESS_ID, "e:1")
    assert drive.state.output == {"event_id": str(event.event_id)}
    drive = Drive(plan_of({"id": "e", "type": "event", "event": "bare"})).begin()
    assert (drive.published[0].key, drive.published[0].data) == (None, None)


MANUAL = {
    "id": "ask",
    "type": "manual",
    "title": "Approve ${input.n}",
    "instructions": "Look",
    "assignee": "ops",
    "timeout": "2d",
}


def test_a_manual_activity_waits_for_its_answer() -> None:
    drive = Drive(plan_of(MANUAL)).begin()
    waiting = drive.state.executions["ask"].waiting
    assert waiting is not None
    assert (waiting.kind, waiting.title, waiting.instructions, waiting.assignee) == (
        "manual",
        "Approve 1",
        "Look",
        "ops",
    )
    assert waiting.due_at == T0 + timedelta(days=2)
    assert drive.answer("ask", {"approved": True}) == "applied"
    assert drive.state.output == {"approved": True}
    ended(drive)
    assert drive.answer("ask", {}).startswith("rejected: the process is COMPLETED")


def test_an_answer_fail_is_an_error_that_can_be_caught() -> None:
    drive = Drive(
        plan_of({**MANUAL, "catch": [{"errors": ["manual.rejected"], "next": "no"}]}, transform("no", "no"))
    ).begin()
    drive.answer("ask", outcome="fail")
    assert drive.state.output == "no"
    drive = Drive(plan_of(MANUAL)).begin()
    drive.answer("ask", outcome="fail", failure=failure("manual.rejected"))
    assert drive.state.failure is not None
    assert drive.state.failure.message == "it failed"
    ended(drive)


def test_an_answer_that_fits_nothing_is_rejected() -> None:
    drive = Drive(plan_of(MANUAL, http())).begin()
    assert drive.tell(m.Answered("ask", UUID(int=9), "complete")).startswith("rejected")
    assert drive.tell(m.Answered("call", UUID(int=9), "complete")).startswith("rejected")
    drive.answer("ask")
    assert drive.answer("ask").startswith("rejected")


def test_cancel_closes_what_is_open_and_only_the_first_counts() -> None:
    drive = Drive(plan_of(http())).begin()
    assert drive.tell(m.CancelRequested("enough")) == "applied"
    assert drive.state.state is ProcessState.CANCELLED
    closed = drive.state.executions["call"].failure
    assert closed is not None
    assert (closed.type, closed.message) == ("cancelled", "enough")
    assert drive.tell(m.CancelRequested()) == "rejected: the process is CANCELLED"
    assert drive.succeed(1).startswith("rejected")
    ended(drive)


def test_a_process_not_begun_can_be_cancelled() -> None:
    drive = Drive(plan_of(http()))
    drive.tell(m.CancelRequested())
    assert drive.kinds == ["process.cancelled"]
    ended(drive)


def test_what_cannot_be_stored_fails_the_process() -> None:
    drive = Drive(plan_of(http())).begin()
    drive.tell(m.Faulted(failure("limit.storage")))
    assert drive.state.failure == failure("limit.storage")
    ended(drive)


@pytest.mark.parametrize("output", ["\x00", float("nan"), 2**70, {"k": ["\ud800"]}])
def test_an_output_that_json_cannot_hold_fails_the_activity(output: object) -> None:
    drive = Drive(plan_of(http())).begin()
    drive.succeed(output)
    assert drive.state.failure is not None
    assert drive.state.failure.type == "input"
    ended(drive)


def test_an_output_over_the_limit_fails_the_activity() -> None:
    drive = Drive(plan_of(http())).begin()
    drive.succeed("x" * 1_048_577)
    assert drive.state.failure is not None
    assert drive.state.failure.type == "limit.output"


def test_unknown_outcome_parks_when_the_activity_says_so() -> None:
    drive = Drive(plan_of(http(on_unknown="park"))).begin()
    drive.fail("http.timeout", is_unknown=True)
    waiting = drive.state.executions["call"].waiting
    assert waiting is not None
    assert waiting.kind == "operator"
    assert drive.state.executions["call"].is_unknown
    assert drive.state.state is ProcessState.WAITING
    drive.tell(m.CancelRequested())
    ended(drive)


def test_unknown_outcome_waits_for_the_old_call_to_time_out() -> None:
    drive = Drive(plan_of(http(on_unknown="retry_after_timeout", timeout="20s"))).begin()
    drive.pass_time(3)
    drive.fail("http.unknown", is_unknown=True)
    assert timers_of(drive.state)["call:1:retry"].due_at == T0 + timedelta(seconds=20)
    drive = Drive(plan_of(http())).begin()
    drive.fail("http.unknown", is_unknown=True, jitter=0.0)
    assert timers_of(drive.state)["call:1:retry"].due_at == T0


def test_recovery_repeats_the_same_attempt_under_the_same_key() -> None:
    drive = Drive(plan_of(http())).begin()
    before = drive.running
    drive.pass_time(5)
    drive.recover()
    assert drive.running == before
    assert drive.kinds[-1] == "activity.redispatched"
    assert drive.state.executions["call"].is_unknown
    assert drive.state.executions["call"].attempt == 1
    drive.fail("http.status.500")
    drive.fire("call:1:retry")
    assert drive.running.idempotency_key == before.idempotency_key
    drive.succeed()
    ended(drive)


def test_recovery_honours_on_unknown() -> None:
    drive = Drive(plan_of(http(on_unknown="park"))).begin()
    drive.recover()
    assert drive.effects == []
    assert drive.state.state is ProcessState.WAITING
    drive = Drive(plan_of(http(on_unknown="retry_after_timeout"))).begin()
    drive.pass_time(7)
    drive.recover()
    assert drive.running.not_before == T0 + timedelta(seconds=37)


def test_recovery_runs_pure_activities_again_and_leaves_waits_alone() -> None:
    drive = Drive(plan_of({"id": "w", "type": "wait", "for": "1h"})).begin()
    drive.recover()
    assert drive.kinds.count("activity.started") == 1
    plan = plan_of(transform("a", 5))
    lost = Drive(plan)
    lost.state = decide_only_begin(plan)
    lost.recover()
    assert lost.state.output == 5


def decide_only_begin(plan):
    from understudy.domain.process import decide

    decision = decide(plan, created(), m.Begin(), T0)
    assert isinstance(decision.effects[0], RunExecutor)
    return decision.state


def test_time_never_runs_backwards_in_a_history() -> None:
    drive = Drive(plan_of(http())).begin()
    drive.now = T0 - timedelta(hours=1)
    drive.succeed()
    assert [fact.at for fact in drive.facts] == [T0] * len(drive.facts)


def test_a_definition_for_tests_is_a_valid_one() -> None:
    assert definition(http())["activities"][0]["id"] == "call"
