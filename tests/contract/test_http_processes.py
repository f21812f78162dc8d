"""The calls about processes, definitions, events and nodes over a real server and an in-memory service."""

import asyncio
from typing import Any
from uuid import UUID

import msgspec
import pytest
import structlog
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient
from structlog.testing import capture_logs

from tests.fakes.gateway import FakeHealth, FakeNodes
from tests.fakes.service import EPOCH, FakeService, execution
from understudy.domain.facts import HistoryRow
from understudy.domain.live import ActorView, NodeView
from understudy.domain.state import DefinitionRef, Waiting
from understudy.domain.states import ActivityState, ProcessState
from understudy.domain.views import Query, RecordedRow
from understudy.http.app import create_app
from understudy.http.auth import Authenticator
from understudy.http.limits import HttpLimits

ABSENT = "0c1f0f2e-8f7b-5c0a-9d3e-000000000000"
DEFINITION = {"name": "order", "activities": []}


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def nodes() -> FakeNodes:
    return FakeNodes()


@pytest.fixture
async def client(service: FakeService, nodes: FakeNodes, aiohttp_client: Any) -> Any:
    log = structlog.get_logger("http")
    return await aiohttp_client(
        create_app(service, nodes, FakeHealth(), Authenticator(None), HttpLimits(page_size=2), log)
    )


async def read(response: ClientResponse, status: int = 200) -> Any:
    body = await response.json(content_type=None)
    assert response.status == status, body
    kind = "application/json" if status < 400 else "application/problem+json"
    assert response.headers["Content-Type"] == f"{kind}; charset=utf-8"
    if status >= 400:
        assert body["status"] == status
        assert body["type"].startswith("/problems/")
        assert body["title"]
        assert body["detail"]
    return body


async def test_a_start_is_answered_with_the_process_and_its_place(client: TestClient, service: FakeService) -> None:
    request = {"definition": "order", "input": {"n": 1}, "key": "k", "labels": {"a": "b"}}
    response = await client.post("/processes", json=request)
    body = await read(response, 201)
    assert response.headers["Location"] == f"/processes/{body['id']}"
    assert response.headers["ETag"] == '"0"'
    assert (body["key"], body["input"], body["labels"]) == ("k", {"n": 1}, {"a": "b"})
    call = service.calls[0]
    assert (call.scope, call.key, call.by) == ("POST /processes", None, "dev")
    shown = await client.get(response.headers["Location"])
    assert await read(shown) == body


async def test_a_repeated_start_answers_with_the_first_process(client: TestClient) -> None:
    headers = {"Idempotency-Key": "once"}
    first = await client.post("/processes", json={"definition": "order"}, headers=headers)
    again = await client.post("/processes", json={"definition": "order"}, headers=headers)
    assert (await read(again, 201))["id"] == (await read(first, 201))["id"]
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    other = await client.post("/processes", json={"definition": "other"}, headers=headers)
    assert (await read(other, 422))["type"] == "/problems/idempotency-key-reused"


async def test_a_start_can_be_held_until_the_process_ends(client: TestClient, service: FakeService) -> None:
    starting = asyncio.ensure_future(client.post("/processes?wait=30s", json={"definition": "order"}))
    process = service.processes[await service.waits.get()]
    await service.put(msgspec.structs.replace(process, state=ProcessState.COMPLETED, version=9))
    response = await starting
    assert (await read(response, 200))["state"] == "COMPLETED"
    assert response.headers["ETag"] == '"9"'
    assert response.headers["Location"] == f"/processes/{process.process_id}"


@pytest.mark.parametrize("wait", ["0", "5ms"])
async def test_a_start_whose_wait_is_over_is_accepted(client: TestClient, wait: str) -> None:
    response = await client.post(f"/processes?wait={wait}", json={"definition": "order"})
    assert (await read(response, 202))["state"] == "CREATED"


async def test_reading_can_be_held_until_the_process_ends(client: TestClient, service: FakeService) -> None:
    process = service.new_process()
    path = f"/processes/{process.process_id}"
    assert (await read(await client.get(f"{path}?wait=5ms")))["state"] == "CREATED"
    await service.waits.get()
    reading = asyncio.ensure_future(client.get(f"{path}?wait=30"))
    await service.waits.get()
    await service.put(msgspec.structs.replace(process, state=ProcessState.CANCELLED))
    assert (await read(await reading))["state"] == "CANCELLED"


