"""What the statements of the gateway, the events and the safety nets do to the model's tables."""

from datetime import timedelta
from hashlib import md5
from typing import Any
from uuid import UUID

import msgspec

from tests.simulation.postgres import Connection, Postgres
from tests.simulation.sql_owner import OWNER_STATEMENTS, TERMINAL, has_due_timer, is_dead, latest_of, pending
from tests.simulation.tables import Record, Row

# processes.sql


def start_processes(db: Postgres, _: Connection, *, tenant_id: UUID, state_schema: int, **columns: Any) -> list[Record]:
    names = ("process_ids", "names", "versions", "digests", "contents", "keys", "labels", "inputs")
    rows = zip(*(columns[name] for name in (*names, "request_hashes", "first_statuses")), strict=True)
    answer: list[Record] = []
    for process_id, name, version, digest, content, key, labels, given, request_hash, first_status in sorted(rows):
        if content is not None and digest not in db.content:
            db.content.put(digest, {"content": content})
        known = db.process.get(process_id)
        if known is None:
            made = _new_process(db, process_id, name, version, digest, key, labels, given, state_schema)
            db.process.put(
                process_id, made | {"tenant_id": tenant_id, "request_hash": request_hash, "first_status": first_status}
            )
            db.history.put((process_id, 1), _first_row(db))
        kept = db.process[process_id]
        answer.append(
            Record(
                process_id=process_id,
                is_new=known is None,
                request_hash=kept["request_hash"],
                first_status=kept["first_status"],
            )
        )
    return answer


def _new_process(
    db: Postgres,
    process_id: UUID,
    name: str,
    version: Any,
    digest: bytes,
    key: Any,
    labels: Any,
    given: Any,
    schema: int,
) -> Row:
    empty = ("output", "error", "started_at", "ended_at", "last_batch", "owner_session", "owner_claim", "quarantined")
    return dict.fromkeys(empty) | {
        "process_id": process_id,
        "definition_name": name,
        "definition_version": version,
        "definition_digest": digest,
        "key": key,
        "labels": labels,
        "input": given,
        "created_at": db.now,
        "updated_at": db.now,
        "state": "CREATED",
        "paused": False,
        "version": 0,
        "ready": True,
        "state_schema": schema,
        "body": b'{"seq": 1, "active": []}',
        "owner_epoch": 0,
        "claim_fails": 0,
    }


def _first_row(db: Postgres) -> Row:
    empty = ("origin", "activity", "execution_id", "attempt", "node", "epoch")
    first = {"seq": 1, "version": 0, "at": db.now, "type": "process.created", "target": "CREATED", "data": b"{}"}
    return dict.fromkeys(empty) | first


def find_process(db: Postgres, _: Connection, *, process_id: UUID) -> list[Record]:
    process = db.process.get(process_id)
    if process is None:
        return []
    prefixed = {f"p_{name}": value for name, value in process.items()}
    none = dict.fromkeys(("execution_id", "activity", "type", "visit", "attempt", "state", "output", "error", "detail"))
    rows = sorted(latest_of(db, process_id), key=lambda row: row["execution_id"]) or [none]
    # What is large stands in the first row only.
    large = dict.fromkeys(("p_input", "p_output", "p_error"))
    return [Record(prefixed | (large if number else {}) | row) for number, row in enumerate(rows)]


def process_executions(db: Postgres, _: Connection, *, process_id: UUID) -> list[Record]:
    rows = [row for _, row in db.execution.of(process_id)]
    return [Record(row) for row in sorted(rows, key=lambda row: (row["started_at"], row["activity"], row["visit"]))]


def process_history(db: Postgres, _: Connection, *, process_id: UUID, after: int, count: int) -> list[Record]:
    rows = [Record(row) for (_, seq), row in db.history.of(process_id) if seq > after]
    return sorted(rows, key=lambda row: row["seq"])[:count]


