"""How the egress client fails: limits, time, unknown outcomes, cancellation; under both event loops."""

import asyncio
import gzip
import socket
import ssl
import tracemalloc
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvloop

from tests.integration.egress_rig import (
    NEVER_IN_A_TEST,
    Conversation,
    answering,
    egress,
    failing,
    outgoing,
    silent,
    target,
)
from understudy.executors.address import AddressPolicy
from understudy.executors.egress import EgressClient
from understudy.executors.exchange import Answer, EgressFailure

# A key of this test alone, for localhost and 127.0.0.1.
CERTIFICATE = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgu+hV8lRHytph0XGn
D6hLf5rShgd+1lKJdHMzooLHNf6hRANCAASHD0cmoy0/qCvw+UdeTU2qat5x+nD1
N1tFp3o/w/gi4cKAP/YPSNT00qKTSkTtzZhT7Nbst4pEqQHiH1nmph1j
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBmzCCAUGgAwIBAgIUB2oEdPnd7/rw1Tf2xbYPsGtQRakwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyNTAxMjAyM1oYDzIxMjYxMTAx
MDEyMDIzWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAASHD0cmoy0/qCvw+UdeTU2qat5x+nD1N1tFp3o/w/gi4cKAP/YPSNT0
0qKTSkTtzZhT7Nbst4pEqQHiH1nmph1jo28wbTAdBgNVHQ4EFgQUAsmc8cL8ec02
7MRkiVuII9Piqw8wHwYDVR0jBBgwFoAUAsmc8cL8ec027MRkiVuII9Piqw8wDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDSAAwRQIgH6Gq81mG96ic45KMQhO6aSJveH8RxUf0pZ26Mc8l1ZkCIQDR
vMkz9KlT9Hme/W7aRgHIsKv04COIw4RGQ00v9OY/DA==
-----END CERTIFICATE-----
"""


class TestLimits:
    async def test_a_bomb_is_defused_in_little_memory(self) -> None:
        packer = zlib.compressobj(9, wbits=31)
        bomb = b"".join([*(packer.compress(bytes(1 << 20)) for _ in range(100)), packer.flush()])
        assert len(bomb) < 110_000
        async with target(answering(bomb, content_encoding="gzip")) as origin, egress() as client:
            tracemalloc.start()
            try:
                failure = await failing(client, origin.url)
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
        assert (failure.type, failure.category, failure.is_unknown) == ("http.too_large", "external", False)
        assert peak < 8 * 1024 * 1024

    async def test_a_declared_size_over_the_limit_is_refused_unread(self) -> None:
        async def script(conversation: Conversation) -> None:
            await conversation.request()
            await conversation.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n")
            await conversation.until_closed()

        async with target(script) as origin, egress(response_size_max=1000) as client:
            assert (await failing(client, origin.url)).type == "http.too_large"
            async with asyncio.timeout(NEVER_IN_A_TEST):
                await origin.closed.wait()

    async def test_an_endless_answer_is_cut(self) -> None:
        async def script(conversation: Conversation) -> None:
            await conversation.request()
            await conversation.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            try:
                while True:
                    await conversation.write(b"400\r\n" + bytes(0x400) + b"\r\n")
            finally:
                conversation.target.closed.set()

        async with target(script) as origin, egress(response_size_max=100_000) as client:
            failure = await failing(client, origin.url)
            assert (failure.type, failure.is_unknown) == ("http.too_large", False)
            async with asyncio.timeout(NEVER_IN_A_TEST):
                await origin.closed.wait()

    async def test_an_answer_of_exactly_the_limit_passes(self) -> None:
        async with target(answering(b"x" * 1000)) as origin, egress(response_size_max=1000) as client:
            assert (await client.send(outgoing(origin.url))).body == "x" * 1000

    @pytest.mark.parametrize(
        "part", [b"HT", b"HTTP/1.1 200 OK\r\nx: ", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n1"]
    )
    async def test_a_target_that_never_completes_runs_out_of_time(self, part: bytes) -> None:
        async def script(conversation: Conversation) -> None:
            await conversation.request()
            await conversation.write(part)
            await conversation.until_closed()

        async with target(script) as origin, egress() as client:
            failure = await failing(client, origin.url, timeout_seconds=0.2)
            assert (failure.type, failure.category, failure.is_unknown) == ("http.timeout", "timeout", True)
            async with asyncio.timeout(NEVER_IN_A_TEST):
                await origin.closed.wait()

    async def test_time_that_runs_out_before_anything_was_sent_is_a_connect_error(self) -> None:
        never = asyncio.Event()

        async def slow(host: str, port: int) -> Sequence[str]:
            await never.wait()
            return []

        async with egress(lookup=slow) as client:
            failure = await failing(client, "http://slow.example/", timeout_seconds=0.05)
            assert (failure.type, failure.category, failure.is_unknown) == ("http.connect", "external", False)

    async def test_a_body_that_nobody_reads_does_not_hold_its_connection(self, monkeypatch: pytest.MonkeyPatch) -> None:
        opened: list[socket.socket] = []

        class Watched(socket.socket):
            def __init__(self, *arguments: Any, **fields: Any) -> None:
                super().__init__(*arguments, **fields)
                opened.append(self)

        async def deaf(conversation: Conversation) -> None:
            await asyncio.Event().wait()

        body = bytes(16 * 1024 * 1024)
        async with target(deaf, receive_buffer=4096) as origin, target(answering()) as other, egress() as client:
            with monkeypatch.context() as patch:
                patch.setattr("understudy.executors.egress.socket.socket", Watched)
                failure = await failing(client, origin.url, "POST", body=body, timeout_seconds=0.2)
            assert (failure.type, failure.is_unknown) == ("http.timeout", True)
            # A round trip elsewhere gives the loop the turns to close what was aborted.
            await client.send(outgoing(other.url))
            ours = opened[0]  # the second is what the target accepted
            assert ours.fileno() == -1

    @pytest.mark.parametrize(
        "head",
        [
            "".join(f"x-{n}: y\r\n" for n in range(300)),
            "x: " + "y" * 9000 + "\r\n",
            "".join(f"x-{n}: {'y' * 8000}\r\n" for n in range(6)),
        ],
        ids=["count", "size", "total"],
    )
    async def test_headers_of_an_answer_are_bounded(self, head: str) -> None:
        async def script(conversation: Conversation) -> None:
            await conversation.request()
            await conversation.write(f"HTTP/1.1 200 OK\r\n{head}content-length: 0\r\n\r\n".encode())
            await conversation.until_closed()

        async with target(script) as origin, egress() as client:
            assert (await failing(client, origin.url)).type in {"http.too_large", "http.unknown"}

    async def test_an_unknown_content_coding_is_refused(self) -> None:
        async with target(answering(b"x", content_encoding="br")) as origin, egress() as client:
            failure = await failing(client, origin.url)
            assert (failure.type, failure.is_unknown) == ("http.body", False)


class TestOutcomes:
    async def test_a_refused_connection_and_an_unknown_name_sent_nothing(self) -> None:
        async def nowhere(host: str, port: int) -> Sequence[str]:
            raise socket.gaierror(socket.EAI_NONAME, "not known")

        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            async with egress("127.0.0.1", lookup=nowhere) as client:
                refused = await failing(client, f"http://127.0.0.1:{free.getsockname()[1]}/")
                unknown = await failing(client, "http://nowhere.example/")
        assert (refused.type, refused.is_unknown, refused.details["reason"]) == ("http.connect", False, "refused")
        assert (unknown.type, unknown.is_unknown, unknown.details["reason"]) == ("http.connect", False, "dns")

    async def test_a_reset_after_the_request_is_unknown(self) -> None:
        async def script(conversation: Conversation) -> None:
            await conversation.request()

        async with target(script) as origin, egress() as client:
            failure = await failing(client, origin.url, "POST", body=b"x")
            assert (failure.type, failure.category, failure.is_unknown) == ("http.unknown", "external", True)

    async def test_nothing_is_sent_twice_behind_our_back(self) -> None:
        async def script(conversation: Conversation) -> None:
            await conversation.request()
            await conversation.answer()
            await conversation.request()

        async with target(script) as origin, egress() as client:
            assert client._session is not None
            assert "_retry_connection" in aiohttp.ClientSession.ATTRS
            await client.send(outgoing(origin.url))
            failure = await failing(client, origin.url)
            assert (failure.type, failure.is_unknown) == ("http.unknown", True)
            assert (origin.connections, len(origin.seen)) == (1, 2)

    @pytest.mark.parametrize(
        "answer", [b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n12", b"HTTP/1.1 101 X\r\n\r\n"]
    )
    async def test_an_answer_that_is_none_is_unknown(self, answer: bytes) -> None:
        async def script(conversation: Conversation) -> None:
            await conversation.request()
            await conversation.write(answer)
            conversation.writer.write_eof()
            await conversation.until_closed()

        async with target(script) as origin, egress() as client:
            failure = await failing(client, origin.url)
            assert (failure.type, failure.is_unknown) == ("http.unknown", True)

    async def test_an_answer_that_nobody_asked_for_is_not_taken_for_the_next_one(self) -> None:
        go_on, gone_on = asyncio.Event(), asyncio.Event()

        async def script(conversation: Conversation) -> None:
            await conversation.request()
            await conversation.answer(b"first")
            await go_on.wait()
            await conversation.answer(b"unasked")
            gone_on.set()
            await conversation.until_closed()

        async with target(script) as origin, target(answering(b"barrier")) as other, egress() as client:
            await client.send(outgoing(origin.url))
            go_on.set()
            await gone_on.wait()
            # A round trip elsewhere: by then the loop has read what lies on the other connection.
            await client.send(outgoing(other.url))
            failure = await failing(client, origin.url, "POST")
            assert (failure.type, failure.is_unknown, failure.details["reason"]) == ("http.connect", False, "stale")

    async def test_a_cancelled_request_closes_its_connection(self) -> None:
        async def script(conversation: Conversation) -> None:
            await conversation.request()
            await conversation.until_closed()

        async with target(script) as origin, egress() as client:
            task = asyncio.create_task(client.send(outgoing(origin.url)))
            await origin.requested.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            async with asyncio.timeout(NEVER_IN_A_TEST):
                await origin.closed.wait()

    async def test_stopping_ends_what_is_in_flight_and_what_waits_for_a_connection(self) -> None:
        async def script(conversation: Conversation) -> None:
            await conversation.request()
            await conversation.until_closed()

        async with target(script) as origin, egress(connections_max=1) as client:
            flying = asyncio.create_task(client.send(outgoing(origin.url)))
            await origin.requested.wait()
            waiting = asyncio.create_task(client.send(outgoing(origin.url)))
            blocked = asyncio.create_task(client.send(outgoing("http://10.0.0.1/")))
            await asyncio.wait({blocked})  # the task before it has begun to wait by now
            await client.stop()
            ended = await asyncio.gather(flying, waiting, blocked, return_exceptions=True)
        assert [(type(end), getattr(end, "type", None)) for end in ended] == [
            (EgressFailure, "http.unknown"),
            (EgressFailure, "http.connect"),
            (EgressFailure, "http.blocked"),
        ]

    async def test_start_and_stop_are_safe_twice_and_a_stopped_client_sends_nothing(self) -> None:
        client = EgressClient(AddressPolicy.parse(["127.0.0.1"]))
        await client.stop()
        await client.start()
        await client.start()
        await client.stop()
        await client.stop()
        failure = await failing(client, "http://127.0.0.1:9/")
        assert (failure.type, failure.is_unknown) == ("http.connect", False)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    path = tmp_path / "certificate.pem"
    path.write_text(CERTIFICATE)
    return path


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
class TestLoops:
    def test_answers_failures_and_cancellation(self, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
        async def hanging(conversation: Conversation) -> None:
            await conversation.request()
            await conversation.until_closed()

        async def scenario() -> tuple[Answer, EgressFailure, EgressFailure, EgressFailure]:
            script = answering(gzip.compress(b'{"a": 1}'), content_type="application/json", content_encoding="gzip")
            async with target(script) as origin, target(hanging) as other, egress("127.0.0.1", "localhost") as client:
                named = origin.url.replace("127.0.0.1", "localhost")
                answer = await client.send(outgoing(named, "POST", body=b"{}"))
                blocked = await failing(client, "http://[::1]/")
                assert (await failing(client, "http://nowhere.invalid/", timeout_seconds=5)).type == "http.connect"
                late = await failing(client, other.url, timeout_seconds=0.1)
                other.closed.clear()
                other.requested.clear()
                task = asyncio.create_task(client.send(outgoing(other.url)))
                await other.requested.wait()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                async with asyncio.timeout(NEVER_IN_A_TEST):
                    await other.closed.wait()
                with socket.socket() as free:
                    free.bind(("127.0.0.1", 0))
                    refused = await failing(client, f"http://127.0.0.1:{free.getsockname()[1]}/")
                return answer, blocked, late, refused

        with asyncio.Runner(loop_factory=new_loop) as runner:
            answer, blocked, late, refused = runner.run(scenario())
        assert (answer.status, answer.body) == (200, {"a": 1})
        assert [failure.type for failure in (blocked, late, refused)] == [
            "http.blocked",
            "http.timeout",
            "http.connect",
        ]

    def test_tls(self, new_loop: Callable[[], asyncio.AbstractEventLoop], certificate: Path) -> None:
        async def plaintext(conversation: Conversation) -> None:
            await conversation.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            await conversation.until_closed()

        async def scenario() -> tuple[Answer, list[EgressFailure]]:
            tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            tls.load_cert_chain(certificate)
            trusting = ssl.create_default_context(cafile=certificate)
            async with target(answering(b"safe"), tls=tls) as origin, target(silent) as plain:
                async with egress(ssl_context=trusting) as client:
                    answer = await client.send(outgoing(origin.url))
                    late = await failing(client, plain.url.replace("http:", "https:"), timeout_seconds=0.1)
                async with egress() as client:
                    untrusted = await failing(client, origin.url)
            async with target(plaintext) as origin, egress() as client:
                failures = [untrusted, late, await failing(client, origin.url.replace("http:", "https:"))]
            return answer, failures

        with asyncio.Runner(loop_factory=new_loop) as runner:
            answer, failures = runner.run(scenario())
        assert answer.body == "safe"
        assert [(failure.type, failure.is_unknown) for failure in failures] == [("http.connect", False)] * 3
        assert [failure.details["reason"] for failure in failures] == ["certificate", "timeout", "tls"]
