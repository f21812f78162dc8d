"""What the server does with requests that are wrong, hostile, or nobody's business."""

import asyncio
from typing import Any
from uuid import UUID

import aiohttp
import pytest
import structlog
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient
from structlog.testing import capture_logs

from tests.fakes.gateway import FakeHealth, FakeNodes
from tests.fakes.service import FakeService
from understudy.domain.errors import TooLarge, Unreachable
from understudy.http.app import create_app
from understudy.http.auth import Authenticator, parse_api_keys
from understudy.http.limits import HttpLimits

ABSENT = "0c1f0f2e-8f7b-5c0a-9d3e-000000000000"
LIMITS = HttpLimits(body_size_max=10_000, body_seconds=0.05, linger_seconds=0.05, ready_seconds=0.05)
KEYS = parse_api_keys("ann:viewing:viewer,ci:operating,root:administering:admin")


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def health() -> FakeHealth:
    return FakeHealth()


def make_app(service: FakeService, health: FakeHealth, auth: Authenticator) -> Any:
    log = structlog.get_logger("http")
    return create_app(service, FakeNodes(), health, auth, LIMITS, log, make_reference=lambda: "ref-1")


@pytest.fixture
async def client(service: FakeService, health: FakeHealth, aiohttp_client: Any) -> Any:
    return await aiohttp_client(make_app(service, health, Authenticator(None)))


@pytest.fixture
async def guarded(service: FakeService, health: FakeHealth, aiohttp_client: Any) -> Any:
    return await aiohttp_client(make_app(service, health, Authenticator(KEYS)))


async def problem(response: ClientResponse, status: int) -> Any:
    body = await response.json(content_type=None)
    assert response.status == status, body
    assert response.headers["Content-Type"] == "application/problem+json; charset=utf-8"
    assert body["status"] == status
    return body


async def test_unknown_paths_and_ids_are_not_found(client: TestClient) -> None:
    for path in (
        "/",
        "/process",
        "/processes/",
        f"/processes/{ABSENT}",
        f"/processes/{ABSENT}/history",
        f"/processes/{ABSENT}/activities",
        f"/processes/{ABSENT}/",
        "/processes/1",
        f"/processes/{ABSENT.replace('-', '')}",
        f"/processes/{{{ABSENT}}}",
        "/processes/%00",
        "/definitions/absent",
        "/definitions/Not-A-Name",
        "/definitions/%ff/versions",
    ):
        body = await problem(await client.get(path), 404)
        assert body["type"] == "/problems/not-found"
    body = await problem(await client.post(f"/processes/{ABSENT}/cancel"), 404)
    assert body["instance"] == f"/processes/{ABSENT}/cancel"


async def test_a_wrong_method_is_told_the_right_ones(client: TestClient) -> None:
    response = await client.put("/processes", json={})
    await problem(response, 405)
    assert response.headers["Allow"] == "GET, HEAD, POST"
    await problem(await client.delete(f"/processes/{ABSENT}"), 405)


@pytest.mark.parametrize(
    ("body", "status", "pointer"),
    [
        (b"", 400, None),
        (b"{", 400, None),
        (b'{"definition":NaN}', 400, None),
        (b"\xff\xfe", 400, None),
        (b'{"definition":"order"} {}', 400, None),
        (b'{"definition":"order","input":' + b"[" * 4_000 + b"]" * 4_000 + b"}", 422, ""),
        (b'{"definition":"order","input":"a\\u0000"}', 422, "/input"),
        (b'{"definition":"order","input":["\\ud800"]}', 422, "/input/0"),
        (b'{"definition":"order","input":' + b"9" * 400 + b"}", 422, "/input"),
        (b'{"definition":"order","input":1e999}', 422, "/input"),
        (b'{"definition":"order","inputs":1}', 422, "/inputs"),
        (b'{"definition":7}', 422, "/definition"),
        (b"[]", 422, ""),
        (b"null", 422, ""),
    ],
)
async def test_a_bad_body_gets_a_named_error(
    client: TestClient, service: FakeService, body: bytes, status: int, pointer: str | None
) -> None:
    answered = await problem(await client.post("/processes", data=body), status)
    if status == 400:
        assert answered["type"] == "/problems/malformed-request"
    else:
        assert answered["errors"][0]["pointer"] == pointer
        assert answered["errors"][0]["message"]
    assert not service.processes


