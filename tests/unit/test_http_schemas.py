from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from tests.fakes.service import EPOCH, FakeService, execution
from understudy.domain.facts import HistoryRow
from understudy.domain.failure import Category, Failure
from understudy.domain.state import AwaitedEvent, Waiting
from understudy.domain.states import ActivityState, ProcessState
from understudy.domain.views import RecordedRow
from understudy.http.schemas import history_body, process_body, process_item

LATER = EPOCH + timedelta(minutes=5)
FAILURE = Failure("http.status.503", Category.EXTERNAL, "unavailable", {"status": 503}, 2)


def wire(body: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(body))


async def test_a_process_has_exactly_the_fields_of_the_contract() -> None:
    service = FakeService()
    process = service.new_process(key="k", labels={"a": "b"}, input={"n": 1}, state=ProcessState.WAITING, version=4)
    pid = process.process_id
    executions = (
        execution(pid, "reserve", type="http", state=ActivityState.COMPLETED, ended_at=LATER, output={"status": 200}),
        execution(
            pid, "pay", type="http", state=ActivityState.PENDING, attempt=2, failure=FAILURE, next_attempt_at=LATER
        ),
        execution(
            pid,
            "approve",
            state=ActivityState.WAITING,
            deadline_at=EPOCH + timedelta(minutes=1),
            waiting=Waiting("manual", EPOCH, LATER, title="Approve", assignee="ann"),
        ),
        execution(
            pid,
            "hear",
            type="wait",
            state=ActivityState.WAITING,
            waiting=Waiting("event", EPOCH, None, AwaitedEvent("order.paid")),
        ),
        execution(pid, "over", state=ActivityState.COMPLETED, waiting=Waiting("timer", EPOCH, LATER)),
    )
    body = wire(process_body(msgspec.structs.replace(process, executions=executions)))
    assert {name: body[name] for name in body if name not in ("activities", "waiting_on")} == {
        "id": str(pid),
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
    }
    assert body["activities"][0] == {
        "id": "reserve",
        "type": "http",
        "state": "COMPLETED",
        "visit": 1,
        "attempt": 1,
        "execution_id": str(executions[0].execution_id),
        "started_at": "2026-11-25T08:30:00Z",
        "ended_at": "2026-11-25T08:35:00Z",
        "output": {"status": 200},
        "error": None,
    }
    assert body["activities"][1]["next_attempt_at"] == "2026-11-25T08:35:00Z"
    assert body["activities"][1]["error"] == {
        "type": "http.status.503",
        "category": "external",
        "message": "unavailable",
        "details": {"status": 503},
        "attempt": 2,
    }
    assert body["waiting_on"] == [
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


async def test_a_list_leaves_out_what_is_large() -> None:
    process = FakeService().new_process()
    whole, item = wire(process_body(process)), wire(process_item(process))
    assert whole == {**item, "activities": [], "waiting_on": []}


def test_history_speaks_the_words_of_the_api() -> None:
    content = {
        "waiting": {"kind": "operator", "since": EPOCH, "due_at": LATER},
        "failure": {"type": "http.unknown", "category": "external", "message": "?", "details": None, "attempt": 1},
    }
    row = HistoryRow("activity.waiting", EPOCH, "RUNNING", "WAITING", "pay", execution_id_of("pay"), 1, content)
    body = wire(history_body(RecordedRow(7, row, 3, "node-1", 2)))
    assert body == {
        "seq": 7,
        "at": "2026-11-25T08:30:00Z",
        "type": "activity.waiting",
        "from": "RUNNING",
        "to": "WAITING",
        "activity": "pay",
        "execution_id": str(execution_id_of("pay")),
        "attempt": 1,
        "node": "node-1",
        "epoch": 2,
        "data": {
            "waiting": {"kind": "operator", "since": "2026-11-25T08:30:00Z", "deadline": "2026-11-25T08:35:00Z"},
            "error": content["failure"],
        },
    }


def execution_id_of(activity: str) -> Any:
    return execution(FakeService().new_process().process_id, activity).execution_id


def test_times_have_fractions_only_when_there_are_any() -> None:
    assert wire(datetime(2026, 1, 2, 3, 4, 5, 60, tzinfo=UTC)) == "2026-01-02T03:04:05.000060Z"
