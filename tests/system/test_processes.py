import asyncio
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pytest

from tests.system.client import Client, assert_problem, define, manual, transform, unique, wait

FIELDS = {
    "id", "definition", "key", "state", "version", "paused", "input", "output", "error", "labels", "created_at",
    "started_at", "updated_at", "ended_at", "activities", "waiting_on",
}  # fmt: skip


async def test_starting_answers_with_the_process_and_its_place(api: Client) -> None:
    definition = define(manual("ask"))
    answer = await api.post(
        "/processes", {"definition": definition, "input": {"n": 1}, "key": "k", "labels": {"a": "b"}}
    )
    process = answer.body
    assert answer.status == 201
    assert answer.headers["Location"] == f"/processes/{process['id']}"
    assert answer.headers["ETag"] == f'"{process["version"]}"'
    assert process.keys() == FIELDS
    assert UUID(process["id"])
    assert process["definition"] == {"name": definition["name"], "version": None}
    assert (process["key"], process["labels"], process["input"]) == ("k", {"a": "b"}, {"n": 1})
    assert (process["output"], process["error"], process["ended_at"], process["paused"]) == (None, None, None, False)
    await api.cancel(process["id"])


async def test_wait_holds_the_answer_until_the_end(api: Client) -> None:
    answer = await api.post("/processes?wait=30s", {"definition": define(wait("pause", for_="100ms"))})
    assert answer.status == 200
    assert answer.body["state"] == "COMPLETED"
    assert answer.headers["Location"] == f"/processes/{answer.body['id']}"


async def test_wait_answers_202_when_the_time_is_over(api: Client) -> None:
    answer = await api.post("/processes?wait=50ms", {"definition": define(manual("ask"))})
    assert answer.status == 202
    assert answer.body["state"] in {"CREATED", "IN_PROGRESS", "WAITING"}
    reading = await api.call("GET", f"/processes/{answer.body['id']}?wait=50ms")
    assert reading.status == 200
    await api.cancel(answer.body["id"])


async def test_reading_holds_the_answer_too(api: Client) -> None:
    started = await api.start(define(manual("ask")))
    await api.waiting(started["id"])
    async with asyncio.TaskGroup() as group:
        held = group.create_task(api.ended(started["id"]))
        await api.answer(started["id"], "ask", {"output": 5})
    assert held.result()["output"] == 5


async def test_many_can_wait_for_one(api: Client) -> None:
    started = await api.start(define(manual("ask")))
    await api.waiting(started["id"])
    async with asyncio.TaskGroup() as group:
        held = [group.create_task(api.ended(started["id"])) for _ in range(20)]
        await api.answer(started["id"], "ask", {"output": 5})
    assert [task.result()["output"] for task in held] == [5] * 20


@pytest.mark.parametrize("text", ["61s", "2m", "-1s", "x", "", "1e3", "NaN"])
async def test_a_wait_that_cannot_be_is_malformed(api: Client, text: str) -> None:
    started = await api.start(define(transform("a", 1)))
    assert_problem(await api.call("GET", f"/processes/{started['id']}?wait={text}"), 400)
    assert_problem(await api.post(f"/processes?wait={text}", {"definition": define(transform("a", 1))}), 400)


async def test_the_version_grows_by_one_per_commit_and_is_the_etag(api: Client) -> None:
    started = await api.start(define(manual("first"), manual("second")))
    versions = []
    for activity in ("first", "second"):
        await api.waiting(started["id"], activity)
        answer = await api.call("GET", f"/processes/{started['id']}")
        assert answer.headers["ETag"] == f'"{answer.body["version"]}"'
        versions.append(answer.body["version"])
        await api.answer(started["id"], activity, {})
    versions.append((await api.ended(started["id"]))["version"])
    assert versions == [versions[0], versions[0] + 1, versions[0] + 2]


async def test_if_match_guards_commands(api: Client) -> None:
    started = await api.start(define(manual("first"), manual("second")))
    process = await api.waiting(started["id"], "first")
    stale, current = f'"{process["version"] - 1}"', f'"{process["version"]}"'
    process_id = started["id"]
    assert_problem(await api.answer(process_id, "first", {}, **{"If-Match": stale}), 412)
    assert_problem(await api.cancel(process_id, **{"If-Match": stale}), 412)
    assert_problem(await api.cancel(process_id, **{"If-Match": 'W/"1"'}), 412)
    assert_problem(await api.cancel(process_id, **{"If-Match": "yesterday"}), 400)
    assert (await api.process(process_id))["version"] == process["version"]
    assert (await api.answer(process_id, "first", {}, **{"If-Match": current})).status == 202
    await api.waiting(process_id, "second")
    assert_problem(await api.answer(process_id, "second", {}, **{"If-Match": current}), 412)
    assert (await api.cancel(process_id, **{"If-Match": "*"})).status == 202
    assert (await api.ended(process_id))["state"] == "CANCELLED"


async def _listed(api: Client, query: str) -> list[str]:
    return [found["id"] for found in (await api.get(f"/processes?{query}"))["items"]]