async def test_a_body_over_the_limit_is_refused_before_it_is_read(client: TestClient) -> None:
    body = await problem(await client.post("/processes", data=b"[" * 10_001), 413)
    assert body["type"] == "/problems/too-large"

    async def chunks() -> Any:
        for _ in range(11):
            yield b" " * 1_000

    await problem(await client.post("/processes", data=chunks()), 413)


async def test_a_body_that_is_announced_too_large_is_not_asked_for(client: TestClient) -> None:
    response = await client.post("/processes", data=b" " * 10_001, expect100=True)
    await problem(response, 413)
    assert (await client.post("/processes", data=b'{"definition":"order"}', expect100=True)).status == 201
    await problem(await client.post("/processes", data=b"{}", headers={"Expect": "miracles"}), 417)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json", 201),
        ("application/json; charset=UTF-8", 201),
        ("application/vnd.api+json", 201),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application/json; charset=utf-16", 415),
        ("image/svg+json", 415),
    ],
)
async def test_a_body_is_json_in_utf_8(client: TestClient, kind: str, status: int) -> None:
    response = await client.post("/processes", data=b'{"definition":"order"}', headers={"Content-Type": kind})
    assert response.status == status


async def test_a_body_without_a_type_is_json_and_a_compressed_one_is_not(client: TestClient) -> None:
    bare = await client.post("/processes", data=b'{"definition":"order"}', skip_auto_headers=["Content-Type"])
    assert bare.status == 201
    packed = await client.post("/processes", data=b'{"definition":"order"}', headers={"Content-Encoding": "gzip"})
    await problem(packed, 415)


async def test_unknown_query_parameters_name_the_nearest(client: TestClient) -> None:
    body = await problem(await client.get("/processes?stat=FAILED"), 400)
    assert "'state'" in body["detail"]
    for path in ("/livez?x=1", f"/processes/{ABSENT}?wait=2h", "/admin/nodes?x=1", "/definitions?limit=0"):
        await problem(await client.get(path), 400)


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\tkey", "é"])
async def test_an_idempotency_key_is_printable_and_short(client: TestClient, key: str) -> None:
    response = await client.post("/processes", json={"definition": "order"}, headers={"Idempotency-Key": key})
    assert "Idempotency-Key" in (await problem(response, 400))["detail"]


async def test_an_unexpected_error_is_answered_without_its_trace(client: TestClient, service: FakeService) -> None:
    service.failure = RuntimeError("the password is hunter2")
    with capture_logs() as lines:
        body = await problem(await client.get(f"/processes/{ABSENT}"), 500)
    assert body["reference"] == "ref-1"
    assert "hunter2" not in str(body)
    failure = next(line for line in lines if line["event"] == "http.failure")
    assert (failure["reference"], failure["process_id"]) == ("ref-1", ABSENT)
    assert failure["exc_info"] is service.failure


async def test_a_server_that_does_not_answer_is_the_callers_to_try_again(
    client: TestClient, service: FakeService
) -> None:
    service.failure = Unreachable("connection to 10.0.0.7 refused")
    response = await client.get(f"/processes/{ABSENT}")
    body = await problem(response, 503)
    assert response.headers["Retry-After"] == "1"
    assert "10.0.0.7" not in str(body)


async def test_a_value_over_its_limit_is_too_large(client: TestClient, service: FakeService) -> None:
    service.failure = TooLarge("/input has 2000000 bytes")
    assert (await problem(await client.post("/processes", json={"definition": "order"}), 413))["detail"] == (
        "/input has 2000000 bytes."
    )


