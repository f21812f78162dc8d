"""Many at once, and several who want the same."""

import asyncio
from typing import Any

import pytest

from tests.system.client import Answer, Client, define, http, manual, transform, unique, wait
from tests.system.target import Reply, Target


async def _together(*calls: Any) -> list[Any]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(call) for call in calls]
    return [task.result() for task in tasks]


async def test_many_processes_at_once(api: Client, target: Target) -> None:
    url = target.reply("/x", Reply(200, {"n": 1}))
    definition = define(
        http("call", url + "/${input}", "POST"),
        wait("pause", for_="10ms"),
        transform("shape", "${input * 2}"),
    )
    await api.publish(definition)
    ended = await _together(*(api.run(definition["name"], number) for number in range(100)))
    assert [process["output"] for process in ended] == [number * 2 for number in range(100)]
    assert len(target.requests) == 100
    assert len(set(target.keys())) == 100
    assert sorted(asked.path for asked in target.requests) == sorted(f"/x/{number}" for number in range(100))
    assert len({process["id"] for process in ended}) == 100


async def test_one_of_many_answers_counts(api: Client) -> None:
    started = await api.start(define(manual("ask")))
    await api.waiting(started["id"])
    answers: list[Answer] = await _together(
        *(api.answer(started["id"], "ask", {"output": number}, key=unique()) for number in range(10))
    )
    assert sorted(answer.status for answer in answers) == [202] + [409] * 9
    accepted = next(number for number, answer in enumerate(answers) if answer.status == 202)
    assert (await api.ended(started["id"]))["output"] == accepted


async def test_one_of_many_cancellations_counts(api: Client) -> None:
    started = await api.start(define(manual("ask")))
    await api.waiting(started["id"])
    answers = await _together(*(api.cancel(started["id"]) for _ in range(10)))
    assert sorted(answer.status for answer in answers) == [202] + [409] * 9
    assert (await api.ended(started["id"]))["state"] == "CANCELLED"


@pytest.mark.parametrize("round_", range(5))
async def test_an_answer_and_a_cancellation_meet(api: Client, round_: int) -> None:
    started = await api.start(define(manual("ask")))
    await api.waiting(started["id"])
    answered, cancelled = await _together(api.answer(started["id"], "ask", {"output": 1}), api.cancel(started["id"]))
    process = await api.ended(started["id"])
    if process["state"] == "COMPLETED":
        assert answered.status == 202
    else:
        assert (process["state"], cancelled.status) == ("CANCELLED", 202)
    rows = await api.history(started["id"])
    ends = [row for row in rows if row["type"] in {"activity.completed", "activity.failed"}]
    assert len(ends) == 1
    assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))


async def test_events_and_waits_that_meet_do_not_miss_each_other(api: Client) -> None:
    kind = unique("e")

    async def meet(number: int) -> dict[str, Any]:
        definition = define(wait("w", event={"type": kind, "key": "${input}"}))
        started, answer = await _together(
            api.start(definition, str(number)), api.post("/events", {"type": kind, "key": str(number), "data": number})
        )
        assert answer.status == 202
        return await api.ended(started["id"])

    ended = await _together(*(meet(number) for number in range(40)))
    assert [process["output"] for process in ended] == list(range(40))


async def test_an_event_with_one_taker_is_taken_once(api: Client) -> None:
    kind = unique("e")
    await api.post("/events", {"type": kind, "data": "one"})
    definition = define(wait("w", event={"type": kind}, timeout="2s"))
    ended = await _together(*(api.run(definition) for _ in range(8)))
    assert sorted(process["state"] for process in ended) == ["COMPLETED"] + ["FAILED"] * 7


async def test_publishing_at_once_makes_each_version_once(api: Client) -> None:
    name = unique()
    contents = [{"name": name, "activities": [transform("a", number)]} for number in range(6)] * 2
    answers = await _together(*(api.publish(content) for content in contents))
    assert sorted(answer.status for answer in answers) == [200] * 6 + [201] * 6
    by_content = {(answer.body["definition"]["activities"][0]["output"], answer.body["version"]) for answer in answers}
    assert sorted(version for _, version in by_content) == [1, 2, 3, 4, 5, 6]
    assert len((await api.get(f"/definitions/{name}/versions"))["items"]) == 6