def ended_processes(db: Postgres, _: Connection, *, process_ids: Any) -> list[Record]:
    found = [db.process.get(process_id) for process_id in process_ids]
    return [Record(process_id=row["process_id"]) for row in found if row is not None and row["state"] in TERMINAL]


# lookout.sql


def _is_watched(process: Row, schema_max: int) -> bool:
    return process["quarantined"] is None and process["state_schema"] <= schema_max and process["state"] not in TERMINAL


def ready_processes(db: Postgres, _: Connection, *, schema_max: int, count: int) -> list[Record]:
    found = [row for row in db.process.rows() if row["owner_session"] is None and row["ready"]]
    found = [row for row in found if _is_watched(row, schema_max)] if db.has("ready sweep") else []
    if not db.has("sweep for the new"):
        found = [row for row in found if row["owner_epoch"] > 0]
    ordered = sorted(found, key=lambda row: (row["claim_fails"], row["created_at"], row["process_id"]))
    return [Record(process_id=row["process_id"]) for row in ordered[:count]]


def pending_processes(db: Postgres, _: Connection, *, older_than: timedelta, count: int) -> list[Record]:
    oldest: dict[UUID, Any] = {}
    for (process_id, _message), row in db.inbox.items() if db.has("pending sweep") else ():
        process = db.process.get(process_id)
        if row["consumed_version"] is not None or row["created_at"] > db.now - older_than or process is None:
            continue
        is_retry = process["state"] == "FAILED" and row["kind"] == "retry"
        if process["quarantined"] is None and (process["state"] not in TERMINAL or is_retry):
            oldest[process_id] = min(oldest.get(process_id, row["created_at"]), row["created_at"])
    ordered = sorted(oldest, key=lambda process_id: (oldest[process_id], process_id))
    return [Record(process_id=process_id) for process_id in ordered[:count]]


def due_processes(db: Postgres, _: Connection, *, schema_max: int, count: int) -> list[Record]:
    found = [
        process["process_id"]
        for process in (db.process.rows() if db.has("scanner") else ())
        if _is_watched(process, schema_max) and has_due_timer(db, process)
        if process["owner_session"] is None or is_dead(db, process["owner_session"])
    ]
    ordered = sorted(found, key=lambda ident: (min(row["due_at"] for _, row in db.timer.of(ident)), ident))
    return [Record(process_id=process_id) for process_id in ordered[:count]]


def _matches(event: Row, wait: Row) -> bool:
    return (event["type"], event["key"]) == (wait["type"], wait["key"]) and (
        event["process_id"] is None or event["process_id"] == wait["process_id"]
    )


def unmet_waits(db: Postgres, _: Connection, *, tenant_id: UUID, count: int) -> list[Record]:
    del tenant_id
    kept = [row for row in db.event.rows() if row["taken_by"] is None and row["fanned_out_at"] is not None]
    kept = [row for row in kept if row["expires_at"] > db.now]
    if not db.has("kept events are looked for again"):
        return []
    return [Record(wait) for event in kept for wait in db.subscription.rows() if _matches(event, wait)][:count]


def reject_orphans(db: Postgres, _: Connection, *, count: int) -> list[Record]:
    rejected = 0
    for key, row in db.inbox.items():
        process = db.process.get(key[0])
        if row["consumed_version"] is not None or process is None or rejected == count:
            continue
        is_failed = process["state"] == "FAILED" and not pending(db, key[0], "retry")
        if process["state"] in ("COMPLETED", "CANCELLED") or is_failed:
            outcome = f"rejected: the process is {process['state']}"
            db.inbox.change(key, consumed_version=process["version"], outcome=outcome)
            rejected += 1
    return [Record(count=rejected)]


# inbox.sql


def _insert_message(db: Postgres, process_id: UUID, message_id: UUID, **columns: Any) -> bool:
    if (process_id, message_id) in db.inbox:
        return False
    db.arrivals += 1
    empty = ("consumed_version", "outcome", "request_hash", "first_status")
    row = dict.fromkeys(empty) | {"process_id": process_id, "msg_id": message_id, "arrived": db.arrivals}
    db.inbox.put((process_id, message_id), row | {"created_at": db.now} | columns)
    return True


