import asyncio
from typing import Any

import pytest

from tests.system.client import Client, assert_problem, define, manual, transform, unique, wait

REPLAYED = "Idempotency-Replayed"


async def test_the_same_start_makes_one_process(api: Client) -> None:
    definition, key = define(manual("ask")), unique("key")
    body = {"definition": definition, "input": {"n": 1}}
    first = await api.post("/processes", body, key=key)
    await api.waiting(first.body["id"])
    second = await api.post("/processes", body, key=key)
    assert (first.status, second.status) == (201, 201)
    assert REPLAYED not in first.headers
    assert second.headers[REPLAYED] == "true"
    assert second.body["id"] == first.body["id"]
    assert second.headers["Location"] == first.headers["Location"]
    # The resource as it is now, not as it was.
    assert second.body["state"] == "WAITING"
    assert len((await api.get(f"/processes?definition={definition['name']}"))["items"]) == 1
    await api.cancel(first.body["id"])
    await api.ended(first.body["id"])
    third = await api.post("/processes", body, key=key)
    assert (third.status, third.body["state"]) == (201, "CANCELLED")


async def test_starts_at_the_same_time_make_one_process(api: Client) -> None:
    body = {"definition": define(transform("a", 1))}
    key = unique("key")
    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(api.post("/processes", body, key=key)) for _ in range(12)]
    answers = [call.result() for call in calls]
    assert {answer.status for answer in answers} == {201}
    assert len({answer.body["id"] for answer in answers}) == 1
    assert sum(REPLAYED not in answer.headers for answer in answers) == 1


@pytest.mark.parametrize("changed", [{"input": 2}, {"key": "other"}, {"labels": {"a": "b"}}, {"definition": "other"}])
async def test_the_same_key_with_another_body_is_refused(api: Client, changed: dict[str, Any]) -> None:
    definition = define(manual("ask"))
    await api.publish(definition)
    key = unique("key")
    body = {"definition": definition["name"], "input": 1}
    first = await api.post("/processes", body, key=key)
    if "definition" in changed:
        other = define(manual("ask"))
        await api.publish(other)
        changed = {"definition": other["name"]}
    answer = await api.post("/processes", {**body, **changed}, key=key)
    problem = assert_problem(answer, 422)
    assert problem["type"].endswith("idempotency-key-reused")
    assert (await api.process(first.body["id"]))["input"] == 1
    await api.cancel(first.body["id"])


async def test_a_repeat_is_answered_although_a_later_version_would_refuse_its_input(api: Client) -> None:
    definition, key = define(manual("ask")), unique("key")
    await api.publish(definition)
    body = {"definition": definition["name"], "input": {"n": 1}}
    first = await api.post("/processes", body, key=key)
    await api.publish({**definition, "input": {"type": "object", "required": ["sku"]}})

    again = await api.post("/processes", body, key=key)

    assert (again.status, again.body["id"], again.headers[REPLAYED]) == (201, first.body["id"], "true")
    assert_problem(await api.post("/processes", body, key=unique("key")), 422)
    await api.cancel(first.body["id"])


async def test_the_order_of_keys_is_no_other_body(api: Client) -> None:
    definition, key = define(transform("a", 1)), unique("key")
    first = await api.post("/processes", {"definition": definition, "input": {"a": 1, "b": 2}}, key=key)
    second = await api.post("/processes", {"input": {"b": 2, "a": 1}, "definition": definition}, key=key)
    assert second.body["id"] == first.body["id"]


async def test_a_refused_call_does_not_use_up_its_key(api: Client) -> None:
    key = unique("key")
    assert_problem(await api.post("/processes", {"definition": unique()}, key=key), 404)
    assert (await api.post("/processes", {"definition": define(transform("a", 1))}, key=key)).status == 201


async def test_a_key_is_scoped_to_its_path(api: Client) -> None:
    key = unique("key")
    definition = define(manual("ask"))
    started = await api.post("/processes", {"definition": definition}, key=key)
    process_id = started.body["id"]
    await api.waiting(process_id)
    assert (await api.post("/events", {"type": unique("e")}, key=key)).status == 202
    assert (
        await api.call("PUT", f"/definitions/{definition['name']}", definition, headers={"Idempotency-Key": key})
    ).status == 201
    answered = await api.answer(process_id, "ask", {"output": 1}, key=key)
    assert answered.status == 202
    assert REPLAYED not in answered.headers


