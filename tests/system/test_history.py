from datetime import datetime
from itertools import pairwise
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from msgspec import json

from tests.system.client import (
    Client,
    assert_problem,
    decision,
    define,
    event,
    http,
    manual,
    quick,
    transform,
    types_of,
    unique,
    wait,
)
from tests.system.dev import Dev
from tests.system.target import Reply, Target

ROW = {"seq", "at", "type", "from", "to", "activity", "execution_id", "attempt", "node", "epoch", "data"}
ENDS = {"process.completed", "process.failed", "process.cancelled"}


def assert_whole(rows: list[dict[str, Any]]) -> None:
    """What holds of the history of every process that has ended."""
    assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
    assert rows[0]["type"] == "process.created"
    assert [row["type"] for row in rows if row["type"] in ENDS] == [rows[-1]["type"]]
    assert all(row.keys() == ROW for row in rows)
    times = [datetime.fromisoformat(row["at"]) for row in rows]
    assert all(earlier <= later for earlier, later in pairwise(times))
    _assert_executions(rows)
    state = None
    for row in rows:
        if row["type"].startswith("process."):
            assert row["from"] == state
            state = row["to"]


def _assert_executions(rows: list[dict[str, Any]]) -> None:
    by_execution: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["execution_id"] is not None:
            by_execution.setdefault(row["execution_id"], []).append(row)
    for found in by_execution.values():
        types = [row["type"] for row in found]
        assert types[0] == "activity.started"
        assert sum(kind in {"activity.completed", "activity.failed"} for kind in types) == 1
        assert types[-1] in {"activity.completed", "activity.failed"}
        assert [row["attempt"] for row in found if row["type"] == "activity.started"] == list(
            range(1, types.count("activity.started") + 1)
        )
        state = "PENDING"
        for row in found:
            assert row["from"] == state
            state = row["to"] or state


async def test_a_process_with_everything_in_it(api: Client, target: Target) -> None:
    kind = unique("e")
    target.reply("/x", Reply(503), Reply(200, {"n": 1}))
    definition = define(
        http("call", target.url + "/x", retry=quick(2)),
        decision("choose", ("activities.call.output.body.n == 1", "shape"), otherwise="@fail"),
        transform("shape", {"n": 1}),
        wait("pause", for_="20ms"),
        manual("ask"),
        wait("paid", event={"type": kind, "key": "k"}),
        event("announce", unique("e"), data=1),
    )
    started = await api.start(definition, {"a": 1})
    await api.waiting(started["id"], "ask")
    await api.answer(started["id"], "ask", {"output": True})
    await api.waiting(started["id"], "paid")
    sent = await api.post("/events", {"type": kind, "key": "k", "data": 7})
    await api.ended(started["id"])
    rows = await api.history(started["id"])
    assert_whole(rows)
    assert types_of(rows) == [
        "process.created",
        "process.started",
        "activity.started call",
        "activity.retry_scheduled call",
        "activity.started call",
        "activity.completed call",
        "activity.started choose",
        "activity.completed choose",
        "activity.started shape",
        "activity.completed shape",
        "activity.started pause",
        "activity.waiting pause",
        "process.waiting",
        "process.continued",
        "activity.completed pause",
        "activity.started ask",
        "activity.waiting ask",
        "process.waiting",
        "process.continued",
        "activity.completed ask",
        "activity.started paid",
        "activity.waiting paid",
        "process.waiting",
        "event.received paid",
        "process.continued",
        "activity.completed paid",
        "activity.started announce",
        "activity.completed announce",
        "process.completed",
    ]
    received = next(row for row in rows if row["type"] == "event.received")
    assert received["data"]["event_id"] == sent.body["event_id"]
    assert received["data"]["key"] == "k"
    assert rows[-1]["data"]["output"] == rows[-2]["data"]["output"]


