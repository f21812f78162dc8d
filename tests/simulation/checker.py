"""The judge: what must hold of the evidence of every run (the numbers are those of the invariants in the design).

It trusts nothing of the product but the pure reducer: it reads the tables as they were left, what the model servers
noted by themselves, the target's own log and the calls that clients wrote down.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

from msgspec import json

from tests.simulation.clock import EPOCH
from tests.simulation.cluster import TTL_SECONDS
from tests.simulation.run import Evidence
from tests.simulation.sql_owner import TERMINAL, has_due_timer, latest_of, pending
from tests.simulation.tables import Applied, Granted, Record, Row
from tests.simulation.workload import DEFINITIONS
from understudy.domain.evolution import evolve
from understudy.domain.facts import HistoryRow, fact_of
from understudy.domain.identity import idempotency_key
from understudy.domain.state import State
from understudy.domain.states import PROCESS_TRANSITIONS, ProcessState
from understudy.persistence.rows import decode, definition_of, executions_of, state_of, value_of
from understudy.runtime.ownership import BEAT_SECONDS

TRANSIT_SECONDS = 1.0
"""How long what was sent may still be under way."""

LATE_SECONDS = 30.0
"""How long after the last fault everything that was due must have happened."""

BUGS = {
    "loop_failed",
    "actor_failed",
    "actor_left",
    "actor_stop_failed",
    "actor_task_failed",
    "actor_failure_hook_failed",
    "boot_failed",
    "committer_failed",
    "commit_poisoned",
    "event_refused",
    "executor_broke",
    "journal_stopped",
    "plan_unusable",
    "receive_failed",
    "stop_failed",
}
"""What the product logs only when it is wrong."""


class Dossier:
    """The evidence of one run, sorted."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.db = evidence.servers.postgres
        self.travelled = self.db.retracted > 0
        self.processes: dict[UUID, Row] = {row["process_id"]: row for row in self.db.process.rows()}
        self.history: dict[UUID, list[Row]] = defaultdict(list)
        for (process_id, _), row in self.db.history.items():
            self.history[process_id].append(row)
        for rows in self.history.values():
            rows.sort(key=lambda row: row["seq"])
        self.applied = [applied for applied in self.db.applied if not applied.was_lost]
        self.committed_at = {(found.process_id, found.version): found.at for found in self.applied}
        self.keys: dict[str, tuple[UUID, Row]] = {}
        for process_id, rows in self.history.items():
            for row in rows:
                if row["type"] == "activity.started":
                    key = _key(process_id, row)
                    self.keys.setdefault(key, (process_id, row))


def _key(process_id: UUID, row: Row) -> str:
    detail = decode(row["data"])
    return str(idempotency_key(process_id, row["activity"], detail["visit"], detail["generation"]))


Faults = Iterator[str]
Rule = Callable[[Dossier], Faults]


def check(evidence: Evidence) -> list[str]:
    """Every violation of an invariant."""
    dossier = Dossier(evidence)
    return [f"{name}: {fault}" for name, rule in RULES.items() for fault in rule(dossier)]


# Safety


def no_process_is_lost(d: Dossier) -> Faults:
    """12: a process that was acknowledged is there for whoever looks."""
    if d.evidence.client.lost and not d.travelled:
        yield f"{d.evidence.client.lost} times a process that had been started was not found"


def history_has_no_gap(d: Dossier) -> Faults:
    """1: the rows of a process are numbered 1 to n."""
    for process_id, rows in d.history.items():
        if [row["seq"] for row in rows] != list(range(1, len(rows) + 1)):
            yield f"{process_id} has rows {[row['seq'] for row in rows]}"


def version_counts_transitions(d: Dossier) -> Faults:
    """2: the version is the number of applied transitions, and no history row is ahead of it."""
    count: dict[UUID, list[int]] = defaultdict(list)
    for applied in d.applied:
        count[applied.process_id].append(applied.version)
    for process_id, process in d.processes.items():
        if count[process_id] != list(range(1, process["version"] + 1)):
            yield f"{process_id} is at {process['version']} after {count[process_id]}"
        if any(row["version"] > process["version"] for row in d.history[process_id]):
            yield f"{process_id} has history beyond version {process['version']}"