async def test_processes_are_listed_in_pages(client: TestClient, service: FakeService) -> None:
    ids = [str(service.new_process().process_id) for _ in range(5)]
    seen, cursor, pages = [], "", 0
    while cursor is not None:
        body = await read(await client.get("/processes" + (f"?cursor={cursor}" if cursor else "")))
        assert all("activities" not in item and "waiting_on" not in item for item in body["items"])
        seen += [item["id"] for item in body["items"]]
        cursor, pages = body["next_cursor"], pages + 1
    assert (seen, pages) == (ids[::-1], 3)


async def test_filters_reach_the_store(client: TestClient, service: FakeService) -> None:
    parameters = {
        "state": "FAILED",
        "definition": "order@3",
        "key": "k",
        "label": "team:blue",
        "created_after": "2026-11-25T09:30:00+01:00",
        "created_before": "2026-11-25T08:30:00Z",
        "limit": "7",
    }
    assert await read(await client.get("/processes", params=parameters)) == {"items": [], "next_cursor": None}
    assert service.queries == [
        Query(ProcessState.FAILED, "order", 3, "k", ("team", "blue"), EPOCH, EPOCH, None, 8),
    ]


async def test_history_is_paged_in_order(client: TestClient, service: FakeService) -> None:
    process = service.new_process()
    row = HistoryRow("process.waiting", EPOCH, "IN_PROGRESS", "WAITING", None, None, None, {})
    service.rows[process.process_id] = [RecordedRow(seq, row, seq, "n", 1) for seq in range(1, 6)]
    path = f"/processes/{process.process_id}/history"
    first = await read(await client.get(path))
    assert [item["seq"] for item in first["items"]] == [1, 2]
    second = await read(await client.get(f"{path}?cursor={first['next_cursor']}&limit=3"))
    assert ([item["seq"] for item in second["items"]], second["next_cursor"]) == ([3, 4, 5], None)
    after = await read(await client.get(f"{path}?after=4"))
    assert [item["seq"] for item in after["items"]] == [5]
    await read(await client.get(f"{path}?after=4&cursor={first['next_cursor']}"), 400)
    stream = await client.get(path, headers={"Accept": "text/event-stream"})
    assert (await read(stream, 406))["type"] == "/problems/not-acceptable"
    assert (await client.get(path, headers={"Accept": "text/event-stream, application/json"})).status == 200


async def test_executions_are_paged(client: TestClient, service: FakeService) -> None:
    process = service.new_process()
    executions = tuple(execution(process.process_id, f"a{number}") for number in range(3))
    await service.put(msgspec.structs.replace(process, executions=executions))
    path = f"/processes/{process.process_id}/activities"
    first = await read(await client.get(path))
    second = await read(await client.get(f"{path}?cursor={first['next_cursor']}"))
    assert [item["id"] for item in first["items"] + second["items"]] == ["a0", "a1", "a2"]
    assert second["next_cursor"] is None


async def test_commands_honour_versions_and_keys(client: TestClient, service: FakeService) -> None:
    process = service.new_process(version=3)
    waits = execution(
        process.process_id, "approve", state=ActivityState.WAITING, waiting=Waiting("manual", EPOCH, None)
    )
    await service.put(msgspec.structs.replace(process, executions=(waits,)))
    path = f"/processes/{process.process_id}"
    resume = f"{path}/activities/approve/resume"
    stale = await client.post(resume, headers={"If-Match": '"2"'})
    assert (await read(stale, 412))["type"] == "/problems/stale"
    await read(await client.post(resume, headers={"If-Match": 'W/"3"'}), 412)
    await read(await client.post(resume, headers={"If-Match": "3, 4"}), 400)
    for tag in ('"3"', "3", "*"):
        accepted = await client.post(resume, json={"outcome": "complete", "output": 1}, headers={"If-Match": tag})
        assert (await read(accepted, 202))["waiting_on"][0]["activity"] == "approve"
        assert accepted.headers["ETag"] == '"3"'
    cancelled = await client.post(f"{path}/cancel", headers={"Idempotency-Key": "c"})
    assert cancelled.status == 202
    repeated = await client.post(f"{path}/cancel", data=b"", headers={"Idempotency-Key": "c"})
    assert (repeated.status, repeated.headers["Idempotency-Replayed"]) == (202, "true")
    assert service.calls[-1].scope == f"POST {path}/cancel"


