"""What the egress client answers, refuses and follows, on real sockets."""

import gzip
import socket
import zlib
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from tests.integration.egress_rig import Conversation, answering, egress, failing, outgoing, silent, target


class TestAnswers:
    async def test_a_post_reaches_an_aiohttp_server_with_its_headers_and_body(self) -> None:
        async def echo(request: web.Request) -> web.Response:
            names = ("Idempotency-Key", "User-Agent", "X-Own", "Content-Type")
            fields: dict[str, Any] = {name: request.headers.get(name) for name in names}
            return web.json_response(fields | {"body": await request.text(), "query": request.query_string})

        application = web.Application()
        application.router.add_post("/echo", echo)
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            async with egress() as client:
                port = runner.addresses[0][1]
                answer = await client.send(
                    outgoing(
                        f"http://127.0.0.1:{port}/echo?a=1",
                        "post",
                        headers=(("X-Own", "é"), ("Content-Type", "text/plain")),
                        body=b"hello",
                    )
                )
        finally:
            await runner.cleanup()
        assert answer.status == 200
        assert answer.body["User-Agent"].startswith("understudy/")
        assert (answer.body["Idempotency-Key"], answer.body["X-Own"]) == ("key-1", "é")
        assert (answer.body["body"], answer.body["query"], answer.body["Content-Type"]) == (
            "hello",
            "a=1",
            "text/plain",
        )
        assert answer.headers["content-type"].startswith("application/json")
        assert answer.elapsed_seconds > 0
        assert answer.retry_after_seconds is None

    async def test_a_kept_connection_serves_many_requests(self) -> None:
        async with target(answering(b'{"n": 1}', content_type="application/json")) as origin, egress() as client:
            bodies = [(await client.send(outgoing(origin.url))).body for _ in range(3)]
            assert (bodies, origin.connections, len(origin.seen)) == ([{"n": 1}] * 3, 1, 3)

    async def test_a_request_without_body_has_no_content_type(self) -> None:
        async with target(answering()) as origin, egress() as client:
            answer = await client.send(outgoing(origin.url, "POST"))
            assert answer.body is None
            assert "content-type" not in origin.seen[0].headers
            assert origin.seen[0].headers["accept-encoding"] == "gzip, deflate"

    @pytest.mark.parametrize("coding", ["gzip", "deflate", "raw deflate"])
    async def test_compressed_answers_are_read(self, coding: str) -> None:
        text = "ein Wort " * 1000
        raw = zlib.compressobj(wbits=-15)
        packed = {
            "gzip": gzip.compress(text.encode()),
            "deflate": zlib.compress(text.encode()),
            "raw deflate": raw.compress(text.encode()) + raw.flush(),
        }[coding]
        async with (
            target(answering(packed, content_encoding=coding.rsplit(maxsplit=1)[-1])) as origin,
            egress() as client,
        ):
            assert (await client.send(outgoing(origin.url))).body == text

    async def test_an_error_status_is_an_answer_with_its_retry_after(self) -> None:
        script = answering(b"busy", status="503 Busy", retry_after="7", content_type="text/plain")
        async with target(script) as origin, egress() as client:
            answer = await client.send(outgoing(origin.url))
            assert (answer.status, answer.body, answer.retry_after_seconds) == (503, "busy", 7.0)

    async def test_head_and_204_have_no_body(self) -> None:
        async def script(conversation: Conversation) -> None:
            await conversation.request()
            await conversation.write(b"HTTP/1.1 200 OK\r\ncontent-length: 999999999\r\n\r\n")
            await conversation.request()
            await conversation.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            await conversation.until_closed()

        async with target(script) as origin, egress() as client:
            assert (await client.send(outgoing(origin.url, "HEAD"))).body is None
            assert (await client.send(outgoing(origin.url))).body is None
            assert origin.connections == 1

    async def test_cookies_are_neither_kept_nor_shown(self) -> None:
        async with target(answering(set_cookie="sid=secret; Path=/")) as origin, egress() as client:
            answer = await client.send(outgoing(origin.url))
            await client.send(outgoing(origin.url))
            assert "set-cookie" not in answer.headers
            assert all("cookie" not in seen.headers for seen in origin.seen)

    async def test_proxies_of_the_environment_are_ignored(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with target(silent) as proxy, target(answering(b"direct")) as origin, egress() as client:
            for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
                monkeypatch.setenv(name, proxy.url)
            monkeypatch.delenv("no_proxy", raising=False)
            monkeypatch.delenv("NO_PROXY", raising=False)
            assert (await client.send(outgoing(origin.url))).body == "direct"
            assert proxy.connections == 0

    async def test_an_answer_that_postgresql_cannot_keep_is_a_definite_failure(self) -> None:
        async with target(answering(b'"\\u0000"', content_type="application/json")) as origin, egress() as client:
            failure = await failing(client, origin.url)
            assert (failure.type, failure.category, failure.is_unknown) == ("http.body", "external", False)
            assert failure.details["status"] == 200


class TestGuard:
    @pytest.mark.parametrize(
        "host",
        [
            "127.0.0.1",
            "localhost",
            "LOCALHOST.",
            "a.localhost",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]",
            "169.254.169.254",
            "10.0.0.1",
            "0.0.0.0",
            "2130706433",
            "0x7f.1",
            "0177.0.0.1",
            "127.1",
            "127.0.0.1.",
            "１２７.0.0.1",  # noqa: RUF001 - digits that IDNA maps to ASCII
            "metadata.google.internal",
        ],
    )
    async def test_no_connection_is_made_to_what_is_not_public(self, host: str) -> None:
        async with target(silent) as origin, egress("example.com") as client:
            port = urlsplit(origin.url).port
            failure = await failing(client, f"http://{host}:{port}/latest/meta-data?token=s3cret")
            assert (failure.type, failure.category, failure.is_unknown) == ("http.blocked", "validation", False)
            assert "UNDERSTUDY_EGRESS_ALLOW" in failure.message
            assert "s3cret" not in failure.message + str(failure.details)
            assert origin.connections == 0

    async def test_the_socket_itself_is_guarded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("understudy.executors.egress.judge", lambda url, policy: None)
        async with target(silent) as origin, egress("example.com") as client:
            failure = await failing(client, origin.url)
            assert (failure.type, failure.is_unknown, origin.connections) == ("http.blocked", False, 0)

    async def test_a_name_that_changes_its_mind_is_judged_at_every_connection(self) -> None:
        answers = [["127.0.0.1"], ["127.0.0.2"]]

        async def rebinding(host: str, port: int) -> Sequence[str]:
            return answers.pop(0)

        script = answering(b"first", connection="close")
        async with target(script) as origin, egress("127.0.0.1", lookup=rebinding) as client:
            url = origin.url.replace("127.0.0.1", "rebinding.example")
            assert (await client.send(outgoing(url))).body == "first"
            failure = await failing(client, url)
            assert (failure.type, origin.connections, answers) == ("http.blocked", 1, [])
            assert "127.0.0.2" not in failure.message + str(failure.details)

    async def test_one_private_answer_among_others_refuses_the_name(self) -> None:
        async def mixed(host: str, port: int) -> Sequence[str]:
            return ["127.0.0.1", "10.0.0.1"]

        async with target(silent) as origin, egress("127.0.0.1", lookup=mixed) as client:
            failure = await failing(client, origin.url.replace("127.0.0.1", "mixed.example"))
            assert (failure.type, origin.connections) == ("http.blocked", 0)

    async def test_an_allowed_host_is_reached_by_its_name_only(self) -> None:
        async def inside(host: str, port: int) -> Sequence[str]:
            return ["127.0.0.1"]

        async with target(answering(b"in")) as origin, egress("stock.internal", lookup=inside) as client:
            named = origin.url.replace("127.0.0.1", "stock.internal")
            assert (await client.send(outgoing(named))).body == "in"
            assert (await failing(client, origin.url)).type == "http.blocked"
            assert (await failing(client, named.replace("stock", "other"))).type == "http.blocked"
            assert origin.connections == 1

    @pytest.mark.parametrize("name", ["Host", "content-length", "Transfer-Encoding", "Connection", "idempotency-key"])
    async def test_headers_of_the_client_are_refused_before_anything_is_sent(self, name: str) -> None:
        async with target(silent) as origin, egress() as client:
            failure = await failing(client, origin.url, headers=((name, "x"),))
            assert (failure.type, failure.category, failure.is_unknown) == ("http.request", "validation", False)
            assert origin.connections == 0


