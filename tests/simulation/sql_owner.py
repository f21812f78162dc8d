"""What the statements of journal.sql and sessions.sql do to the model's tables; each `has` is a guard."""

from typing import Any
from uuid import UUID

import asyncpg

from tests.simulation.clock import EPOCH
from tests.simulation.postgres import Connection, Postgres
from tests.simulation.tables import Applied, Granted, Record, Row

TERMINAL = ("COMPLETED", "CANCELLED", "FAILED")


def is_dead(db: Postgres, session_id: UUID | None) -> bool:
    session = db.session.get(session_id)
    return session is not None and session["state"] == "dead"


def pending(db: Postgres, process_id: UUID, kind: str | None = None) -> list[Row]:
    """Unconsumed inbox rows, oldest first."""
    rows = [row for _, row in db.inbox.of(process_id) if row["consumed_version"] is None]
    return sorted((row for row in rows if kind in (None, row["kind"])), key=lambda row: row["arrived"])


def is_open(db: Postgres, process: Row) -> bool:
    """Whether an owner could do something with it."""
    return process["state"] not in TERMINAL or (
        process["state"] == "FAILED" and bool(pending(db, process["process_id"], "retry"))
    )


# journal.sql


def claim(
    db: Postgres, _: Connection, *, session_id: UUID, process_ids: Any, claims: Any, schema_max: int
) -> list[Record]:
    mine = db.session.get(session_id)
    if (mine is None or mine["state"] != "alive") and db.has("claimant alive"):
        return []
    granted: list[Record] = []
    for process_id, token in zip(process_ids, claims, strict=True):
        process = db.process.get(process_id)
        if process is None or process["quarantined"] is not None or process["state_schema"] > schema_max:
            continue
        owner = process["owner_session"]
        if owner is not None and not is_dead(db, owner) and db.has("claim over the dead only"):
            continue
        if not is_open(db, process):
            continue
        process = db.process.change(
            process_id,
            owner_session=session_id,
            owner_claim=token,
            owner_epoch=process["owner_epoch"] + 1,
            claim_fails=process["claim_fails"] + 1,
        )
        db.granted.append(Granted(db.loop.time(), process_id, process["owner_epoch"], token, session_id, owner))
        granted.append(Record(process | {"has_inbox": bool(pending(db, process_id)), "db_now": db.now}))
    return granted


def latest_of(db: Postgres, process_id: UUID) -> list[Row]:
    latest: dict[str, Row] = {}
    for _, row in db.execution.of(process_id):
        known = latest.get(row["activity"])
        if known is None or known["visit"] < row["visit"]:
            latest[row["activity"]] = row
    return [latest[activity] for activity in sorted(latest)]


def latest_executions(db: Postgres, _: Connection, *, process_ids: Any) -> list[Record]:
    return [Record(row) for process_id in process_ids for row in latest_of(db, process_id)]


def deliveries(db: Postgres, _: Connection, *, process_ids: Any) -> list[Record]:
    rows = [row for process_id in process_ids for row in pending(db, process_id)]
    return [Record(row) for row in sorted(rows, key=lambda row: row["arrived"])]


def quarantine(db: Postgres, _: Connection, *, process_ids: Any, claims: Any, reasons: Any) -> list[Record]:
    for process_id, token, reason in zip(process_ids, claims, reasons, strict=True):
        process = db.process.get(process_id)
        if process is not None and process["owner_claim"] == token:
            db.process.change(process_id, quarantined=reason, **_nobody(process))
    return []


def _nobody(process: Row) -> dict[str, Any]:
    return {"owner_session": None, "owner_claim": None, "owner_epoch": process["owner_epoch"] + 1}