async def test_commands_that_do_not_fit_are_refused(client: TestClient, service: FakeService) -> None:
    process = service.new_process(state=ProcessState.COMPLETED)
    runs = execution(process.process_id, "call")
    await service.put(msgspec.structs.replace(process, executions=(runs,)))
    path = f"/processes/{process.process_id}"
    assert (await read(await client.post(f"{path}/cancel"), 409))["type"] == "/problems/conflict"
    await read(await client.post(f"{path}/activities/call/resume"), 409)
    await read(await client.post(f"{path}/activities/none/resume"), 404)
    refused = await read(await client.post(f"{path}/activities/call/resume", json={"outcom": "fail"}), 422)
    assert refused["errors"][0]["pointer"] == "/outcom"
    assert "outcome" in refused["errors"][0]["message"]


async def test_definitions_are_published_read_and_listed(client: TestClient) -> None:
    first = await client.put("/definitions/order", json=DEFINITION)
    body = await read(first, 201)
    assert body == {"name": "order", "version": 1, "created_at": "2026-11-25T08:30:00Z", "definition": DEFINITION}
    assert first.headers["Location"] == "/definitions/order?version=1"
    assert await read(await client.put("/definitions/order", json=DEFINITION)) == body
    changed = {**DEFINITION, "activities": [1]}
    assert (await read(await client.put("/definitions/order", json=changed), 201))["version"] == 2
    assert (await read(await client.get("/definitions/order")))["definition"] == changed
    assert await read(await client.get("/definitions/order?version=1")) == body
    await read(await client.get("/definitions/order?version=3"), 404)
    versions = await read(await client.get("/definitions/order/versions?limit=1"))
    assert [item["version"] for item in versions["items"]] == [2]
    rest = await read(await client.get(f"/definitions/order/versions?cursor={versions['next_cursor']}"))
    assert (rest["items"][0], rest["next_cursor"]) == (
        {name: body[name] for name in body if name != "definition"},
        None,
    )
    for name in ("alpha", "beta"):
        await client.put(f"/definitions/{name}", json={"name": name})
    listed = await read(await client.get("/definitions"))
    assert [item["name"] for item in listed["items"]] == ["alpha", "beta"]
    others = await read(await client.get(f"/definitions?cursor={listed['next_cursor']}"))
    assert [(item["name"], item["version"]) for item in others["items"]] == [("order", 2)]


async def test_definitions_are_checked_without_being_kept(client: TestClient, service: FakeService) -> None:
    assert await read(await client.post("/definitions:validate", json=DEFINITION)) == {"valid": True, "errors": []}
    faulty = await read(await client.post("/definitions:validate", json={"nam": 1}))
    assert faulty == {"valid": False, "errors": [{"pointer": "/nam", "message": "There is no field 'nam'."}]}
    unstorable = await read(await client.post("/definitions:validate", data=b'{"name":"a\\u0000"}'))
    assert (unstorable["valid"], unstorable["errors"][0]["pointer"]) == (False, "/name")
    await read(await client.post("/definitions:validate", data=b"{"), 400)
    assert not service.published


async def test_faulty_definitions_are_refused_with_pointers(client: TestClient) -> None:
    body = await read(await client.put("/definitions/order", json={"nam": 1}), 422)
    assert body["errors"] == [{"pointer": "/nam", "message": "There is no field 'nam'."}]
    for name in ("Order", "%00", "a" * 64):
        body = await read(await client.put(f"/definitions/{name}", json=DEFINITION), 422)
        assert body["errors"][0]["pointer"] == "/name"


async def test_events_are_taken_down(client: TestClient, service: FakeService) -> None:
    process = service.new_process()
    event = {"type": "order.paid", "key": "7", "data": {"a": 1}}
    first = await read(await client.post("/events", json=event, headers={"Idempotency-Key": "e"}), 202)
    again = await client.post("/events", json=event, headers={"Idempotency-Key": "e"})
    assert await read(again, 202) == first
    assert set(first) == {"event_id", "delivered"}
    assert again.headers["Idempotency-Replayed"] == "true"
    await read(await client.post(f"/processes/{process.process_id}/events", json=event), 202)
    await read(await client.post(f"/processes/{ABSENT}/events", json=event), 404)
    await read(await client.post("/events", json={**event, "type": "order.#"}), 422)