def epochs_never_fall(d: Dossier) -> Faults:
    """3 and 16: once somebody owns a process, nobody writes under an earlier ownership."""
    for process_id, rows in d.history.items():
        for earlier, later in pairwise(row for row in rows if row["epoch"] is not None):
            if later["epoch"] < earlier["epoch"]:
                yield f"{process_id}: seq {later['seq']} has epoch {later['epoch']} after {earlier['epoch']}"
    current: dict[UUID, Granted] = {}
    moments = [*d.applied, *(granted for granted in d.db.granted if not granted.was_lost)]
    for moment in sorted(moments, key=lambda found: found.at):
        if isinstance(moment, Applied):
            owner = current.get(moment.process_id)
            if owner is not None and (owner.claim, owner.session) != (moment.claim, moment.session):
                yield f"{moment.process_id}: {moment.node} committed at {moment.at:.3f} what another one owned"
        else:
            current[moment.process_id] = moment


def history_folds_to_the_state(d: Dossier) -> Faults:
    """4: the reducer makes the stored state out of the stored history."""
    for process_id, process in d.processes.items():
        try:
            folded = fold(process, d.history[process_id])
        except Exception as error:  # noqa: BLE001 - whatever it is, the history does not fold
            yield f"{process_id} does not fold: {type(error).__name__}: {error}"
            continue
        executions = executions_of(Record(row) for row in latest_of(d.db, process_id))
        stored = state_of(Record(process), executions)
        if folded != stored:
            yield f"{process_id} folds to {_difference(folded, stored)}"


def fold(process: Row, rows: list[Row]) -> State:
    """The state that a history leads to."""
    created = process["created_at"]
    state = State(
        process["process_id"],
        definition_of(Record(process)),
        process["key"],
        value_of(process["input"]),
        created,
        created,
    )
    for row in rows[1:]:
        recorded = HistoryRow(
            row["type"],
            row["at"],
            row["origin"],
            row["target"],
            row["activity"],
            row["execution_id"],
            row["attempt"],
            decode(row["data"]),
        )
        state = evolve(state, fact_of(recorded))
    return state


def _difference(folded: State, stored: State) -> str:
    fields = [name for name in State.__struct_fields__ if getattr(folded, name) != getattr(stored, name)]
    return ", ".join(f"{name} {getattr(folded, name)!r} instead of {getattr(stored, name)!r}" for name in fields)


def nothing_follows_an_end(d: Dossier) -> Faults:
    """5: a terminal state is the last row, and the states in between are a walk in the table."""
    for process_id, rows in d.history.items():
        states = [row for row in rows if row["type"].startswith("process.") and row["target"] is not None]
        for row in states[:-1]:
            if row["target"] in TERMINAL:
                yield f"{process_id} went on after {row['target']}"
        if states and states[-1]["target"] in TERMINAL and rows[-1] is not states[-1]:
            yield f"{process_id} has rows after its end"
        for earlier, later in pairwise(states):
            if (ProcessState(earlier["target"]), ProcessState(later["target"])) not in PROCESS_TRANSITIONS:
                yield f"{process_id} went from {earlier['target']} to {later['target']}"


def executions_end_once(d: Dossier) -> Faults:
    """6: an execution begins before it ends, and ends at most once."""
    for process_id, rows in d.history.items():
        begun: set[UUID] = set()
        ended: set[UUID] = set()
        for row in rows:
            ident = row["execution_id"]
            if row["type"] == "activity.started":
                begun.add(ident)
            elif row["type"] in ("activity.completed", "activity.failed"):
                if ident not in begun or ident in ended:
                    yield f"{process_id}: {row['activity']} ended twice or before it began"
                ended.add(ident)


def results_are_the_targets(d: Dossier) -> Faults:
    """7: a recorded result is what the target answered to one of the keys of this execution."""
    tokens = {seen.token: seen for seen in d.evidence.servers.target.log if seen.token is not None}
    for row in d.db.execution.rows():
        if row["type"] != "http" or row["state"] != "COMPLETED":
            continue
        token = decode(row["output"])["body"]["token"]
        seen = tokens.get(token)
        if seen is None or (seen.process_id, seen.activity) != (row["process_id"], row["activity"]):
            yield f"{row['process_id']}: {row['activity']} has a result that nobody gave it: {token}"
        elif seen.key not in _keys_of(d, row):
            yield f"{row['process_id']}: {row['activity']} has the result of another visit"


def _keys_of(d: Dossier, execution: Row) -> list[str]:
    rows = d.history[execution["process_id"]]
    return [
        _key(execution["process_id"], row)
        for row in rows
        if row["type"] == "activity.started" and row["execution_id"] == execution["execution_id"]
    ]


