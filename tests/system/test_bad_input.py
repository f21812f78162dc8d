"""Whatever comes in gets the error that the contract names, is logged, and costs nobody else anything."""

import asyncio
import gzip
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.system.client import (
    Client,
    activity_of,
    assert_problem,
    define,
    http,
    manual,
    pointers,
    quick,
    transform,
    unique,
)
from tests.system.dev import Dev
from tests.system.target import Reply, Target

NOBODY = "01920000-0000-7000-8000-000000000000"

MALFORMED = {
    "nothing": b"",
    "half": b'{"definition": ',
    "no json": b"hello",
    "two values": b"{} {}",
    "single quotes": b"{'a': 1}",
    "trailing comma": b'{"a": 1,}',
    "NaN": b'{"definition": "x", "input": NaN}',
    "infinity": b'{"definition": "x", "input": -Infinity}',
    "not utf-8": b'{"definition": "\xff\xfe"}',
    "utf-16": '{"definition": "x"}'.encode("utf-16"),
    "control character": b'{"definition": "a\nb"}',
    "leading zero": b'{"definition": "x", "input": 01}',
}
REFUSED = {
    "NUL": b'{"definition": "x", "input": "a\\u0000b"}',
    "NUL in a key": b'{"definition": "x", "input": {"a\\u0000": 1}}',
    "lone surrogate": b'{"definition": "x", "input": "\\ud800"}',
    "lone surrogate in a key": b'{"definition": "x", "input": {"\\udfff": 1}}',
    "overflowing number": b'{"definition": "x", "input": 1e999}',
    "integer beyond 2^63": b'{"definition": "x", "input": 9223372036854775808}',
    "integer below -2^63": b'{"definition": "x", "input": -9223372036854775809}',
    "endless digits": b'{"definition": "x", "input": ' + b"9" * 100_000 + b"}",
    "depth 65": b'{"definition": "x", "input": ' + b"[" * 64 + b"]" * 64 + b"}",
    "depth 10,000": b'{"definition": "x", "input": ' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "depth 10,000 of objects": b'{"definition": "x", "input": ' + b'{"a":' * 10_000 + b"1" + b"}" * 10_001,
    "repeated key": b'{"definition": "x", "definition": "y"}',
    "unknown field": b'{"definition": "x", "inputs": 1}',
    "a list": b"[]",
    "a string": b'"x"',
    "null": b"null",
    "no definition": b"{}",
    "wrong type": b'{"definition": 7}',
    "wrong type of key": b'{"definition": "x", "key": {}}',
    "wrong type of labels": b'{"definition": "x", "labels": ["a"]}',
    "wrong type of a label": b'{"definition": "x", "labels": {"a": 1}}',
}
POSTS = ["/processes", "/events", f"/processes/{NOBODY}/events", "/definitions:validate"]


async def _serves(api: Client) -> None:
    assert (await api.run(define(transform("a", 1))))["output"] == 1


@pytest.mark.parametrize("name", MALFORMED)
async def test_a_body_that_is_no_json_is_400(api: Client, name: str) -> None:
    for path in POSTS:
        assert_problem(await api.call("POST", path, raw=MALFORMED[name]), 400)
    assert_problem(await api.call("PUT", f"/definitions/{unique()}", raw=MALFORMED[name]), 400)
    await _serves(api)


@pytest.mark.parametrize("name", REFUSED)
async def test_a_body_that_breaks_the_contract_is_422(api: Client, name: str) -> None:
    problem = assert_problem(await api.call("POST", "/processes", raw=REFUSED[name]), 422)
    assert problem["errors"]
    assert all(fault.keys() == {"pointer", "message"} for fault in problem["errors"])
    await _serves(api)


@pytest.mark.parametrize("name", ["NUL", "lone surrogate", "overflowing number", "depth 10,000", "repeated key"])
async def test_the_same_holds_for_every_call_with_a_body(api: Client, name: str) -> None:
    started = await api.start(define(manual("ask")))
    await api.waiting(started["id"])
    base = f"/processes/{started['id']}"
    raw = REFUSED[name]
    for path in ("/events", f"{base}/events", f"{base}/cancel", f"{base}/activities/ask/resume"):
        assert_problem(await api.call("POST", path, raw=raw), 422)
    assert_problem(await api.call("PUT", f"/definitions/{unique()}", raw=raw), 422)
    answer = await api.call("POST", "/definitions:validate", raw=raw)
    assert (answer.status, answer.body["valid"]) == (200, False)
    assert (await api.process(started["id"]))["state"] == "WAITING"
    await api.cancel(started["id"])


async def test_malformed_commands_change_nothing(api: Client) -> None:
    started = await api.start(define(manual("ask")))
    process = await api.waiting(started["id"])
    for path in ("cancel", "activities/ask/resume"):
        assert_problem(await api.call("POST", f"/processes/{started['id']}/{path}", raw=b"{"), 400)
    assert await api.process(started["id"]) == process
    await api.cancel(started["id"])


