import asyncio
from typing import Any

from tests.system.client import (
    Client,
    activity_of,
    assert_problem,
    define,
    http,
    manual,
    quick,
    transform,
    unique,
    wait,
)
from tests.system.target import Reply, Target


async def test_open_activities_fail_as_cancelled(api: Client) -> None:
    started = await api.start(define(transform("a", 1), manual("ask")))
    await api.waiting(started["id"], "ask")
    answer = await api.cancel(started["id"], {"reason": "changed our minds"})
    assert answer.status == 202
    assert answer.headers["ETag"]
    process = await api.ended(started["id"])
    assert process["state"] == "CANCELLED"
    assert process["waiting_on"] == []
    assert activity_of(process, "a")["state"] == "COMPLETED"
    ask = activity_of(process, "ask")
    assert (ask["state"], ask["error"]["type"]) == ("FAILED", "cancelled")


async def test_a_call_in_flight_is_aborted_and_its_result_ignored(api: Client, target: Target) -> None:
    gate = asyncio.Event()
    url = target.reply("/x", Reply(200, {"late": True}, gate=gate))
    started = await api.start(define(http("call", url, "POST", retry=quick(5)), transform("after", 1)))
    await target.received()
    await api.cancel(started["id"])
    process = await api.ended(started["id"])
    async with asyncio.timeout(10):
        await target.broken_off.wait()
    gate.set()
    assert process["state"] == "CANCELLED"
    assert activity_of(process, "call")["error"]["type"] == "cancelled"
    assert await api.process(started["id"]) == process
    assert len(target.requests) == 1


async def test_nothing_catches_a_cancellation(api: Client) -> None:
    definition = define(manual("ask", catch=[{"errors": ["*"], "next": "caught"}]), transform("caught", 1))
    started = await api.start(definition)
    await api.waiting(started["id"])
    await api.cancel(started["id"])
    process = await api.ended(started["id"])
    assert process["state"] == "CANCELLED"
    assert [found["id"] for found in process["activities"]] == ["ask"]


async def test_a_wait_is_cancelled_with_its_timer(api: Client) -> None:
    started = await api.start(define(wait("pause", for_="700ms"), manual("after")))
    await api.waiting(started["id"], "pause")
    await api.cancel(started["id"])
    process = await api.ended(started["id"])
    other = await api.run(define(wait("pause", for_="800ms")))
    assert other["state"] == "COMPLETED"
    assert await api.process(started["id"]) == process


async def test_a_retry_that_is_due_later_is_cancelled(api: Client, target: Target) -> None:
    policy = {"max_attempts": 2, "initial": "1h", "max": "1h", "jitter": "none"}
    started = await api.start(define(http("call", target.reply("/x", Reply(503)), retry=policy)))
    await api.until(started["id"], lambda found: "PENDING" in {a["state"] for a in found["activities"]})
    await api.cancel(started["id"])
    process = await api.ended(started["id"])
    assert activity_of(process, "call")["state"] == "FAILED"
    assert activity_of(process, "call")["error"]["type"] == "cancelled"


async def test_it_is_cancelled_once(api: Client) -> None:
    started = await api.start(define(manual("ask")))
    await api.waiting(started["id"])
    assert (await api.cancel(started["id"])).status == 202
    assert_problem(await api.cancel(started["id"]), 409)
    await api.ended(started["id"])
    assert_problem(await api.cancel(started["id"]), 409)


async def test_what_has_ended_cannot_be_cancelled(api: Client) -> None:
    for definition in (define(transform("a", 1)), define(transform("a", 1, next="@fail"))):
        process = await api.run(definition)
        assert_problem(await api.cancel(process["id"]), 409)
        assert (await api.process(process["id"]))["state"] == process["state"]


async def test_what_is_not_there_cannot_be_cancelled(api: Client) -> None:
    for process_id in ("01920000-0000-7000-8000-000000000000", "x", "0"):
        assert_problem(await api.cancel(process_id), 404)


async def test_an_event_after_a_cancellation_finds_nobody(api: Client) -> None:
    kind = unique("e")
    started = await api.start(define(wait("w", event={"type": kind})))
    await api.waiting(started["id"])
    await api.cancel(started["id"])
    await api.ended(started["id"])
    assert (await api.post("/events", {"type": kind})).body["delivered"] == 0


async def test_cancelling_right_after_the_start(api: Client) -> None:
    for _ in range(10):
        started = await api.start(define(wait("pause", for_="1h")))
        assert (await api.cancel(started["id"])).status == 202
        assert (await api.ended(started["id"]))["state"] == "CANCELLED"


async def test_a_reason_of_another_shape_is_refused(api: Client) -> None:
    started = await api.start(define(manual("ask")))
    bodies: list[Any] = [{"reason": 1}, {"because": "x"}, [], {"reason": "x" * 1001}]
    for body in bodies:
        assert_problem(await api.cancel(started["id"], body), 422)
    assert (await api.cancel(started["id"], {"reason": None})).status == 202