class TestRedirects:
    async def test_a_relative_redirect_is_followed(self) -> None:
        async def script(conversation: Conversation) -> None:
            await conversation.request()
            await conversation.answer(status="302 Found", location="/there?x=1#f")
            await conversation.request()
            await conversation.answer(b"here")
            await conversation.until_closed()

        async with target(script) as origin, egress() as client:
            answer = await client.send(outgoing(f"{origin.url}/a"))
            assert (answer.status, answer.body) == (200, "here")
            assert [seen.path for seen in origin.seen] == ["/a", "/there?x=1"]
            assert [seen.headers["idempotency-key"] for seen in origin.seen] == ["key-1", "key-1"]

    @pytest.mark.parametrize(
        "location", ["http://10.0.0.1/", "http://[::1]/", "http://[::ffff:a00:1]/", "//169.254.169.254/", "file:///x"]
    )
    async def test_a_redirect_to_a_private_address_is_a_definite_failure(self, location: str) -> None:
        async with target(answering(status="302 Found", location=location)) as origin, egress() as client:
            failure = await failing(client, origin.url)
            assert (failure.type, failure.is_unknown, len(origin.seen)) == ("http.blocked", False, 1)

    async def test_a_loop_ends(self) -> None:
        async with target(answering(status="307 Again", location="/")) as origin, egress() as client:
            failure = await failing(client, origin.url)
            assert (failure.type, failure.category, failure.is_unknown) == ("http.redirects", "external", False)
            assert len(origin.seen) == 4

    async def test_secrets_stay_at_their_origin(self) -> None:
        async with target(answering(b"ok")) as other:
            async with target(answering(status="302 Found", location=f"{other.url}/x")) as origin, egress() as client:
                headers = (("Authorization", "a"), ("Cookie", "b"), ("X-Api-Key", "c"), ("X-Plain", "d"))
                request = outgoing(origin.url, headers=headers, secret_headers=frozenset({"x-api-key"}))
                await client.send(request)
            assert {"authorization", "cookie", "x-api-key", "x-plain"} <= origin.seen[0].headers.keys()
            assert {"authorization", "cookie", "x-api-key"} & other.seen[0].headers.keys() == set()
            assert other.seen[0].headers["x-plain"] == "d"

    async def test_a_body_goes_along_to_the_same_origin_only(self) -> None:
        async def script(conversation: Conversation) -> None:
            await conversation.request()
            await conversation.answer(status="308 Moved", location="/b")
            await conversation.request()
            await conversation.answer(status="307 Moved", location="http://127.0.0.1:9/")
            await conversation.until_closed()

        async with target(script) as origin, egress() as client:
            failure = await failing(client, origin.url, "POST", body=b"payload")
            assert (failure.type, failure.is_unknown) == ("http.redirects", False)
            assert [(seen.method, seen.body) for seen in origin.seen] == [("POST", b"payload")] * 2

    async def test_see_other_turns_a_post_into_a_get(self) -> None:
        async def script(conversation: Conversation) -> None:
            await conversation.request()
            await conversation.answer(status="303 See Other", location="/result")
            await conversation.request()
            await conversation.answer(b"done")
            await conversation.until_closed()

        async with target(script) as origin, egress() as client:
            await client.send(outgoing(origin.url, "POST", body=b"x", headers=(("Content-Type", "text/plain"),)))
            assert (origin.seen[1].method, origin.seen[1].body) == ("GET", b"")
            assert "content-type" not in origin.seen[1].headers

    async def test_what_fails_after_an_accepted_post_is_unknown(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            location = f"http://127.0.0.1:{free.getsockname()[1]}/"
            async with target(answering(status="303 See Other", location=location)) as origin, egress() as client:
                posted = await failing(client, origin.url, "POST", body=b"x")
                read = await failing(client, origin.url)
        assert (posted.type, posted.is_unknown) == ("http.unknown", True)
        assert (read.type, read.is_unknown) == ("http.connect", False)
