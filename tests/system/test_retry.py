import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.system.client import Client, activity_of, define, http, quick, transform
from tests.system.target import Reply, Target


def _retries(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["type"] == "activity.retry_scheduled"]


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
async def test_these_statuses_are_tried_again(api: Client, target: Target, status: int) -> None:
    url = target.reply("/x", Reply(status), Reply(200, {"ok": True}))
    process = await api.run(define(http("call", url, retry=quick(2))))
    assert process["state"] == "COMPLETED"
    assert activity_of(process, "call")["attempt"] == 2
    assert len(target.requests) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 422])
async def test_these_statuses_are_final(api: Client, target: Target, status: int) -> None:
    process = await api.run(define(http("call", target.reply("/x", Reply(status)), retry=quick(5))))
    assert process["error"]["type"] == f"http.status.{status}"
    assert process["error"]["attempt"] == 1
    assert len(target.requests) == 1


async def test_the_error_is_that_of_the_last_attempt(api: Client, target: Target) -> None:
    url = target.reply("/x", Reply(500), Reply(502), Reply(503, {"last": True}))
    process = await api.run(define(http("call", url, retry=quick(3))))
    assert process["error"]["type"] == "http.status.503"
    assert process["error"]["attempt"] == 3
    assert process["error"]["details"]["body"] == {"last": True}
    assert len(target.requests) == 3


async def test_a_definite_failure_changes_the_idempotency_key(api: Client, target: Target) -> None:
    url = target.reply("/x", Reply(503), Reply(429), Reply(200))
    await api.run(define(http("call", url, "POST", retry=quick(3))))
    assert len(set(target.keys())) == 3


async def test_an_unknown_outcome_keeps_it_for_the_rest_of_the_visit(api: Client, target: Target) -> None:
    url = target.reply("/x", Reply(503), Reply(is_reset=True), Reply(503), Reply(409), Reply(200))
    policy = quick(5, on=["http.status.409"])
    await api.run(define(http("call", url, "POST", retry=policy)))
    first, *others = target.keys()
    assert len(others) == 4
    assert len(set(others)) == 1
    assert first not in others


async def test_a_timeout_is_an_unknown_outcome(api: Client, target: Target) -> None:
    url = target.reply("/x", Reply(gate=asyncio.Event()), Reply(200))
    process = await api.run(define(http("call", url, "POST", timeout="500ms", retry=quick(2))))
    assert process["state"] == "COMPLETED"
    assert len(target.keys()) == 2
    assert len(set(target.keys())) == 1


async def test_every_visit_has_another_key(api: Client, target: Target) -> None:
    definition = define(
        http("call", target.url + "/x", "POST"),
        {
            "id": "again",
            "type": "decision",
            "cases": [{"when": "size(activities.call.output.headers) < 0", "next": "@end"}],
            "otherwise": "call",
        },
    )
    definition["activities"][0]["max_visits"] = 3
    process = await api.run(definition)
    assert process["error"]["type"] == "limit.visits"
    assert len(set(target.keys())) == 3


async def test_activities_and_processes_do_not_share_keys(api: Client, target: Target) -> None:
    definition = define(http("a", target.url + "/a", "POST"), http("b", target.url + "/b", "POST"))
    await api.run(definition)
    await api.run(definition)
    assert len(set(target.keys())) == 4


async def test_backoff_grows_and_is_capped(api: Client, target: Target) -> None:
    url = target.reply("/x", Reply(500))
    policy = {"max_attempts": 5, "initial": "20ms", "factor": 3.0, "max": "100ms", "jitter": "none"}
    process = await api.run(define(http("call", url, retry=policy)))
    rows = _retries(await api.history(process["id"]))
    planned = [
        datetime.fromisoformat(row["data"]["next_attempt_at"]) - datetime.fromisoformat(row["at"]) for row in rows
    ]
    assert planned == [timedelta(milliseconds=number) for number in (20, 60, 100, 100)]
    assert [row["attempt"] for row in rows] == [1, 2, 3, 4]
    assert {row["data"]["error"]["type"] for row in rows} == {"http.status.500"}
    assert {(row["from"], row["to"]) for row in rows} == {("RUNNING", "PENDING")}