def requests_were_scheduled(d: Dossier) -> Faults:
    """8 and 9: every request carries a key of an attempt that was committed before it was sent."""
    for seen in d.evidence.servers.target.log:
        if d.travelled:
            continue
        found = d.keys.get(seen.key)
        if found is None:
            yield f"{seen.process_id}: a request of {seen.activity} at {seen.at:.3f} was never scheduled"
            continue
        process_id, row = found
        committed_at = d.committed_at.get((process_id, row["version"]), 0.0)
        if (process_id, row["activity"]) != (seen.process_id, seen.activity) or seen.at < committed_at:
            yield f"{seen.process_id}: {seen.activity} was requested at {seen.at:.3f}, before its commit"


def keys_stay_while_the_outcome_is_unknown(d: Dossier) -> Faults:
    """8: an execution has one effect, whatever was repeated; at most one request when nobody may repeat it."""
    visits: dict[UUID, dict[str, None]] = defaultdict(dict)
    requests: dict[str, int] = defaultdict(int)
    for seen in d.evidence.servers.target.log:
        requests[seen.key] += 1
        found = d.keys.get(seen.key)
        if found is not None and seen.verdict == "processed":
            visits[found[1]["execution_id"]][seen.key] = None
        if found is not None and requests[seen.key] > 1 and _is_parking(d, found[0], seen.activity):
            yield f"{seen.process_id}: {seen.activity} was sent again although nobody may repeat it"
    for execution_id, keys in visits.items():
        if len(keys) > 1 and not d.travelled:
            yield f"execution {execution_id} had {len(keys)} effects"


def _is_parking(d: Dossier, process_id: UUID, activity: str) -> bool:
    name = d.processes[process_id]["definition_name"]
    found = next(part for part in DEFINITIONS[name] if part["id"] == activity)
    return not d.travelled and found.get("on_unknown") == "park"


def no_request_after_the_end(d: Dossier) -> Faults:
    """10: what has ended, and who was declared dead, sends nothing any more but what was under way."""
    ended = {found.process_id: found.at for found in d.applied if found.state in TERMINAL}
    deaths = {} if d.travelled else d.db.deaths
    dead = {d.evidence.cluster.life_of.get(session): at for session, at in deaths.items()}
    for seen in d.evidence.servers.target.log:
        if seen.at > ended.get(seen.process_id, seen.at) + TRANSIT_SECONDS:
            yield f"{seen.process_id}: {seen.activity} was requested {seen.at:.3f}, after the end"
        if seen.life in dead and seen.at > dead[seen.life] + TRANSIT_SECONDS:
            yield f"{seen.life} requested {seen.activity} at {seen.at:.3f}, dead since {dead[seen.life]:.3f}"


def effects_start_under_a_lease(d: Dossier) -> Faults:
    """10: whoever sends something has prolonged its lease less than its length ago."""
    session_of = {life: str(session) for session, life in d.evidence.cluster.life_of.items()}
    for seen in d.evidence.servers.target.log:
        renewals = d.evidence.servers.redis.renewals.get(session_of[seen.life], [])
        latest = max((at for at in renewals if at <= seen.at), default=float("-inf"))
        if seen.at - latest > TTL_SECONDS + 0.1:
            yield f"{seen.life} requested {seen.activity} at {seen.at:.3f}, its lease is of {latest:.3f}"


def the_dead_stood_still(d: Dossier) -> Faults:
    """16: whoever was declared dead had not beaten for at least two beats."""
    for session, (at, beaten_at) in d.db.declared.items():
        if at - beaten_at < 2 * BEAT_SECONDS:
            yield f"{session} was declared dead at {at:.3f}, it had beaten at {beaten_at:.3f}"


def timers_fire_when_due(d: Dossier) -> Faults:
    """11: no wait ends early by the database's clock, none late beyond the faults."""
    for process_id, rows in d.history.items():
        due: dict[UUID, Any] = {}
        for row in rows:
            detail = decode(row["data"])
            at = d.committed_at.get((process_id, row["version"]))
            if row["type"] == "activity.waiting" and detail["waiting"]["kind"] == "timer":
                due[row["execution_id"]] = _seconds(detail["waiting"]["due_at"])
            elif row["type"] == "activity.retry_scheduled":
                due[row["execution_id"]] = _seconds(detail["next_attempt_at"])
            elif row["execution_id"] in due and row["type"] in ("activity.completed", "activity.started") and at:
                wanted = due.pop(row["execution_id"])
                if at < wanted - 1e-6:
                    yield f"{process_id}: {row['activity']} fired at {at:.3f}, due at {wanted:.3f}"
                if at > max(wanted, d.evidence.healed_at) + LATE_SECONDS:
                    yield f"{process_id}: {row['activity']} fired at {at:.3f}, overdue since {wanted:.3f}"


def _seconds(text: str) -> float:
    decoded: Any = json.decode(json.encode(text), type=type(EPOCH))
    return float((decoded - EPOCH) / timedelta(seconds=1))


