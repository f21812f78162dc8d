from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from tests.fakes.service import EPOCH, FakeService, execution
from understudy.domain.facts import HistoryRow
from understudy.domain.failure import Category, Failure
from understudy.domain.state import AwaitedEvent, Waiting
from understudy.domain.states import ActivityState, ProcessState
from understudy.domain.views import RecordedRow
from understudy.http.schemas import activity_body, history_body, process_body, process_item

PID = UUID(int=1)
LATER = EPOCH + timedelta(minutes=5)
FAILURE = Failure("http.status.503", Category.EXTERNAL, "unavailable", {"status": 503}, 2)


def wire(body: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(body))


def test_a_process_has_exactly_the_fields_of_the_contract() -> None:
    process = FakeService().new_process(
        key="k", labels={"a": "b"}, input={"n": 1}, state=ProcessState.WAITING, version=4
    )
    assert wire(process_body(process)) == {
        "id": str(process.process_id),
        "definition": {"name": "order", "version": 1},
        "key": "k",
        "state": "WAITING",
        "version": 4,
        "paused": False,
        "input": {"n": 1},
        "output": None,
        "error": None,
        "labels": {"a": "b"},
        "created_at": "2026-11-25T08:30:00Z",
        "started_at": None,
        "updated_at": "2026-11-25T08:30:00Z",
        "ended_at": None,
        "activities": [],
        "waiting_on": [],
    }


def test_an_activity_has_exactly_the_fields_of_the_contract() -> None:
    found = execution(
        PID, "reserve", type="http", state=ActivityState.COMPLETED, ended_at=LATER, output={"status": 200}
    )
    assert wire(activity_body(found)) == {
        "id": "reserve",
        "type": "http",
        "state": "COMPLETED",
        "visit": 1,
        "attempt": 1,
        "execution_id": str(found.execution_id),
        "started_at": "2026-11-25T08:30:00Z",
        "ended_at": "2026-11-25T08:35:00Z",
        "output": {"status": 200},
        "error": None,
    }


def test_an_activity_that_backs_off_tells_until_when() -> None:
    body = wire(
        activity_body(
            execution(PID, "pay", state=ActivityState.PENDING, attempt=2, failure=FAILURE, next_attempt_at=LATER)
        )
    )
    assert body["next_attempt_at"] == "2026-11-25T08:35:00Z"
    assert body["error"] == {
        "type": "http.status.503",
        "category": "external",
        "message": "unavailable",
        "details": {"status": 503},
        "attempt": 2,
    }


def test_a_process_tells_what_it_waits_for_and_until_when() -> None:
    soon = EPOCH + timedelta(minutes=1)
    asked = Waiting("manual", EPOCH, LATER, title="Approve", assignee="ann")
    heard = Waiting("event", EPOCH, None, AwaitedEvent("order.paid"))
    executions = (
        execution(PID, "approve", state=ActivityState.WAITING, deadline_at=soon, waiting=asked),
        execution(PID, "hear", state=ActivityState.WAITING, waiting=heard),
        execution(PID, "over", state=ActivityState.COMPLETED, waiting=Waiting("timer", EPOCH, LATER)),
    )
    assert wire(process_body(FakeService().new_process(executions=executions)))["waiting_on"] == [
        {
            "activity": "approve",
            "kind": "manual",
            "since": "2026-11-25T08:30:00Z",
            "deadline": "2026-11-25T08:31:00Z",
            "title": "Approve",
            "assignee": "ann",
        },
        {
            "activity": "hear",
            "kind": "event",
            "since": "2026-11-25T08:30:00Z",
            "deadline": None,
            "event": {"type": "order.paid", "key": None},
        },
    ]


def test_a_list_leaves_out_what_is_large() -> None:
    process = FakeService().new_process()
    whole, item = wire(process_body(process)), wire(process_item(process))
    assert whole == {**item, "activities": [], "waiting_on": []}


def test_history_speaks_the_words_of_the_api() -> None:
    content = {
        "waiting": {"kind": "operator", "since": EPOCH, "due_at": LATER},
        "failure": {"type": "http.unknown", "category": "external", "message": "?", "details": None, "attempt": 1},
    }
    found = execution(PID, "pay").execution_id
    row = HistoryRow("activity.waiting", EPOCH, "RUNNING", "WAITING", "pay", found, 1, content)
    body = wire(history_body(RecordedRow(7, row, 3, "node-1", 2)))
    assert body == {
        "seq": 7,
        "at": "2026-11-25T08:30:00Z",
        "type": "activity.waiting",
        "from": "RUNNING",
        "to": "WAITING",
        "activity": "pay",
        "execution_id": str(found),
        "attempt": 1,
        "node": "node-1",
        "epoch": 2,
        "data": {
            "waiting": {"kind": "operator", "since": "2026-11-25T08:30:00Z", "deadline": "2026-11-25T08:35:00Z"},
            "error": content["failure"],
        },
    }


def test_times_have_fractions_only_when_there_are_any() -> None:
    assert wire(datetime(2026, 1, 2, 3, 4, 5, 60, tzinfo=UTC)) == "2026-01-02T03:04:05.000060Z"
