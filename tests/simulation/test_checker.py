"""The judge judges: every invariant, violated on purpose in the evidence of a clean run, is found."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from tests.simulation.broker import Message
from tests.simulation.checker import RULES, check
from tests.simulation.client import Sight
from tests.simulation.clock import server_time
from tests.simulation.nemesis import CALM
from tests.simulation.run import Evidence, Settings, simulate
from tests.simulation.target import Seen
from tests.simulation.workload import DEFINITIONS
from understudy.domain.identity import idempotency_key
from understudy.domain.states import ProcessState
from understudy.persistence.rows import decode, encode

STRANGER = UUID(int=12345)
Plant = Callable[[Evidence], None]


@pytest.fixture
def evidence() -> Evidence:
    found = simulate(1, Settings(profile=CALM, processes=len(DEFINITIONS)))
    assert check(found) == []
    return found


def process_of(evidence: Evidence, definition: str) -> UUID:
    rows = evidence.servers.postgres.process.rows()
    return next(row["process_id"] for row in rows if row["definition_name"] == definition)


def last_of(evidence: Evidence, process_id: UUID, kind: str = "") -> tuple[Any, dict[str, Any]]:
    rows = evidence.servers.postgres.history.of(process_id)
    return max(((key, row) for key, row in rows if row["type"].startswith(kind)), key=lambda found: found[0][1])


def change_process(evidence: Evidence, definition: str = "order", **columns: Any) -> None:
    evidence.servers.postgres.process.change(process_of(evidence, definition), **columns)


def append_row(evidence: Evidence, process_id: UUID, row: dict[str, Any]) -> None:
    (_, seq), _ = last_of(evidence, process_id)
    evidence.servers.postgres.history.put((process_id, seq + 1), row | {"seq": seq + 1})


def lose_a_row(evidence: Evidence) -> None:
    evidence.servers.postgres.history.remove((process_of(evidence, "order"), 3))


def skip_a_version(evidence: Evidence) -> None:
    change_process(evidence, version=99)


def let_an_epoch_fall(evidence: Evidence) -> None:
    key, _ = last_of(evidence, process_of(evidence, "order"))
    evidence.servers.postgres.history.change(key, epoch=0)


def let_another_one_commit(evidence: Evidence) -> None:
    applied = evidence.servers.postgres.applied
    applied.append(replace(applied[-1], claim=STRANGER, at=1e6))


def forge_the_state(evidence: Evidence) -> None:
    change_process(evidence, output=encode({"forged": True}))


def go_on_after_the_end(evidence: Evidence) -> None:
    process_id = process_of(evidence, "order")
    append_row(evidence, process_id, last_of(evidence, process_id, "activity.started")[1])


def end_an_execution_twice(evidence: Evidence) -> None:
    process_id = process_of(evidence, "order")
    append_row(evidence, process_id, last_of(evidence, process_id, "activity.completed")[1])


def swap_a_result(evidence: Evidence) -> None:
    database = evidence.servers.postgres
    done = [(key, row) for key, row in database.execution.items() if row["type"] == "http" and row["output"]]
    (first, _), (_, other) = done[0], done[-1]
    database.execution.change(first, output=other["output"])


def invent_a_request(evidence: Evidence) -> None:
    seen = evidence.servers.target.log[0]
    evidence.servers.target.log.append(replace(seen, key=str(STRANGER)))


def request_before_the_commit(evidence: Evidence) -> None:
    evidence.servers.target.log[0].at = 0.0


def have_two_effects(evidence: Evidence) -> None:
    process_id = process_of(evidence, "order")
    _, row = last_of(evidence, process_id, "activity.started")
    detail = decode(row["data"]) | {"generation": 1}
    append_row(evidence, process_id, row | {"data": encode(detail)})
    key = str(idempotency_key(process_id, row["activity"], detail["visit"], 1))
    log = evidence.servers.target.log
    first = next(seen for seen in log if (seen.process_id, seen.activity) == (process_id, row["activity"]))
    log.append(replace(first, key=key))


def repeat_what_nobody_may_repeat(evidence: Evidence) -> None:
    log: list[Seen] = evidence.servers.target.log
    log.append(replace(next(seen for seen in log if seen.activity == "transfer"), verdict="repeated"))


def request_after_the_end(evidence: Evidence) -> None:
    log = evidence.servers.target.log
    log.append(replace(log[0], at=1e6, verdict="repeated"))


def request_from_the_grave(evidence: Evidence) -> None:
    deaths, life = evidence.servers.postgres.deaths, evidence.servers.target.log[-1].life
    deaths[next(session for session, name in evidence.cluster.life_of.items() if name == life)] = 0.0


def request_without_a_lease(evidence: Evidence) -> None:
    evidence.servers.redis.renewals.clear()


def bury_the_living(evidence: Evidence) -> None:
    evidence.servers.postgres.declared[STRANGER] = (10.0, 9.9)


def fire_early(evidence: Evidence) -> None:
    process_id = process_of(evidence, "nap")
    key, row = last_of(evidence, process_id, "activity.waiting")
    detail = decode(row["data"])
    detail["waiting"]["due_at"] = server_time(evidence.cluster.loop)
    evidence.servers.postgres.history.change(key, data=encode(detail))


def fire_late(evidence: Evidence) -> None:
    for applied in evidence.servers.postgres.applied:
        applied.at += 1e4


def forget_an_answer(evidence: Evidence) -> None:
    database = evidence.servers.postgres
    (key, _), *_ = database.inbox.of(process_of(evidence, "approval"))
    database.inbox.change(key, consumed_version=None)


def lose_a_process(evidence: Evidence) -> None:
    evidence.client.lost = 1


def double_a_process(evidence: Evidence) -> None:
    processes = evidence.servers.postgres.process
    processes.put(STRANGER, processes[process_of(evidence, "order")] | {"process_id": STRANGER})


def go_back(evidence: Evidence) -> None:
    sights = evidence.client.sights[0]
    sights.append(Sight(sights[-1].at, 0, ProcessState.CREATED))


def share_a_claim(evidence: Evidence) -> None:
    applied = evidence.servers.postgres.applied
    applied.append(replace(applied[-1], session=STRANGER))


def claim_when_dead(evidence: Evidence) -> None:
    granted = evidence.servers.postgres.granted[0]
    evidence.servers.postgres.deaths[granted.session] = granted.at - 1


def take_from_the_living(evidence: Evidence) -> None:
    evidence.servers.postgres.granted[0].before = STRANGER


def lose_an_event(evidence: Evidence) -> None:
    events = evidence.servers.postgres.event
    announced = [row for row in evidence.servers.postgres.execution.rows() if row["type"] == "event"]
    events.remove(announced[0]["execution_id"])


def miss_an_event(evidence: Evidence) -> None:
    database = evidence.servers.postgres
    event = next(iter(database.event.rows()))
    database.event.change(event["event_id"], taken_by=None)
    wait = {"process_id": STRANGER, "execution_id": STRANGER, "type": event["type"], "key": event["key"]}
    database.subscription.put((STRANGER, STRANGER), wait)


def stand_still(evidence: Evidence) -> None:
    change_process(evidence, state="IN_PROGRESS")


def never_finish(evidence: Evidence) -> None:
    evidence.unfinished.append(0)


def keep_an_owner(evidence: Evidence) -> None:
    change_process(evidence, owner_session=STRANGER)


def live_twice(evidence: Evidence) -> None:
    for owned in evidence.hosted.values():
        owned.append(STRANGER)


def leave_a_message(evidence: Evidence) -> None:
    evidence.servers.broker.shared.append(Message((STRANGER,)))


def leave_an_overdue_timer(evidence: Evidence) -> None:
    process_id = process_of(evidence, "order")
    row = {"process_id": process_id, "timer_id": "process", "due_at": server_time(evidence.cluster.loop)}
    evidence.servers.postgres.timer.put((process_id, "process"), row)


def keep_a_lock(evidence: Evidence) -> None:
    evidence.servers.postgres.locks[1] = None  # type: ignore[assignment] # that somebody holds it is enough


def keep_a_lease(evidence: Evidence) -> None:
    evidence.servers.redis.set("understudy:sess:x", "x", 10**6)


def quarantine_somebody(evidence: Evidence) -> None:
    change_process(evidence, quarantined="for nothing")


def break_a_loop(evidence: Evidence) -> None:
    evidence.logged.append({"event": "loop_failed"})


def complain(evidence: Evidence) -> None:
    evidence.complaints.append("a task failed and nobody noticed")


def do_nothing(evidence: Evidence) -> None:
    evidence.servers.postgres.applied.clear()


PLANTS: tuple[tuple[str, Plant], ...] = (
    ("history_has_no_gap", lose_a_row),
    ("version_counts_transitions", skip_a_version),
    ("epochs_never_fall", let_an_epoch_fall),
    ("epochs_never_fall", let_another_one_commit),
    ("history_folds_to_the_state", forge_the_state),
    ("history_folds_to_the_state", lose_a_row),
    ("nothing_follows_an_end", go_on_after_the_end),
    ("executions_end_once", end_an_execution_twice),
    ("results_are_the_targets", swap_a_result),
    ("requests_were_scheduled", invent_a_request),
    ("requests_were_scheduled", request_before_the_commit),
    ("keys_stay_while_the_outcome_is_unknown", have_two_effects),
    ("keys_stay_while_the_outcome_is_unknown", repeat_what_nobody_may_repeat),
    ("no_request_after_the_end", request_after_the_end),
    ("no_request_after_the_end", request_from_the_grave),
    ("effects_start_under_a_lease", request_without_a_lease),
    ("the_dead_stood_still", bury_the_living),
    ("timers_fire_when_due", fire_early),
    ("timers_fire_when_due", fire_late),
    ("answered_calls_hold", forget_an_answer),
    ("no_process_is_lost", lose_a_process),
    ("one_key_makes_one_process", double_a_process),
    ("sights_are_a_walk", go_back),
    ("claims_belong_to_one_session", share_a_claim),
    ("claims_belong_to_one_session", claim_when_dead),
    ("live_owners_are_left_alone", take_from_the_living),
    ("events_are_announced", lose_an_event),
    ("waits_are_met", miss_an_event),
    ("everything_ends", stand_still),
    ("everything_ends", never_finish),
    ("owners_are_alive", keep_an_owner),
    ("owners_are_alive", live_twice),
    ("nothing_is_left_over", leave_a_message),
    ("nothing_is_left_over", leave_an_overdue_timer),
    ("nothing_leaks", keep_a_lock),
    ("nothing_leaks", keep_a_lease),
    ("nobody_is_quarantined", quarantine_somebody),
    ("nothing_broke", break_a_loop),
    ("nothing_broke", complain),
    ("something_happened", do_nothing),
)


@pytest.mark.parametrize(("rule", "plant"), PLANTS, ids=lambda part: getattr(part, "__name__", part))
def test_a_violation_is_found(rule: str, plant: Plant, evidence: Evidence) -> None:
    plant(evidence)
    assert any(fault.startswith(f"{rule}:") for fault in check(evidence))


def test_every_rule_is_violated_by_a_test() -> None:
    assert {rule for rule, _ in PLANTS} == set(RULES)