def answered_calls_hold(d: Dossier) -> Faults:
    """12: what a client was promised is there, consumed or rejected with a reason."""
    if d.travelled:
        return
    client = d.evidence.client
    for op in client.log:
        process_id = client.processes.get(op.order)
        if op.outcome != "ok":
            continue
        if process_id not in d.processes:
            yield f"order {op.order} was started and is gone"
        elif op.kind in ("answer", "cancel"):
            kind = "answer" if op.kind == "answer" else "cancel"
            rows = [row for _, row in d.db.inbox.of(process_id) if row["kind"] == kind]
            if not rows or any(row["consumed_version"] is None or not row["outcome"] for row in rows):
                yield f"order {op.order}: an accepted {op.kind} was neither consumed nor rejected"
        elif op.kind == "event" and op.result.event_id not in d.db.event:
            yield f"order {op.order}: an accepted event is gone"
    for number, process_id in client.processes.items():
        yield from _events_of(d, number, process_id)


def _events_of(d: Dossier, number: int, process_id: UUID) -> Faults:
    received = [row for row in d.history[process_id] if row["type"] == "event.received"]
    events = [decode(row["data"])["event_id"] for row in received]
    if len(set(events)) != len(events):
        yield f"order {number} received one event twice"


def one_key_makes_one_process(d: Dossier) -> Faults:
    """13: the same key, the same process; nothing exists that nobody asked for."""
    asked = set(d.evidence.client.processes.values())
    for process_id in d.processes:
        if process_id not in asked and not _may_exist(d):
            yield f"{process_id} exists although no client knows it"
    if len(d.processes) > len(d.evidence.orders):
        yield f"{len(d.evidence.orders)} orders made {len(d.processes)} processes"


def _may_exist(d: Dossier) -> bool:
    return any(op.kind == "start" and op.outcome == "info" for op in d.evidence.client.log)


def sights_are_a_walk(d: Dossier) -> Faults:
    """14: what a client sees of a process never goes back."""
    if d.travelled:
        return
    for number, sights in d.evidence.client.sights.items():
        for earlier, later in pairwise(sights):
            if later.version < earlier.version:
                yield f"order {number} went back from version {earlier.version} to {later.version}"
            if earlier.state.is_terminal and later.state is not earlier.state:
                yield f"order {number} was {earlier.state}, then {later.state}"


def claims_belong_to_one_session(d: Dossier) -> Faults:
    """15: two sessions never commit under one token, and a claim names nobody, or somebody dead."""
    owner: dict[UUID, UUID] = {}
    for moment in (*d.db.granted, *d.applied):
        if owner.setdefault(moment.claim, moment.session) != moment.session:
            yield f"{moment.process_id}: two sessions used one claim"
    for granted in d.db.granted:
        died_at = d.db.deaths.get(granted.session)
        if died_at is not None and granted.at > died_at and not d.travelled:
            yield f"{granted.process_id} was claimed at {granted.at:.3f} by a session dead since {died_at:.3f}"


def live_owners_are_left_alone(d: Dossier) -> Faults:
    """15: a claim takes a process from nobody, or from a session that was declared dead before."""
    for granted in d.db.granted:
        died_at = None if granted.before is None else d.db.deaths.get(granted.before)
        if granted.before is not None and (died_at is None or died_at > granted.at) and not d.travelled:
            yield f"{granted.process_id} was taken at {granted.at:.3f} from a session that lives"


def events_are_announced(d: Dossier) -> Faults:
    """Each event that a process announced reached whoever waits for it, or is kept."""
    if d.travelled:
        return
    for process_id, rows in d.history.items():
        for row in rows:
            if row["type"] == "activity.completed" and row["execution_id"] is not None:
                kind = d.db.execution.get((process_id, row["execution_id"]))
                if kind is not None and kind["type"] == "event" and row["execution_id"] not in d.db.event:
                    yield f"{process_id}: the event of {row['activity']} is gone"


def waits_are_met(d: Dossier) -> Faults:
    """Nobody waits any more for an event that is kept for nobody."""
    for wait in d.db.subscription.rows():
        for event in d.db.event.rows():
            is_same = (event["type"], event["key"]) == (wait["type"], wait["key"])
            if is_same and event["taken_by"] is None:
                yield f"{wait['process_id']} waits for {event['event_id']}, which is there"


# Liveness