def submit_message(
    db: Postgres, _: Connection, *, process_id: UUID, msg_id: UUID, tenant_id: UUID, **columns: Any
) -> list[Record]:
    del tenant_id
    is_new = _insert_message(db, process_id, msg_id, **columns)
    return [Record(row | {"is_new": is_new}) for row in recall_message(db, _, process_id=process_id, msg_id=msg_id)]


def recall_message(db: Postgres, _: Connection, *, process_id: UUID, msg_id: UUID) -> list[Record]:
    row = db.inbox.get((process_id, msg_id))
    names = ("request_hash", "first_status", "outcome")
    return [] if row is None else [Record({"is_new": False} | {name: row[name] for name in names})]


# events.sql


def accept_event(
    db: Postgres, _: Connection, *, tenant_id: UUID, event_id: UUID, keeping: timedelta, **columns: Any
) -> list[Record]:
    del tenant_id
    is_new = event_id not in db.event
    if is_new:
        row = {"event_id": event_id, "received_at": db.now, "expires_at": db.now + keeping}
        db.event.put(event_id, row | {"fanned_out_at": None, "taken_by": None} | columns)
    return [Record(is_new=is_new, request_hash=db.event[event_id]["request_hash"])]


def _hand_over(db: Postgres, event: Row, wait: Row) -> None:
    process_id, execution_id = wait["process_id"], wait["execution_id"]
    db.subscription.remove((process_id, execution_id))
    body = {"kind": "event", "execution_id": execution_id, "event_id": event["event_id"], "type": event["type"]}
    body |= {"key": event["key"], "data": None if event["data"] is None else msgspec.Raw(event["data"])}
    message_id = UUID(md5(f"{execution_id}{event['event_id']}".encode(), usedforsecurity=False).hexdigest())
    _insert_message(db, process_id, message_id, kind="event", body=msgspec.json.encode(body))


def deliver_event(db: Postgres, _: Connection, *, tenant_id: UUID, event_id: UUID) -> list[Record]:
    del tenant_id
    event = db.event.get(event_id)
    if event is None or event["fanned_out_at"] is not None:
        return []
    waits = [wait for wait in list(db.subscription.rows()) if _matches(event, wait)]
    for wait in waits:
        _hand_over(db, event, wait)
    reached = sorted({wait["process_id"] for wait in waits})
    taken_by = event["taken_by"] or (reached[0] if reached else None)
    db.event.change(event_id, fanned_out_at=db.now, taken_by=taken_by)
    return [Record(process_id=process_id) for process_id in reached]


def take_event(
    db: Postgres, _: Connection, *, tenant_id: UUID, process_id: UUID, execution_id: UUID, **awaited: Any
) -> list[Record]:
    del tenant_id
    wait = db.subscription.get((process_id, execution_id))
    wanted = awaited | {"process_id": process_id}
    kept = [row for row in db.event.rows() if row["taken_by"] is None and row["expires_at"] > db.now]
    kept = sorted((row for row in kept if _matches(row, wanted)), key=lambda row: (row["received_at"], row["event_id"]))
    if wait is None or not kept or not db.has("a new wait looks at kept events"):
        return [Record(exists=False)]
    _hand_over(db, kept[0], wait)
    db.event.change(kept[0]["event_id"], taken_by=process_id)
    return [Record(exists=True)]


def undelivered_events(db: Postgres, _: Connection, *, tenant_id: UUID, count: int) -> list[Record]:
    del tenant_id
    rows = [row for row in db.event.rows() if row["fanned_out_at"] is None] if db.has("undelivered sweep") else []
    ordered = sorted(rows, key=lambda row: (row["received_at"], row["event_id"]))
    return [Record(event_id=row["event_id"]) for row in ordered[:count]]