def commit(db: Postgres, _: Connection, *, batch: UUID, node: str, schema: int, **columns: Any) -> list[Record]:
    answer: list[Record] = []
    names = ("process_ids", "epochs", "claims", "versions", "states", "paused", "ready", "bodies", "outputs", "errors")
    rows = zip(*(columns[name] for name in (*names, "started", "updated", "ended")), strict=True)
    applied: dict[int, Row] = {}
    for place, row in enumerate(rows, 1):
        process_id, epoch, token, version, state, paused, ready, body, output, error, started, updated, ended = row
        process = db.process.get(process_id)
        if process is None or not _is_current(db, process, epoch, token, version):
            continue
        db.applied.append(
            Applied(
                db.loop.time(),
                db.now,
                process_id,
                version + 1,
                epoch,
                token,
                process["owner_session"],
                node,
                state,
            )
        )
        is_over = {"owner_session": None, "owner_claim": None} if state in TERMINAL else {}
        applied[place] = db.process.change(
            process_id,
            version=process["version"] + 1,
            state=str(state),
            paused=paused,
            ready=ready,
            state_schema=schema,
            body=body,
            output=output,
            error=error,
            started_at=started,
            updated_at=updated,
            ended_at=ended,
            last_batch=batch,
            claim_fails=0,
            **is_over,
        )
        answer.append(Record(place=place, db_now=db.now))
    _record(db, applied, node, columns)
    _keep_executions(db, applied, columns)
    _keep_waits(db, applied, columns)
    return answer


def _is_current(db: Postgres, process: Row, epoch: int, token: UUID, version: int) -> bool:
    return (
        (process["owner_epoch"] == epoch or not db.has("epoch"))
        and (process["owner_claim"] == token or not db.has("claim token"))
        and (process["version"] == version or not db.has("version"))
    )


def _gathered(applied: dict[int, Row], columns: dict[str, Any], *names: str) -> list[tuple[Any, ...]]:
    """Rows of one of the statement's side tables whose transition was applied, led by its process."""
    rows = zip(*(columns[name] for name in names), strict=True)
    return [(applied[place], *row) for place, *row in rows if place in applied]


def _record(db: Postgres, applied: dict[int, Row], node: str, columns: dict[str, Any]) -> None:
    names = ("seqs", "at", "types", "origins", "targets", "activities", "executions", "attempts", "data")
    facts = _gathered(applied, columns, *(f"fact_{name}" for name in ("of", *names)))
    for process, seq, at, kind, origin, target, activity, execution_id, attempt, detail in facts:
        key = (process["process_id"], seq)
        if key in db.history:
            raise asyncpg.UniqueViolationError("history_pkey")
        db.history.put(
            key,
            {
                "seq": seq,
                "version": process["version"],
                "at": at,
                "type": kind,
                "origin": None if origin is None else str(origin),
                "target": None if target is None else str(target),
                "activity": activity,
                "execution_id": execution_id,
                "attempt": attempt,
                "node": node,
                "epoch": process["owner_epoch"],
                "data": detail,
            },
        )
    for process, message_id, outcome in _gathered(applied, columns, "consumed_of", "consumed_ids", "consumed_outcomes"):
        key = (process["process_id"], message_id)
        row = db.inbox.get(key)
        if row is not None and row["consumed_version"] is None:
            db.inbox.change(key, consumed_version=process["version"], outcome=outcome)


def _keep_executions(db: Postgres, applied: dict[int, Row], columns: dict[str, Any]) -> None:
    names = (
        "execution_id",
        "activity",
        "type",
        "visit",
        "attempt",
        "state",
        "started_at",
        "ended_at",
        "output",
        "error",
    )
    given = ("ids", "activities", "types", "visits", "attempts", "states", "started", "ended", "outputs", "errors")
    rows = _gathered(applied, columns, *(f"execution_{name}" for name in ("of", *given, "details")))
    for process, *values in rows:
        row = dict(zip((*names, "detail"), values, strict=True))
        row |= {"process_id": process["process_id"], "state": str(row["state"])}
        key = (process["process_id"], row["execution_id"])
        known = db.execution.get(key)
        kept = {} if known is None else {name: known[name] for name in ("activity", "type", "visit", "started_at")}
        db.execution.put(key, row | kept)