def everything_ends(d: Dossier) -> Faults:
    """19: after the faults every process ends, apart from those that wait for an operator."""
    if d.travelled:
        return
    evidence = d.evidence
    parked = {evidence.client.processes.get(number) for number in evidence.client.parked}
    for number in evidence.unfinished:
        yield f"order {number} ({evidence.orders[number].definition}) did not end"
    for process_id, process in d.processes.items():
        if process["state"] not in TERMINAL and process_id not in parked:
            yield f"{process_id} is still {process['state']}"


def owners_are_alive(d: Dossier) -> Faults:
    """19: what is owned is owned by a session that lives and has an actor for it."""
    for session, owned in d.evidence.hosted.items():
        if len(set(owned)) != len(owned):
            yield f"{session} has two actors for one process"
    for process_id, process in d.processes.items():
        if process["owner_session"] is not None and not d.travelled:
            yield f"{process_id} is owned after every node has stopped"
    for process_id, count in _hosts(d).items():
        if count > 1:
            yield f"{process_id} has {count} actors"


def _hosts(d: Dossier) -> dict[UUID, int]:
    count: dict[UUID, int] = defaultdict(int)
    for owned in d.evidence.hosted.values():
        for process_id in owned:
            count[process_id] += 1
    return count


def nothing_is_left_over(d: Dossier) -> Faults:
    """20 and 21: no inbox row, timer, event or message waits any more."""
    broker = d.evidence.servers.broker
    for process_id, process in d.processes.items():
        if pending(d.db, process_id):
            yield f"{process_id} has inbox rows that nobody consumed"
        if has_due_timer(d.db, process):
            yield f"{process_id} has a timer that is overdue"
    if len(d.db.outbox):
        yield f"{len(d.db.outbox)} events were not announced"
    if any(row["fanned_out_at"] is None for row in d.db.event.rows()):
        yield "an event was never handed out"
    if broker.shared or broker.unacknowledged:
        yield f"{len(broker.shared)} messages wait, {len(broker.unacknowledged)} are not acknowledged"


def nothing_leaks(d: Dossier) -> Faults:
    """22 and 23: no lease, lock, connection or task outlives the nodes."""
    for name in d.evidence.servers.redis.keys:
        if ":sess:" in name:
            yield f"{name} is there although every node has stopped"
    if d.db.locks:
        yield f"{len(d.db.locks)} advisory locks are held by nobody"
    if not d.travelled:
        yield from d.evidence.stuck


def nobody_is_quarantined(d: Dossier) -> Faults:
    """24: no process kills nodes here."""
    for process_id, process in d.processes.items():
        if process["quarantined"] is not None:
            yield f"{process_id} was quarantined: {process['quarantined']}"


def nothing_broke(d: Dossier) -> Faults:
    """The program never found itself in a state that it has no word for."""
    for event in d.evidence.logged:
        is_expected = d.travelled and event["event"] == "actor_left" and event.get("ending") == "diverged"
        if event["event"] in BUGS and not is_expected:
            yield f"{event['event']}: {event!r:.600}"
        if event["event"] == "commit_refused" and event["verdict"] == "diverged" and not d.travelled:
            yield f"a commit diverged although the database lost nothing: {event}"
    yield from d.evidence.complaints


def something_happened(d: Dossier) -> Faults:
    """25: a run that did nothing proves nothing."""
    if len(d.processes) < len(d.evidence.orders):
        yield f"only {len(d.processes)} of {len(d.evidence.orders)} processes were started"
    kinds = {process["definition_name"] for process in d.processes.values()}
    if len(kinds) < min(len(d.evidence.settings.definitions), len(d.evidence.orders)):
        yield f"only these kinds ran: {sorted(kinds)}"
    if len(d.applied) < 2 * len(d.evidence.orders) or not d.evidence.servers.target.log:
        yield f"only {len(d.applied)} commits and {len(d.evidence.servers.target.log)} requests"
    profile = d.evidence.nemesis
    if profile.has_faults and not profile.counts:
        yield "nothing was broken"


RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (
        history_has_no_gap,
        version_counts_transitions,
        epochs_never_fall,
        history_folds_to_the_state,
        nothing_follows_an_end,
        executions_end_once,
        results_are_the_targets,
        requests_were_scheduled,
        keys_stay_while_the_outcome_is_unknown,
        no_request_after_the_end,
        effects_start_under_a_lease,
        the_dead_stood_still,
        timers_fire_when_due,
        answered_calls_hold,
        no_process_is_lost,
        one_key_makes_one_process,
        sights_are_a_walk,
        claims_belong_to_one_session,
        live_owners_are_left_alone,
        events_are_announced,
        waits_are_met,
        everything_ends,
        owners_are_alive,
        nothing_is_left_over,
        nothing_leaks,
        nobody_is_quarantined,
        nothing_broke,
        something_happened,
    )
}