async def test_every_fault_of_a_body_is_named(api: Client) -> None:
    body = {"definition": 1, "inputs": {}, "key": 5, "labels": {"": 1, "a b": "x"}, "extra": 1}
    answer = await api.post("/processes", body)
    assert {"/definition", "/inputs", "/key", "/labels/", "/labels/a b", "/extra"} <= set(pointers(answer))
    assert any("'input'" in fault["message"] for fault in answer.body["errors"])


@pytest.mark.parametrize("process_id", [NOBODY, "x", "0", "00000000", NOBODY + "0", "%00", "%F0%9F%8E%AD", "'--", "{}"])
async def test_ids_that_are_not_there_are_404(api: Client, process_id: str) -> None:
    path = f"/processes/{process_id}"
    for suffix in ("", "/history", "/activities", "?wait=1s"):
        assert_problem(await api.call("GET", path + suffix), 404)
    for suffix in ("/cancel", "/activities/a/resume"):
        assert_problem(await api.post(path + suffix, {}), 404)
    assert_problem(await api.post(f"{path}/events", {"type": "e"}), 404)
    assert_problem(await api.call("GET", f"/admin/actors/{process_id}"), 404)


async def test_illegal_transitions_are_409(api: Client) -> None:
    process = await api.run(define(manual("ask", timeout="30ms", catch=[{"errors": ["*"], "next": "@end"}])))
    assert process["state"] == "COMPLETED"
    for answer in (await api.cancel(process["id"]), await api.answer(process["id"], "ask", {})):
        assert_problem(answer, 409)
    assert await api.process(process["id"]) == process


async def test_a_refusal_is_logged_with_the_process(api: Client, dev: Dev) -> None:
    process = await api.run(define(transform("a", 1)))
    await api.cancel(process["id"])
    await api.answer(process["id"], "nobody", {})
    lines = [line for line in dev.log_lines(process["id"]) if line["event"] == "http.request"]
    assert {(line["method"], line["path"], line["status"]) for line in lines} >= {
        ("POST", "/processes/{process_id}/cancel", 409),
        ("POST", "/processes/{process_id}/activities/{activity}/resume", 404),
    }


def _bomb(size: int) -> bytes:
    return gzip.compress(b"[" + b"0," * (size // 2) + b"0]")


async def _failed(api: Client, dev: Dev, activity: dict[str, Any], kind: str, value: Any = None) -> dict[str, Any]:
    """A process that fails with an error of a kind: answered, in the history, in the log, and the service goes on."""
    process = await api.run(define(activity), value)
    assert process["state"] == "FAILED"
    error = process["error"]
    assert error["type"] == kind
    assert activity_of(process, activity["id"])["error"] == error
    rows = await api.history(process["id"])
    assert [row["data"]["error"]["type"] for row in rows if row["type"] == "activity.failed"] == [kind]
    assert rows[-1]["type"] == "process.failed"
    said = [line for line in dev.log_lines(process["id"]) if line.get("error") == kind]
    assert said, dev.log_lines(process["id"])
    assert said[0]["activity"] == activity["id"]
    await _serves(api)
    return process


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.2:9/", "http://10.1.2.3/", "http://192.168.0.1/", "http://172.16.0.1/", "http://0.0.0.0/",
        "http://169.254.169.254/latest/meta-data/", "http://[::1]/", "http://[::ffff:10.0.0.1]/", "http://[fd00::1]/",
        "http://100.64.0.1/", "http://2130706434/", "http://0x7f.2/", "http://127.2/", "http://metadata.google.internal/",
        "http://224.0.0.1/", "http://[64:ff9b::a00:1]/",
    ],
)  # fmt: skip
async def test_private_addresses_are_blocked(api: Client, dev: Dev, url: str) -> None:
    process = await _failed(api, dev, http("call", "${input}", retry=quick(3)), "http.blocked", url)
    assert process["error"]["attempt"] == 1


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "file:///etc/passwd", "http://user:pw@127.0.0.1/", "gopher://x/"])
async def test_other_kinds_of_urls_are_blocked(api: Client, dev: Dev, url: str) -> None:
    await _failed(api, dev, http("call", "${input}"), "http.blocked", url)


@pytest.mark.parametrize(
    "url", ["", "x", "http://", "http:///x", "//127.0.0.1/", "http://127.0.0.1:99999/", "http://a b/"]
)
async def test_what_is_no_url_is_an_error_of_validation(api: Client, url: str) -> None:
    process = await api.run(define(http("call", "${input}", retry=quick(3))), url)
    assert process["state"] == "FAILED"
    assert process["error"]["category"] == "validation"
    assert process["error"]["attempt"] == 1