async def test_a_process_that_fails(api: Client, target: Target) -> None:
    definition = define(
        http("call", target.reply("/x", Reply(404)), catch=[{"errors": ["*"], "next": "no"}]),
        transform("no", 1, next="@fail"),
    )
    process = await api.run(definition)
    rows = await api.history(process["id"])
    assert_whole(rows)
    assert types_of(rows) == [
        "process.created",
        "process.started",
        "activity.started call",
        "activity.failed call",
        "activity.started no",
        "activity.completed no",
        "process.failed",
    ]
    assert rows[3]["data"]["error"]["type"] == "http.status.404"
    assert rows[-1]["data"]["error"] == process["error"]


async def test_a_process_that_is_cancelled(api: Client) -> None:
    started = await api.start(define(manual("ask")))
    await api.waiting(started["id"])
    await api.cancel(started["id"], {"reason": "changed our minds"})
    await api.ended(started["id"])
    rows = await api.history(started["id"])
    assert_whole(rows)
    assert types_of(rows)[-2:] == ["activity.failed ask", "process.cancelled"]
    assert rows[-1]["data"]["reason"] == "changed our minds"


async def test_a_process_that_times_out(api: Client) -> None:
    process = await api.run(define(manual("ask"), timeout="60ms"))
    rows = await api.history(process["id"])
    assert_whole(rows)
    assert types_of(rows)[-2:] == ["activity.failed ask", "process.failed"]


async def test_loops_and_limits(api: Client) -> None:
    process = await api.run(define(transform("a", 1), transform("b", 2, next="a", max_visits=30)))
    rows = await api.history(process["id"])
    assert_whole(rows)
    assert len(rows) == 2 + 4 * 30 + 2 + 2 + 1


async def test_it_can_be_read_from_any_place(api: Client) -> None:
    process = await api.run(define(*(transform(f"a{number}", number) for number in range(10))))
    rows = await api.history(process["id"])
    path = f"/processes/{process['id']}/history"
    assert (await api.get(f"{path}?after=20"))["items"] == rows[20:]
    assert (await api.get(f"{path}?after={len(rows)}"))["items"] == []
    assert (await api.get(f"{path}?after=100000"))["items"] == []
    page, seen = await api.get(f"{path}?limit=7"), []
    while True:
        seen += page["items"]
        if page["next_cursor"] is None:
            break
        page = await api.get(f"{path}?limit=7&cursor={page['next_cursor']}")
    assert seen == rows
    for query in ("after=-1", "after=x", "after=1&cursor=aA", "cursor=zzzz"):
        assert_problem(await api.call("GET", f"{path}?{query}"), 400)


async def test_it_only_grows(api: Client) -> None:
    started = await api.start(define(manual("a"), manual("b")))
    await api.waiting(started["id"], "a")
    before = await api.history(started["id"])
    await api.answer(started["id"], "a", {"output": 1})
    await api.waiting(started["id"], "b")
    after = await api.history(started["id"])
    assert after[: len(before)] == before
    assert len(after) > len(before)
    await api.cancel(started["id"])


async def test_it_agrees_with_the_document(api: Client, target: Target) -> None:
    url = target.reply("/x", Reply(500), Reply(200))
    process = await api.run(define(http("call", url, retry=quick(2)), transform("t", 1)))
    rows = await api.history(process["id"])
    for found in process["activities"]:
        mine = [row for row in rows if row["execution_id"] == found["execution_id"]]
        assert mine[0]["at"] == found["started_at"]
        assert mine[-1]["at"] == found["ended_at"]
        assert mine[-1]["attempt"] == found["attempt"]
        assert mine[-1]["to"] == found["state"]
        assert mine[-1]["data"]["output"] == found["output"]
    assert rows[-1]["at"] == process["ended_at"]
    assert rows[-1]["data"]["output"] == process["output"]


def _everywhere(status: int, value: str) -> Reply:
    body = {
        "echo": f"you said Bearer {value}!",
        value: [value, {"deep": [f"<{value}>"]}],
        "message": f"{value}{value}",
    }
    return Reply(status, body, {"X-Echo": f"Bearer {value}", "Location": f"/x?token={value}"})