async def test_a_start_that_is_durable_answers_with_its_id_even_when_it_cannot_be_waited_for(
    client: TestClient, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unreachable(*_: Any) -> Any:
        raise Unreachable("the database has gone")

    monkeypatch.setattr(service, "wait", unreachable)
    response = await client.post("/processes?wait=1", json={"definition": "order"})
    assert response.status == 202
    assert UUID((await response.json())["id"]) in service.processes


async def test_probes_tell_what_is_down(client: TestClient, health: FakeHealth) -> None:
    assert await (await client.get("/livez")).json() == {"status": "alive"}
    ready = await client.get("/readyz")
    assert await ready.json() == {"status": "ready", "servers": {"postgres": None, "redis": None}}
    health.servers = {"postgres": "connection refused", "redis": None}
    body = await problem(await client.get("/readyz"), 503)
    assert body["detail"] == "Not ready: postgres."
    assert body["servers"] == health.servers


async def test_a_probe_does_not_hang(client: TestClient, health: FakeHealth, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "ready", lambda: asyncio.Event().wait())
    await problem(await client.get("/readyz"), 503)


async def test_keys_are_asked_for_everywhere_but_at_the_probes(guarded: TestClient) -> None:
    for path in ("/processes", "/nowhere", "/admin/nodes", f"/processes/{ABSENT}"):
        response = await guarded.get(path)
        await problem(response, 401)
        assert "Bearer" in response.headers["WWW-Authenticate"]
    wrong = await guarded.get("/processes", headers={"Authorization": "Bearer operatin"})
    assert "operatin" not in str(await problem(wrong, 401))
    assert (await guarded.get("/livez")).status == (await guarded.get("/readyz")).status == 200


async def test_roles_rule_what_a_key_may_do(guarded: TestClient, service: FakeService) -> None:
    async def status(method: str, path: str, key: str) -> int:
        headers = {"Authorization": f"Bearer {key}"}
        return (await guarded.request(method, path, json={"definition": "order"}, headers=headers)).status

    assert await status("GET", "/processes", "viewing") == 200
    assert await status("POST", "/processes", "viewing") == 403
    assert await status("POST", "/processes", "operating") == 201
    assert await status("GET", "/admin/nodes", "operating") == 403
    assert await status("GET", "/%61dmin/nodes", "operating") == 403
    assert await status("GET", "/admin/nodes", "administering") == 200
    assert [call.by for call in service.calls] == ["ci"]
    basic = {"Authorization": aiohttp.encode_basic_auth("ci", "operating")}
    assert (await guarded.get("/processes", headers=basic)).status == 200


async def test_secrets_do_not_reach_the_log(guarded: TestClient) -> None:
    with capture_logs() as lines:
        headers = {"Authorization": "Bearer operating"}
        await guarded.get("/processes?key=private", headers=headers)
        await guarded.get("/nowhere/private%0a?key=private", headers=headers)
    requests = [line for line in lines if line["event"] == "http.request"]
    assert [line["path"] for line in requests] == ["/processes", "/nowhere/private%0A"]
    assert [line["caller"] for line in requests] == ["ci", "ci"]
    assert "operating" not in str(requests)


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "localhost:80@evil.example"},
        {"Host": "10.0.0.1:8080"},
        {"Host": "localhost", "Origin": "http://evil.example"},
        {"Host": "localhost", "Origin": "null"},
        {"Host": "localhost:8080", "Origin": "http://localhost:3000"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_without_keys_no_web_page_of_another_site_gets_in(
    client: TestClient, service: FakeService, headers: dict[str, str]
) -> None:
    await problem(await client.get("/processes", headers=headers), 403)
    await problem(await client.post("/processes", json={"definition": "order"}, headers=headers), 403)
    assert not service.processes


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "LOCALHOST:8080"},
        {"Host": "[::1]:8080"},
        {"Host": "127.0.0.1", "Origin": "http://127.0.0.1", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
    ],
)
async def test_without_keys_this_machine_gets_in(client: TestClient, headers: dict[str, str]) -> None:
    assert (await client.post("/processes", json={"definition": "order"}, headers=headers)).status == 201


async def test_with_keys_any_name_will_do_but_a_browser_does_not_command_across_sites(guarded: TestClient) -> None:
    headers = {"Host": "understudy.example", "Authorization": "Bearer operating"}
    across = {**headers, "Sec-Fetch-Site": "cross-site"}
    start = {"definition": "order"}
    assert (await guarded.post("/processes", json=start, headers=headers)).status == 201
    assert (await guarded.get("/processes", headers=across)).status == 200
    await problem(await guarded.post("/processes", json=start, headers=across), 403)