def expire_events(db: Postgres, _: Connection, *, tenant_id: UUID, count: int) -> list[Record]:
    del tenant_id
    old = [row for row in db.event.rows() if row["expires_at"] <= db.now and row["fanned_out_at"] is not None][:count]
    for row in old:
        db.event.remove(row["event_id"])
    return [Record(count=len(old))]


# outbox.sql


def pending_outbox(db: Postgres, _: Connection, *, tenant_id: UUID, count: int) -> list[Record]:
    del tenant_id
    since: dict[UUID, Any] = {}
    for row in sorted(db.outbox.rows(), key=lambda row: row["created_at"])[:count]:
        since.setdefault(row["process_id"], row["created_at"])
    rows = [row for row in db.outbox.rows() if row["process_id"] in since]
    ordered = sorted(rows, key=lambda row: (since[row["process_id"]], row["process_id"], row["version"], row["idx"]))
    return [Record(row) for row in ordered[:count]]


def delete_outbox(db: Postgres, _: Connection, *, process_ids: Any, versions: Any, indexes: Any) -> list[Record]:
    for key in zip(process_ids, versions, indexes, strict=True):
        if key in db.outbox:
            db.outbox.remove(key)
    return []


# definitions.sql and keys.sql


def insert_definition(
    db: Postgres, _: Connection, *, tenant_id: UUID, name: str, digest: bytes, content: bytes
) -> list[Record]:
    del tenant_id
    if digest not in db.content:
        db.content.put(digest, {"content": content})
    versions = [row for _, row in db.definition.of(name)]
    if any(row["digest"] == digest for row in versions):
        return []
    version = len(versions) + 1
    db.definition.put((name, version), {"name": name, "version": version, "digest": digest, "created_at": db.now})
    return [Record(version=version)]


def _published(db: Postgres, row: Row) -> Record:
    return Record(row | {"content": db.content[row["digest"]]["content"]})


def find_definition_by_digest(
    db: Postgres, _: Connection, *, tenant_id: UUID, name: str, digest: bytes
) -> list[Record]:
    del tenant_id
    return [_published(db, row) for _, row in db.definition.of(name) if row["digest"] == digest]


def find_definition(db: Postgres, _: Connection, *, tenant_id: UUID, name: str, version: int | None) -> list[Record]:
    del tenant_id
    rows = [row for _, row in db.definition.of(name) if version in (None, row["version"])]
    return [_published(db, row) for row in sorted(rows, key=lambda row: -row["version"])[:1]]


def definition_content(db: Postgres, _: Connection, *, tenant_id: UUID, digest: bytes) -> list[Record]:
    del tenant_id
    row = db.content.get(digest)
    return [] if row is None else [Record(content=row["content"])]


def recall_key(
    db: Postgres, _: Connection, *, tenant_id: UUID, scope: str, key: str, keeping: timedelta
) -> list[Record]:
    del tenant_id
    row = db.kept_key.get((scope, key))
    return [] if row is None or row["created_at"] <= db.now - keeping else [Record(row)]


def remember_key(
    db: Postgres, _: Connection, *, tenant_id: UUID, scope: str, key: str, keeping: timedelta, **columns: Any
) -> list[Record]:
    del tenant_id
    row = db.kept_key.get((scope, key))
    if row is None or row["created_at"] <= db.now - keeping:
        db.kept_key.put((scope, key), columns | {"created_at": db.now})
    return [Record(db.kept_key[scope, key])]


STATEMENTS = OWNER_STATEMENTS | {
    found.__name__: found
    for found in (
        start_processes,
        find_process,
        process_executions,
        process_history,
        ended_processes,
        ready_processes,
        pending_processes,
        due_processes,
        unmet_waits,
        reject_orphans,
        submit_message,
        recall_message,
        accept_event,
        deliver_event,
        take_event,
        undelivered_events,
        expire_events,
        pending_outbox,
        delete_outbox,
        insert_definition,
        find_definition_by_digest,
        find_definition,
        definition_content,
        recall_key,
        remember_key,
    )
}