def _keep_waits(db: Postgres, applied: dict[int, Row], columns: dict[str, Any]) -> None:
    for process, timer_id, due_at, _ in _gathered(
        applied, columns, "timer_of", "timer_ids", "timer_due", "timer_bodies"
    ):
        row = {"process_id": process["process_id"], "timer_id": timer_id, "due_at": due_at}
        db.timer.put((process["process_id"], timer_id), row)
    for process, timer_id in _gathered(applied, columns, "timer_gone_of", "timer_gone_ids"):
        db.timer.remove((process["process_id"], timer_id))
    for process, execution_id, kind, key in _gathered(
        applied, columns, "wait_of", "wait_executions", "wait_types", "wait_keys"
    ):
        row = {"process_id": process["process_id"], "execution_id": execution_id, "type": kind, "key": key}
        db.subscription.put((process["process_id"], execution_id), row)
    for process, execution_id in _gathered(applied, columns, "wait_gone_of", "wait_gone_executions"):
        db.subscription.remove((process["process_id"], execution_id))
    names = ("of", "idx", "events", "topics", "keys", "data")
    for process, idx, event_id, topic, key, content in _gathered(
        applied, columns, *(f"outbox_{name}" for name in names)
    ):
        row = {"process_id": process["process_id"], "version": process["version"], "idx": idx, "event_id": event_id}
        db.outbox.put(
            (process["process_id"], process["version"], idx),
            row | {"topic": topic, "key": key, "data": content, "created_at": db.now},
        )


def read_back(db: Postgres, _: Connection, *, process_ids: Any) -> list[Record]:
    names = ("process_id", "version", "owner_epoch", "owner_claim", "last_batch")
    found = [db.process.get(process_id) for process_id in process_ids]
    rows = [Record({name: row[name] for name in names} | {"db_now": db.now}) for row in found if row is not None]
    if not db.has("last_batch"):
        return [Record(row | {"last_batch": None}) for row in rows]
    return rows


def passivate(
    db: Postgres, _: Connection, *, process_ids: Any, epochs: Any, claims: Any, versions: Any
) -> list[Record]:
    gone: list[Record] = []
    for process_id, epoch, token, version in zip(process_ids, epochs, claims, versions, strict=True):
        process = db.process.get(process_id)
        if process is None or not _is_current(db, process, epoch, token, version):
            continue
        if pending(db, process_id):
            continue
        db.process.change(process_id, owner_session=None, owner_claim=None, claim_fails=0)
        gone.append(Record(process_id=process_id))
    return gone


def relinquish(db: Postgres, _: Connection, *, session_id: UUID, process_ids: Any) -> list[Record]:
    for process_id in process_ids:
        process = db.process.get(process_id)
        if process is not None and process["owner_session"] == session_id:
            db.process.change(process_id, **_nobody(process))
    return []


def spare(db: Postgres, _: Connection, *, session_id: UUID, process_ids: Any) -> list[Record]:
    for process_id in process_ids:
        process = db.process.get(process_id)
        if process is not None and process["owner_session"] == session_id:
            db.process.change(process_id, claim_fails=max(process["claim_fails"] - 1, 0), **_nobody(process))
    return []


def owners(db: Postgres, _: Connection, *, process_ids: Any, schema_max: int) -> list[Record]:
    answer: list[Record] = []
    for process in filter(None, map(db.process.get, process_ids)):
        session = db.session.get(process["owner_session"])
        is_free = process["owner_session"] is None or is_dead(db, process["owner_session"])
        is_claimable = is_free and process["quarantined"] is None and process["state_schema"] <= schema_max
        names = ("process_id", "owner_session", "owner_claim")
        row = Record({name: process[name] for name in names})
        row["owner_alive"] = session is not None and session["state"] != "dead"
        row["is_claimable"] = is_claimable and is_open(db, process)
        answer.append(row)
    return answer


def has_due_timer(db: Postgres, process: Row) -> bool:
    return any(
        row["due_at"] <= db.now and not (process["paused"] and row["timer_id"].endswith(":retry"))
        for _, row in db.timer.of(process["process_id"])
    )


def owned_with_work(db: Postgres, _: Connection, *, session_id: UUID) -> list[Record]:
    if not db.has("audit"):
        return []
    return [
        Record(process_id=process["process_id"], version=process["version"])
        for process in db.process.rows()
        if process["owner_session"] == session_id and process["quarantined"] is None
        if process["ready"] or pending(db, process["process_id"]) or has_due_timer(db, process)
    ]