async def test_a_repeated_answer_is_replayed(api: Client) -> None:
    started = await api.start(define(manual("ask"), manual("more")))
    await api.waiting(started["id"], "ask")
    key, path_body = unique("key"), {"output": {"n": 1}}
    first = await api.answer(started["id"], "ask", path_body, key=key)
    second = await api.answer(started["id"], "ask", path_body, key=key)
    assert (first.status, second.status) == (202, 202)
    assert second.headers[REPLAYED] == "true"
    assert_problem(await api.answer(started["id"], "ask", {"output": {"n": 2}}, key=key), 422)
    assert_problem(await api.answer(started["id"], "ask", path_body, key=unique("key")), 409)
    await api.waiting(started["id"], "more")
    third = await api.answer(started["id"], "ask", path_body, key=key)
    assert (third.status, third.headers[REPLAYED]) == (202, "true")
    await api.cancel(started["id"])
    ended = await api.ended(started["id"])
    assert ended["activities"][0]["output"] == {"n": 1}
    late = await api.answer(started["id"], "ask", path_body, key=key)
    assert (late.status, late.headers[REPLAYED]) == (202, "true")


async def test_a_replay_does_not_answer_the_next_visit(api: Client) -> None:
    definition = define(
        manual("ask"),
        {
            "id": "enough",
            "type": "decision",
            "cases": [{"when": "activities.ask.output == 'enough'", "next": "@end"}],
            "otherwise": "ask",
        },
    )
    started = await api.start(definition)
    key = unique("key")
    await api.waiting(started["id"], "ask")
    assert (await api.answer(started["id"], "ask", {"output": "more"}, key=key)).status == 202
    await api.until(
        started["id"],
        lambda process: any(found["visit"] == 2 for found in process["activities"]) and process["state"] == "WAITING",
    )
    replay = await api.answer(started["id"], "ask", {"output": "more"}, key=key)
    assert replay.headers.get(REPLAYED) == "true"
    process = await api.waiting(started["id"])
    assert next(found for found in process["activities"] if found["id"] == "ask")["visit"] == 2
    assert (await api.answer(started["id"], "ask", {"output": "enough"}, key=unique("key"))).status == 202
    assert len([found for found in await api.executions(started["id"]) if found["id"] == "ask"]) == 2


async def test_a_repeated_cancel_is_replayed(api: Client) -> None:
    started = await api.start(define(manual("ask")))
    await api.waiting(started["id"])
    key = unique("key")
    assert (await api.cancel(started["id"], {"reason": "x"}, key=key)).status == 202
    await api.ended(started["id"])
    again = await api.cancel(started["id"], {"reason": "x"}, key=key)
    assert (again.status, again.headers[REPLAYED], again.body["state"]) == (202, "true", "CANCELLED")
    assert_problem(await api.cancel(started["id"], {"reason": "y"}, key=key), 422)
    assert_problem(await api.cancel(started["id"], {"reason": "x"}), 409)


async def test_a_repeated_publication_is_replayed(api: Client) -> None:
    first, key = define(transform("a", 1)), unique("key")
    path, headers = f"/definitions/{first['name']}", {"Idempotency-Key": key}
    answer = await api.call("PUT", path, first, headers=headers)
    await api.publish({**first, "description": "later"})
    again = await api.call("PUT", path, first, headers=headers)
    assert (answer.status, again.status) == (201, 201)
    assert again.headers[REPLAYED] == "true"
    assert again.body == answer.body
    assert_problem(await api.call("PUT", path, {**first, "description": "other"}, headers=headers), 422)
    assert len((await api.get(f"{path}/versions"))["items"]) == 2


async def test_a_repeated_event_is_replayed(api: Client) -> None:
    kind, key = unique("e"), unique("key")
    body = {"type": kind, "data": 1}
    first = await api.post("/events", body, key=key)
    again = await api.post("/events", body, key=key)
    assert (first.status, again.status, again.headers[REPLAYED]) == (202, 202, "true")
    assert again.body["event_id"] == first.body["event_id"]
    assert_problem(await api.post("/events", {**body, "data": 2}, key=key), 422)
    assert (await api.run(define(wait("w", event={"type": kind}))))["output"] == 1
    second = await api.start(define(wait("w", event={"type": kind})))
    await api.waiting(second["id"])
    await api.cancel(second["id"])


@pytest.mark.parametrize("key", ["", "x" * 256, "käse"])
async def test_a_key_that_cannot_be_is_malformed(api: Client, key: str) -> None:
    assert_problem(await api.post("/processes", {"definition": define(transform("a", 1))}, key=key), 400)