async def test_nodes_and_live_actors_are_listed(client: TestClient, service: FakeService, nodes: FakeNodes) -> None:
    processes = [service.new_process().process_id for _ in range(3)]
    ref = DefinitionRef("order", 2, b"\2" * 32)
    session = processes[0]
    nodes.known = [NodeView(session, "node-1", "alive", EPOCH, 12, True, 3, None, 0.25, 4096)]
    nodes.unanswered = (processes[1],)
    nodes.live = [
        ActorView(one, ref, "k", ProcessState.IN_PROGRESS, "node-1", session, 4, 7, 1, ("pay",), 1, EPOCH, EPOCH, 0.5)
        for one in processes
    ]
    listed = await read(await client.get("/admin/nodes"))
    assert listed["items"][0] == {
        "id": str(session),
        "node": "node-1",
        "state": "alive",
        "started_at": "2026-11-25T08:30:00Z",
        "beat_seq": 12,
        "lease_ok": True,
        "live_actors": 3,
        "address": None,
        "beat_age_seconds": 0.25,
        "memory_bytes": 4096,
    }
    assert listed["unanswered"] == [str(processes[1])]
    first = await read(await client.get("/admin/actors?node=node-1&definition=order&state=IN_PROGRESS"))
    second = await read(await client.get(f"/admin/actors?cursor={first['next_cursor']}"))
    assert [one["process_id"] for one in first["items"] + second["items"]] == sorted(map(str, processes))
    wanted = nodes.filters[0]
    assert (wanted.node, wanted.definition, wanted.state) == ("node-1", "order", ProcessState.IN_PROGRESS)
    actor = await read(await client.get(f"/admin/actors/{processes[0]}"))
    assert actor["definition"] == {"name": "order", "version": 2}
    assert actor["current_activities"] == ["pay"]
    assert actor["age_seconds"] == 0.5
    assert first["unanswered"] == second["unanswered"] == [str(processes[1])]


async def test_an_actor_is_absent_only_when_every_node_says_so(client: TestClient, nodes: FakeNodes) -> None:
    await read(await client.get(f"/admin/actors/{ABSENT}"), 404)
    nodes.unanswered = (UUID(ABSENT),)
    assert (await read(await client.get(f"/admin/actors/{ABSENT}"), 503))["type"] == "/problems/unavailable"


async def test_a_node_is_asked_to_drain(client: TestClient, service: FakeService, nodes: FakeNodes) -> None:
    session = service.new_process().process_id
    nodes.known = [NodeView(session, "node-1", "draining", EPOCH, 12, True, 3, None)]
    for body in (None, {}):
        node = await read(await client.post(f"/admin/nodes/{session}/drain", json=body), 202)
        assert (node["id"], node["state"]) == (str(session), "draining")
    await read(await client.post(f"/admin/nodes/{session}/drain", json={"fast": True}), 422)
    await read(await client.post(f"/admin/nodes/{ABSENT}/drain"), 404)
    await read(await client.post("/admin/nodes/node-1/drain"), 404)
    await read(await client.get(f"/admin/nodes/{session}/drain"), 405)
    assert nodes.drained == [session, session]


async def test_every_call_about_a_process_is_logged_with_its_id(client: TestClient) -> None:
    with capture_logs() as lines:
        body = await read(await client.post("/processes", json={"definition": "order"}), 201)
        await read(await client.get(f"/processes/{ABSENT}"), 404)
    started, absent = [line for line in lines if line["event"] == "http.request"]
    duration = started.pop("duration_ms")
    assert duration > 0
    assert started == {
        "event": "http.request",
        "log_level": "info",
        "method": "POST",
        "path": "/processes",
        "status": 201,
        "process_id": body["id"],
        "caller": "dev",
    }
    assert (absent["path"], absent["process_id"], absent["status"]) == ("/processes/{process_id}", ABSENT, 404)