async def test_full_jitter_stays_below_the_backoff(api: Client, target: Target) -> None:
    url = target.reply("/x", Reply(500))
    policy = {"max_attempts": 4, "initial": "80ms", "factor": 1.0}
    process = await api.run(define(http("call", url, retry=policy)))
    for row in _retries(await api.history(process["id"])):
        planned = datetime.fromisoformat(row["data"]["next_attempt_at"]) - datetime.fromisoformat(row["at"])
        assert timedelta() <= planned <= timedelta(milliseconds=80)


async def test_retry_after_wins(api: Client, target: Target) -> None:
    url = target.reply("/x", Reply(503, headers={"Retry-After": "0"}), Reply(200))
    policy = {"max_attempts": 2, "initial": "1h", "max": "2h", "jitter": "none"}
    assert (await api.run(define(http("call", url, retry=policy))))["state"] == "COMPLETED"
    slow = target.reply("/y", Reply(429, headers={"Retry-After": "3600"}))
    started = await api.start(define(http("call", slow, retry=quick(2))))
    process = await api.until(started["id"], lambda found: "PENDING" in {a["state"] for a in found["activities"]})
    call = activity_of(process, "call")
    due = datetime.fromisoformat(call["next_attempt_at"]) - datetime.fromisoformat(process["updated_at"])
    assert timedelta(seconds=3590) < due <= timedelta(hours=1)
    assert process["state"] == "IN_PROGRESS"
    await api.cancel(started["id"])
    ended = await api.ended(started["id"])
    assert activity_of(ended, "call")["error"]["type"] == "cancelled"


async def test_on_adds_and_never_takes_away(api: Client, target: Target) -> None:
    url = target.reply("/x", Reply(404), Reply(200))
    assert (await api.run(define(http("call", url, retry=quick(2, on=["http.status.4*"])))))["state"] == "COMPLETED"
    other = target.reply("/y", Reply(503))
    process = await api.run(define(http("call", other, retry=quick(3, never=["http.status.5*"]))))
    assert process["error"]["attempt"] == 1


async def test_without_a_policy_there_are_three_attempts(api: Client, target: Target) -> None:
    activity = http("call", target.reply("/x", Reply(503, headers={"Retry-After": "0"})))
    del activity["retry"]
    process = await api.run(define(activity))
    assert process["error"]["attempt"] == 3
    assert len(target.requests) == 3


async def test_catch_comes_after_the_retries(api: Client, target: Target) -> None:
    activity = http(
        "call",
        target.reply("/x", Reply(503)),
        retry=quick(3),
        catch=[{"errors": ["http.status.4*"], "next": "wrong"}, {"errors": ["http.*"], "next": "right"}],
    )
    definition = define(
        activity,
        transform("wrong", 0, next="@end"),
        transform("right", "${activities.call.error.attempt}"),
    )
    process = await api.run(definition)
    assert (process["state"], process["output"]) == ("COMPLETED", 3)
    assert activity_of(process, "call")["state"] == "FAILED"
    assert len(target.requests) == 3


async def test_each_attempt_starts_and_only_the_last_one_ends(api: Client, target: Target) -> None:
    process = await api.run(
        define(http("call", target.reply("/x", Reply(500), Reply(500), Reply(200)), retry=quick(3)))
    )
    rows = [row for row in await api.history(process["id"]) if row["activity"] == "call"]
    assert [(row["type"].partition(".")[2], row["attempt"]) for row in rows] == [
        ("started", 1),
        ("retry_scheduled", 1),
        ("started", 2),
        ("retry_scheduled", 2),
        ("started", 3),
        ("completed", 3),
    ]
    assert len({row["execution_id"] for row in rows}) == 1


async def test_retry_after_timeout_waits_for_the_old_call(api: Client, target: Target) -> None:
    url = target.reply("/x", Reply(is_reset=True), Reply(200))
    activity = http("call", url, "POST", timeout="700ms", on_unknown="retry_after_timeout", retry=quick(2))
    process = await api.run(define(activity))
    started = [row for row in await api.history(process["id"]) if row["type"] == "activity.started"]
    times = [datetime.fromisoformat(row["at"]) for row in started]
    assert times[1] - times[0] >= timedelta(milliseconds=700)
    assert len(set(target.keys())) == 1