@pytest.mark.parametrize("status", [200, 404, 503])
async def test_secrets_that_are_echoed_stand_nowhere(
    api: Client, target: Target, dev: Dev, secrets: dict[str, str], status: int
) -> None:
    value = secrets["TOKEN"]
    call = http(
        "call",
        target.reply("/x", _everywhere(status, value)) + "?t=${secrets.TOKEN}",
        "POST",
        request={
            "headers": {"authorization": "Bearer ${secrets.TOKEN}"},
            "query": {"other": "${secrets.OTHER}"},
            "body": {"token": "${secrets.TOKEN}", "text": "a${secrets.OTHER}z"},
        },
        retry=quick(2),
        catch=[{"errors": ["*"], "next": "shape"}],
    )
    definition = define(call, transform("shape", "${activities.call}"))
    process = await api.run(definition)
    assert process["state"] == "COMPLETED"
    asked = await target.received()
    assert asked.json == {"token": value, "text": f"a{secrets['OTHER']}z"}
    assert asked.query == {"t": value, "other": secrets["OTHER"]}
    await _assert_hidden(api, dev, process["id"], [value, secrets["OTHER"]])
    assert "[redacted]" in json.encode(process).decode()


async def test_a_secret_of_digits_that_comes_back_as_a_number_stands_nowhere(
    api: Client, target: Target, dev: Dev, secrets: dict[str, str]
) -> None:
    url = target.reply("/x", Reply(200, {"pin": int(secrets["PIN"]), "pins": [float(secrets["PIN"])]}))
    process = await api.run(define(http("call", url, "POST", request={"text": "${secrets.PIN}"})))
    await _assert_hidden(api, dev, process["id"], [secrets["PIN"]])


async def test_a_secret_is_known_in_every_shape_in_which_it_was_sent(
    api: Client, target: Target, dev: Dev, secrets: dict[str, str]
) -> None:
    odd = secrets["ODD"]
    shapes = [odd, quote(odd), quote(odd, safe=""), quote_plus(odd), json.encode(odd).decode()[1:-1]]
    url = target.reply("/x", Reply(200, {"url": f"/x?t={shapes[2]}", "text": " | ".join(shapes)}))
    process = await api.run(define(http("call", url, request={"query": {"t": "${secrets.ODD}"}})))
    assert (await target.received()).query == {"t": odd}
    assert process["output"]["body"]["url"] == "/x?t=[redacted]"
    await _assert_hidden(api, dev, process["id"], shapes)


@pytest.mark.parametrize("place", ["url", "header", "redirect", "refused", "reset"])
async def test_secrets_stand_in_no_error(
    api: Client, target: Target, dev: Dev, secrets: dict[str, str], place: str
) -> None:
    value = secrets["TOKEN"]
    match place:
        case "url":
            call = http("call", "http://127.0.0.2:9/${secrets.TOKEN}")
        case "header":
            call = http("call", target.url + "/x", request={"headers": {"x": "${secrets.TOKEN + '\\n'}"}})
        case "redirect":
            target.reply("/x", Reply(302, headers={"Location": f"http://127.0.0.2:9/{value}"}))
            call = http("call", target.url + "/x", request={"headers": {"x": "${secrets.TOKEN}"}})
        case "refused":
            call = http("call", target.url + "/x", request={"query": {"x": "${[secrets.TOKEN, {}]}"}})
        case _:
            target.reply("/x", Reply(is_reset=True))
            call = http("call", target.url + "/x", request={"query": {"x": "${secrets.TOKEN}"}})
    process = await api.run(define(call))
    assert process["state"] == "FAILED"
    await _assert_hidden(api, dev, process["id"], [value])


async def _assert_hidden(api: Client, dev: Dev, process_id: str, values: list[str]) -> None:
    seen = [
        json.encode(await api.process(process_id)).decode(),
        json.encode(await api.history(process_id)).decode(),
        json.encode(await api.executions(process_id)).decode(),
        json.encode(await api.get("/processes?limit=500")).decode(),
        dev.log_text(),
    ]
    for value in values:
        for text in seen:
            assert value not in text
