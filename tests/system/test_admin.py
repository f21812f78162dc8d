import asyncio
from typing import Any
from uuid import UUID

from tests.system.client import ROUND, ROUNDS_MAX, Client, assert_problem, define, http, manual, quick, transform
from tests.system.target import Reply, Target


async def test_the_node_is_listed(api: Client) -> None:
    page = await api.get("/admin/nodes")
    assert page["next_cursor"] is None
    node = next(found for found in page["items"] if found["state"] == "alive")
    assert UUID(node["id"])
    assert node["node"]
    assert node["lease_ok"] is True
    assert isinstance(node["live_actors"], int)
    assert len(page["items"]) == 1


async def test_a_live_actor_is_shown(api: Client) -> None:
    definition = define(manual("ask"))
    await api.publish(definition)
    started = await api.start(definition["name"], key="k")
    process = await api.waiting(started["id"])
    actor = await api.get(f"/admin/actors/{started['id']}")
    assert actor["process_id"] == started["id"]
    assert actor["definition"] == {"name": definition["name"], "version": 1}
    assert (actor["key"], actor["state"], actor["version"]) == ("k", "WAITING", process["version"])
    assert actor["current_activities"] == ["ask"]
    assert (actor["mailbox_depth"], actor["children_in_flight"]) == (0, 0)
    assert actor["epoch"] == 1
    assert actor["last_commit_at"]
    node = (await api.get("/admin/nodes"))["items"][0]
    assert (actor["node"], actor["session"]) == (node["node"], node["id"])
    await api.cancel(started["id"])
    await api.ended(started["id"])


async def test_an_actor_that_calls_has_a_child(api: Client, target: Target) -> None:
    gate = asyncio.Event()
    started = await api.start(define(http("call", target.reply("/x", Reply(gate=gate)))))
    await target.received()
    actor = await api.get(f"/admin/actors/{started['id']}")
    assert (actor["state"], actor["children_in_flight"]) == ("IN_PROGRESS", 1)
    gate.set()
    assert (await api.ended(started["id"]))["state"] == "COMPLETED"


async def test_actors_are_filtered_and_paged(api: Client) -> None:
    definition = define(manual("ask"))
    await api.publish(definition)
    started = [(await api.start(definition["name"]))["id"] for _ in range(3)]
    for process_id in started:
        await api.waiting(process_id)
    query = f"definition={definition['name']}"
    assert {actor["process_id"] for actor in (await api.get(f"/admin/actors?{query}"))["items"]} == set(started)
    assert (await api.get(f"/admin/actors?{query}&state=WAITING&limit=500"))["next_cursor"] is None
    assert (await api.get(f"/admin/actors?{query}&state=IN_PROGRESS"))["items"] == []
    assert (await api.get(f"/admin/actors?{query}&node=elsewhere"))["items"] == []
    node = (await api.get("/admin/nodes"))["items"][0]
    assert len((await api.get(f"/admin/actors?{query}&node={node['id']}"))["items"]) == 3
    first = await api.get(f"/admin/actors?{query}&limit=2")
    rest = await api.get(f"/admin/actors?{query}&limit=2&cursor={first['next_cursor']}")
    assert {actor["process_id"] for actor in first["items"] + rest["items"]} == set(started)
    assert (len(first["items"]), len(rest["items"]), rest["next_cursor"]) == (2, 1, None)
    for process_id in started:
        await api.cancel(process_id)
        await api.ended(process_id)


async def test_what_has_ended_has_no_actor(api: Client) -> None:
    process = await api.run(define(transform("a", 1)))
    assert_problem(await api.call("GET", f"/admin/actors/{process['id']}"), 404)
    assert_problem(await api.call("GET", "/admin/actors/nobody"), 404)
    assert_problem(await api.call("GET", "/admin/actors?state=DONE"), 400)


async def test_requests_are_counted_by_host(api: Client, target: Target) -> None:
    waiting = await api.start(define(manual("ask")))
    await api.run(define(http("call", target.reply("/x", Reply(503), Reply(200)), retry=quick(2))))
    host = f"127.0.0.1:{target.port}"
    found: list[Any] = []
    for _ in range(ROUNDS_MAX):
        found = [one for one in (await api.get("/admin/targets"))["items"] if one["host"] == host]
        if found:
            break
        await api.get(f"/processes/{waiting['id']}?wait={ROUND}")
    (count,) = found
    assert count.pop("last_at")
    assert count == {"host": host, "attempts": 2, "retries": 1, "failures": 1, "last_error": "http.status.503"}
    await api.cancel(waiting["id"])
    await api.ended(waiting["id"])
