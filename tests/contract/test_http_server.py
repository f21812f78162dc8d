"""The listening server at the level of bytes."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import structlog

from tests.fakes.gateway import FakeHealth, FakeNodes
from tests.fakes.service import FakeService
from understudy.http.app import create_app
from understudy.http.auth import Authenticator
from understudy.http.limits import HttpLimits
from understudy.http.server import CannotListen, HttpServer

LIMITS = HttpLimits(body_seconds=0.05, keepalive_seconds=0.05, linger_seconds=0.05, stop_seconds=5)
HOST = b"Host: localhost\r\n"


@pytest.fixture
def service() -> FakeService:
    return FakeService()


def make_server(service: FakeService, port: int = 0) -> HttpServer:
    log = structlog.get_logger("http")
    return HttpServer(
        create_app(service, FakeNodes(), FakeHealth(), Authenticator(None), LIMITS, log), "127.0.0.1", port
    )


@pytest.fixture
async def server(service: FakeService) -> AsyncIterator[HttpServer]:
    server = make_server(service)
    await server.start()
    yield server
    await server.stop()


async def exchange(server: HttpServer, request: bytes) -> tuple[int, dict[str, str], Any]:
    """Send bytes, read until the server closes, and take the first answer apart."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(request)
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return int(status.split()[1]), headers, json.loads(body) if body else None


async def test_port_0_takes_a_free_one_and_says_which(server: HttpServer) -> None:
    assert server.port > 0
    assert server.url == f"http://127.0.0.1:{server.port}"
    status, headers, body = await exchange(server, b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n")
    assert (status, body) == (200, {"status": "alive"})
    assert headers["Server"] == "understudy"


async def test_a_taken_port_is_told(server: HttpServer, service: FakeService) -> None:
    other = make_server(service, server.port)
    with pytest.raises(CannotListen, match=f"127.0.0.1:{server.port}: the port is taken"):
        await other.start()
    await other.stop()


async def test_stopping_is_safe_twice_and_unstarted(service: FakeService) -> None:
    server = make_server(service)
    await server.stop()
    server = make_server(service)
    await server.start()
    await server.stop()
    await server.stop()


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n" + HOST + b"\r\n",
        b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 9_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nbad header\r\n\r\n",
        b"POST /processes HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"POST /events HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /processes HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 200 + b"\r\n",
    ],
)
async def test_what_is_no_http_is_a_problem_too(server: HttpServer, request_: bytes) -> None:
    status, headers, body = await exchange(server, request_)
    assert (status, body["status"], body["type"]) == (400, 400, "/problems/malformed-request")
    assert headers["Content-Type"] == "application/problem+json; charset=utf-8"


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (b"GET /processes/\xff\xfe HTTP/1.1\r\n" + HOST + b"\r\n", {400, 404}),
        (b"GET /processes?key=\xff HTTP/1.1\r\n" + HOST + b"\r\n", {400}),
        (b"GET /definitions/%ff%00 HTTP/1.1\r\n" + HOST + b"\r\n", {404}),
        (b"GET http://localhost/processes HTTP/1.1\r\n" + HOST + b"\r\n", {200}),
        (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", {404}),
        (b"CONNECT localhost:443 HTTP/1.1\r\n" + HOST + b"\r\n", {400, 404}),
        (b"BREW /processes HTTP/1.1\r\n" + HOST + b"\r\n", {400, 405}),
        (b"GET /processes HTTP/1.1\r\n\r\n", {400, 403}),
        (b"GET /processes HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", {400, 403}),
        (b"GET /processes HTTP/1.1\r\nHost: localhost\r\nAccept: \xff\r\nAuthorization: \xff\r\n\r\n", {200}),
        (b"POST /events HTTP/1.1\r\nHost: localhost\r\nIdempotency-Key: \xff\r\n\r\n", {400}),
        (b"GET /livez HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", {200}),
    ],
)
async def test_odd_requests_get_ordinary_answers(server: HttpServer, request_: bytes, expected: set[int]) -> None:
    status, headers, _ = await exchange(server, request_)
    assert status in expected
    if status >= 400:
        assert headers["Content-Type"] == "application/problem+json; charset=utf-8"


async def test_a_body_that_comes_too_slowly_is_not_waited_for(server: HttpServer) -> None:
    status, headers, body = await exchange(
        server, b"POST /processes HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"
    )
    assert (status, body["type"]) == (408, "/problems/request-timeout")
    assert headers["Connection"] == "close"


async def test_a_head_that_comes_too_slowly_is_not_waited_for(server: HttpServer) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /livez HTTP/1.1\r\nHost:")
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


async def test_a_client_that_leaves_in_the_middle_of_its_body_harms_nobody(
    server: HttpServer, service: FakeService
) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"POST /processes HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
    await writer.drain()
    writer.transport.abort()
    status, _, _ = await exchange(server, b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n")
    assert status == 200
    assert not service.calls


async def test_a_body_that_breaks_its_chunks_half_way_is_a_problem(server: HttpServer, service: FakeService) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"POST /processes HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n")
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"2\r\n{}\r\nzz\r\n")
    async with asyncio.timeout(5):
        answer = await reader.read()
    # One of aiohttp's two parsers tells at once; after the other one the rest is waited for in vain.
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 408 "))
    assert b"application/problem+json" in answer
    writer.close()
    await writer.wait_closed()
    assert not service.calls


@pytest.mark.parametrize(
    ("host", "url"),
    [("0.0.0.0", "http://127.0.0.1:80"), ("::", "http://[::1]:80"), ("localhost", "http://localhost:80")],
)
def test_the_url_is_one_that_clients_here_can_use(service: FakeService, host: str, url: str) -> None:
    app = create_app(service, FakeNodes(), FakeHealth(), Authenticator(None), LIMITS, structlog.get_logger("http"))
    assert HttpServer(app, host, 80).url == url


@pytest.mark.parametrize(
    ("host", "port", "reason"),
    [("192.0.2.1", 0, "no such address"), ("host.invalid", 0, "not known"), ("127.0.0.1", 70_000, "no address")],
)
async def test_an_address_that_cannot_be_had_is_told(service: FakeService, host: str, port: int, reason: str) -> None:
    app = create_app(service, FakeNodes(), FakeHealth(), Authenticator(None), LIMITS, structlog.get_logger("http"))
    with pytest.raises(CannotListen, match=reason):
        await HttpServer(app, host, port).start()


async def test_stopping_answers_what_is_held(service: FakeService) -> None:
    server = make_server(service)
    await server.start()
    process = service.new_process()
    path = f"/processes/{process.process_id}?wait=60".encode()
    held = asyncio.ensure_future(exchange(server, b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n"))
    await service.waits.get()
    async with asyncio.timeout(3):
        await server.stop()
        status, _, body = await held
    assert (status, body["state"]) == (200, "CREATED")
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", server.port)


async def test_head_answers_without_a_body(server: HttpServer) -> None:
    status, headers, body = await exchange(server, b"HEAD /processes HTTP/1.1\r\n" + HOST + b"\r\n")
    assert (status, body) == (200, None)
    assert int(headers["Content-Length"]) > 0