@pytest.mark.parametrize(
    "location", ["http://127.0.0.2:9/", "http://169.254.169.254/", "http://[::1]:9/", "//10.0.0.1/"]
)
async def test_redirects_to_private_addresses_are_blocked(api: Client, dev: Dev, target: Target, location: str) -> None:
    url = target.reply("/x", Reply(302, headers={"Location": location}))
    await _failed(api, dev, http("call", url, retry=quick(3)), "http.blocked")
    assert len(target.requests) == 1


async def test_endless_redirects_end(api: Client, target: Target) -> None:
    url = target.reply("/x", Reply(302, headers={"Location": "/x"}))
    process = await api.run(define(http("call", url, retry=quick(3))))
    assert process["state"] == "FAILED"
    assert len(target.requests) <= 5


async def test_an_answer_that_is_too_large(api: Client, dev: Dev, target: Target) -> None:
    url = target.reply("/x", Reply(200, b"x" * (2 * 1024 * 1024 + 1)))
    await _failed(api, dev, http("call", url, retry=quick(3)), "http.too_large")


async def test_an_answer_that_is_too_large_once_it_is_unpacked(api: Client, dev: Dev, target: Target) -> None:
    body = _bomb(64 * 1024 * 1024)
    assert len(body) < 200_000
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    await _failed(api, dev, http("call", target.reply("/x", Reply(200, body, headers))), "http.too_large")


async def test_an_answer_over_the_limit_of_outputs(api: Client, dev: Dev, target: Target) -> None:
    url = target.reply("/x", Reply(200, b"x" * (1024 * 1024 + 1)))
    await _failed(api, dev, http("call", url), "limit.output")


async def test_an_answer_that_comes_too_late(api: Client, dev: Dev, target: Target) -> None:
    url = target.reply("/x", Reply(gate=asyncio.Event()))
    await _failed(api, dev, http("call", url, timeout="100ms"), "http.timeout")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"a": "\\u0000"}', "application/json"),
        (b'{"a": "\\ud800"}', "application/json"),
        (b'{"a": NaN}', "application/json"),
        (b'{"a": 1e999}', "application/json"),
        (b'{"a": 123456789012345678901}', "application/json"),
        (b"[" * 10_000 + b"]" * 10_000, "application/json"),
        (b"a\x00b", "text/plain"),
        (b"not gzip", "gzip"),
    ],
)
async def test_an_answer_that_cannot_be_kept(api: Client, dev: Dev, target: Target, body: bytes, kind: str) -> None:
    headers = {"Content-Encoding": "gzip"} if kind == "gzip" else {"Content-Type": kind}
    call = http("call", target.reply("/x", Reply(200, body, headers)), retry=quick(3))
    process = await _failed(api, dev, call, "http.body")
    assert process["error"]["attempt"] == 1


async def test_an_answer_that_only_claims_to_be_json_is_a_text(api: Client, target: Target) -> None:
    url = target.reply("/x", Reply(200, b"<html>", {"Content-Type": "application/json"}))
    assert (await api.run(define(http("call", url))))["output"]["body"] == "<html>"


async def _raw(api: Client, content: bytes) -> bytes:
    parts = urlsplit(api.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        writer.write(content)
        await writer.drain()
        async with asyncio.timeout(15):
            return await reader.readuntil(b"\r\n\r\n")
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    "content",
    [
        b"hello\r\n\r\n",
        b"GET /processes HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"GET /processes HTTP/1.1\r\nHost: localhost\r\nA" + b"b" * 20_000 + b": c\r\n\r\n",
        b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /events HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_400(api: Client, content: bytes) -> None:
    head = await _raw(api, content)
    assert head.split(b" ")[1] == b"400"
    assert b"application/problem+json" in head
    await _serves(api)


async def test_a_client_that_leaves_in_the_middle_harms_nobody(api: Client) -> None:
    parts = urlsplit(api.url)
    for content in (b"POST /processes HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{", b"GET /pro", b""):
        _, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(content)
        writer.transport.abort()
    started = await api.start(define(manual("ask")))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await api.ended(started["id"])
    await api.cancel(started["id"])
    assert (await api.ended(started["id"]))["state"] == "CANCELLED"


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/xml", "multipart/form-data; boundary=x", "application/json; charset=latin-1"]
)
async def test_a_body_that_does_not_say_json_is_refused(api: Client, kind: str) -> None:
    answer = await api.call("POST", "/events", raw=b'{"type": "e"}', headers={"Content-Type": kind})
    assert_problem(answer, 415)


async def test_nothing_unexpected_was_logged(dev: Dev, api: Client) -> None:
    await _serves(api)
    failures = [line for line in dev.log_lines() if line["level"] == "error"]
    assert failures == []
