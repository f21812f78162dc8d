import asyncio

from tests.system.client import Client, assert_problem, define, transform


async def test_it_is_alive_and_ready(api: Client) -> None:
    for path in ("/livez", "/readyz"):
        answer = await api.call("GET", path)
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("application/json")
    ready = await api.get("/readyz")
    assert ready["status"] == "ready"
    assert set(ready["servers"].values()) == {None}


async def test_they_can_be_asked_by_head(api: Client) -> None:
    for path in ("/livez", "/readyz"):
        answer = await api.call("HEAD", path)
        assert (answer.status, answer.body) == (200, None)


async def test_every_answer_is_json_and_not_to_be_kept(api: Client) -> None:
    process = await api.run(define(transform("a", 1)))
    for path in (f"/processes/{process['id']}", "/processes", "/definitions", "/admin/nodes", "/nowhere"):
        answer = await api.call("GET", path)
        assert "json" in answer.headers["Content-Type"]
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_unknown_paths_and_methods(api: Client) -> None:
    for path in ("/", "/nowhere", "/processes/", "/definitions/a/b/c", "/livez/x"):
        assert_problem(await api.call("GET", path), 404)
    for method, path in (
        ("DELETE", "/processes"),
        ("POST", "/definitions/a"),
        ("PUT", "/events"),
        ("GET", "/events"),
        ("PATCH", "/livez"),
    ):
        answer = await api.call(method, path)
        assert_problem(answer, 405)
        assert answer.headers["Allow"]


async def test_probes_answer_while_many_wait(api: Client) -> None:
    started = await api.start(define({"id": "ask", "type": "manual"}))
    async with asyncio.TaskGroup() as group:
        held = [group.create_task(api.ended(started["id"])) for _ in range(50)]
        for _ in range(5):
            assert (await api.call("GET", "/readyz")).status == 200
        await api.cancel(started["id"])
    assert {task.result()["state"] for task in held} == {"CANCELLED"}