# sessions.sql


def _lock_key(session_id: UUID) -> int:
    return session_id.int & ((1 << 64) - 1)


def lock_session(db: Postgres, connection: Connection, *, session_id: UUID, idle_seconds: str) -> list[Record]:
    del idle_seconds
    key = _lock_key(session_id)
    holder = db.locks.setdefault(key, connection)
    if holder is connection:
        connection.lock = key
    return [Record(pg_try_advisory_lock=holder is connection)]


def open_session(db: Postgres, _: Connection, *, session_id: UUID, schema_max: int, **columns: Any) -> list[Record]:
    if session_id not in db.session:
        row = {"session_id": session_id, "max_schema": schema_max, "started_at": db.now, "beaten_at": db.now}
        db.session.put(session_id, row | {"beat_seq": 0, "lease_ok": True, "state": "alive"} | columns)
    return []


def beat_session(db: Postgres, _: Connection, *, session_id: UUID, lease_ok: bool) -> list[Record]:
    session = db.session.get(session_id)
    if session is None or session["state"] == "dead":
        return []
    db.session.change(session_id, beat_seq=session["beat_seq"] + 1, lease_ok=lease_ok, beaten_at=db.now)
    return [Record(state=session["state"])]


def drain_session(db: Postgres, _: Connection, *, session_id: UUID) -> list[Record]:
    session = db.session.get(session_id)
    if session is None or session["state"] == "dead":
        return []
    return [Record(state=db.session.change(session_id, state="draining")["state"])]


def observe_sessions(db: Postgres, _: Connection) -> list[Record]:
    owning = {process["owner_session"] for process in db.process.rows()}
    seen = [row for row in db.session.rows() if row["state"] != "dead" or row["session_id"] in owning]
    return [
        Record(
            row
            | {
                "beat_age_seconds": (db.now - row["beaten_at"]).total_seconds(),
                "lock_held": _lock_key(row["session_id"]) in db.locks,
                "server_started_at": db.started_at,
            }
        )
        for row in sorted(seen, key=lambda row: (row["started_at"], row["session_id"]))
    ]


def declare_dead(db: Postgres, _: Connection, *, session_id: UUID, beat_seq: int) -> list[Record]:
    session = db.session.get(session_id)
    if session is None or session["state"] == "dead":
        return []
    if session["beat_seq"] != beat_seq and db.has("death by compare-and-set"):
        return []
    db.session.change(session_id, state="dead")
    db.deaths[session_id] = db.loop.time()
    db.declared[session_id] = (db.loop.time(), (session["beaten_at"] - EPOCH).total_seconds())
    return [Record(session_id=session_id)]


def disown_session(db: Postgres, _: Connection, *, session_id: UUID, count: int) -> list[Record]:
    if not is_dead(db, session_id):
        return [Record(count=0)]
    owned = [process for process in db.process.rows() if process["owner_session"] == session_id][:count]
    for process in owned:
        db.process.change(process["process_id"], **_nobody(process))
    return [Record(count=len(owned))]


def end_session(db: Postgres, _: Connection, *, session_id: UUID) -> list[Record]:
    if session_id in db.session:
        db.session.change(session_id, state="dead")
        db.deaths.setdefault(session_id, db.loop.time())
    return []


def forget_sessions(db: Postgres, _: Connection) -> list[Record]:
    owning = {process["owner_session"] for process in db.process.rows()}
    for session_id, row in db.session.items():
        if row["state"] == "dead" and session_id not in owning:
            db.session.remove(session_id)
    return []


OWNER_STATEMENTS = {
    found.__name__: found
    for found in (
        claim,
        latest_executions,
        deliveries,
        quarantine,
        commit,
        read_back,
        passivate,
        relinquish,
        spare,
        owners,
        owned_with_work,
        lock_session,
        open_session,
        beat_session,
        drain_session,
        observe_sessions,
        declare_dead,
        disown_session,
        end_session,
        forget_sessions,
    )
}