async def test_the_list_is_newest_first_and_filtered(api: Client) -> None:
    definition = define(manual("ask"))
    name = definition["name"]
    await api.publish(definition)
    key = unique("key")
    first = await api.start(name, None, key=key, labels={"team": "a", "env": "x y"})
    second = await api.start(name, None, key=key, labels={"team": "b"})
    third = await api.start(definition, None)
    ids = [first["id"], second["id"], third["id"]]
    assert await _listed(api, f"definition={name}") == ids[::-1]
    assert await _listed(api, f"definition={name}@1") == [ids[1], ids[0]]
    assert await _listed(api, f"definition={name}@2") == []
    assert await _listed(api, f"key={key}") == [ids[1], ids[0]]
    assert await _listed(api, f"definition={name}&label=team:a") == [ids[0]]
    assert await _listed(api, f"definition={name}&label=env:x%20y") == [ids[0]]
    assert await _listed(api, f"definition={name}&label=team:c") == []
    for process_id in ids:
        await api.waiting(process_id)
    await api.cancel(ids[0])
    await api.ended(ids[0])
    assert await _listed(api, f"definition={name}&state=CANCELLED") == [ids[0]]
    assert await _listed(api, f"definition={name}&state=WAITING") == [ids[2], ids[1]]
    assert await _listed(api, f"definition={name}&state=COMPLETED") == []
    for process_id in ids[1:]:
        await api.cancel(process_id)


async def test_the_list_is_bounded_by_times(api: Client) -> None:
    definition = define(transform("a", 1))
    started = [await api.run(definition) for _ in range(3)]
    name, middle = definition["name"], quote(started[1]["created_at"])
    ids = [process["id"] for process in started]
    # Ranges that meet can be put end to end: the first moment belongs to them, the last one does not.
    assert await _listed(api, f"definition={name}&created_after={middle}") == [ids[2], ids[1]]
    assert await _listed(api, f"definition={name}&created_before={middle}") == [ids[0]]
    both = f"created_after={quote(started[0]['created_at'])}&created_before={middle}"
    assert await _listed(api, f"definition={name}&{both}") == [ids[0]]
    shifted = (datetime.fromisoformat(started[1]["created_at"]) + timedelta(days=1)).isoformat()
    assert await _listed(api, f"definition={name}&created_after={quote(shifted)}") == []


async def test_the_list_pages_by_cursor(api: Client) -> None:
    definition = define(transform("a", 1))
    started = [(await api.run(definition))["id"] for _ in range(5)]
    query, seen = f"definition={definition['name']}&limit=2", []
    cursor: Any = ""
    sizes = []
    while cursor is not None:
        page = await api.get(f"/processes?{query}{cursor and f'&cursor={cursor}'}")
        seen += [found["id"] for found in page["items"]]
        sizes.append(len(page["items"]))
        cursor = page["next_cursor"]
        assert cursor is None or set(cursor) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
    assert seen == started[::-1]
    assert sizes == [2, 2, 1]


async def test_a_page_does_not_shift_when_processes_are_added(api: Client) -> None:
    definition = define(transform("a", 1))
    started = [(await api.run(definition))["id"] for _ in range(4)]
    page = await api.get(f"/processes?definition={definition['name']}&limit=2")
    await api.run(definition)
    rest = await api.get(f"/processes?definition={definition['name']}&limit=10&cursor={page['next_cursor']}")
    assert [found["id"] for found in page["items"] + rest["items"]] == started[::-1]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0", "limit=x", "limit=100000", "cursor=!!", "cursor=abc", "state=DONE", "label=nocolon", "label=:x",
        "created_after=yesterday", "nonsense=1", "state=FAILED&state=FAILED", "definition=NoName", "definition=a@b",
        "key=%00",
    ],
)  # fmt: skip
async def test_a_query_that_cannot_be_read_is_malformed(api: Client, query: str) -> None:
    assert_problem(await api.call("GET", f"/processes?{query}"), 400)


async def test_a_cursor_belongs_to_its_list(api: Client) -> None:
    for number in range(2):
        await api.publish({"name": unique("cursor"), "activities": [transform("a", number)]})
    cursor = (await api.get("/definitions?limit=1"))["next_cursor"]
    assert_problem(await api.call("GET", f"/processes?cursor={cursor}"), 400)


async def test_activities_are_listed_with_all_their_visits(api: Client) -> None:
    process = await api.run(define(transform("a", 1), transform("b", 2, next="a", max_visits=2)))
    path = f"/processes/{process['id']}/activities"
    executions = await api.executions(process["id"])
    assert [(found["id"], found["visit"]) for found in executions] == [
        ("a", 1), ("b", 1), ("a", 2), ("b", 2), ("a", 3), ("b", 3),
    ]  # fmt: skip
    assert set(executions[0]) >= {
        "id", "type", "state", "visit", "attempt", "execution_id", "started_at", "ended_at", "output", "error",
    }  # fmt: skip
    first = await api.get(f"{path}?limit=4")
    rest = await api.get(f"{path}?limit=4&cursor={first['next_cursor']}")
    assert first["items"] + rest["items"] == executions
    assert rest["next_cursor"] is None


async def test_the_document_shows_the_latest_visit_only(api: Client) -> None:
    process = await api.run(define(transform("a", 1), transform("b", 2, next="a", max_visits=2)))
    assert [(found["id"], found["visit"]) for found in process["activities"]] == [("a", 3), ("b", 3)]


async def test_times_are_utc_and_in_order(api: Client) -> None:
    process = await api.run(define(wait("pause", for_="20ms"), transform("a", 1)))
    times = [process[name] for name in ("created_at", "started_at", "ended_at")]
    assert all(text.endswith("Z") for text in times)
    assert sorted(times, key=datetime.fromisoformat) == times
    assert process["updated_at"] == process["ended_at"]


async def test_a_key_is_a_handle_and_not_unique(api: Client) -> None:
    definition = define(transform("a", "${process.key}"))
    assert (await api.run(definition, key="same"))["output"] == "same"
    assert (await api.run(definition, key="same"))["output"] == "same"
