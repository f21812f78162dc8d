"""Leases and holder records on a real Redis."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis.asyncio

from understudy.domain.errors import Unreachable
from understudy.persistence.leases import CLAIM_SIZE_MAX, Leases

A, B = UUID(int=10), UUID(int=11)
PIDS = [UUID(int=number) for number in range(100, 104)]


@pytest.fixture
async def leases(redis_url: str) -> AsyncIterator[Leases]:
    opened = Leases(redis_url)
    yield opened
    await opened.stop()


@pytest.fixture
async def server(redis_url: str) -> AsyncIterator[Any]:
    async with redis.asyncio.from_url(redis_url, decode_responses=True) as client:
        yield client


async def test_a_lease_lives_for_its_time_and_is_prolonged(leases: Leases, server: Any, redis_url: str) -> None:
    await leases.open(A)
    key = f"understudy:sess:{A}"
    assert 9_000 < await server.pttl(key) <= 10_000
    await server.pexpire(key, 5_000)

    assert await leases.renew(A)

    assert 9_000 < await server.pttl(key) <= 10_000
    short = Leases(redis_url, ttl_seconds=2.5, prefix="other:")
    await short.open(A)
    assert 2_000 < await server.pttl(f"other:sess:{A}") <= 2_500
    await short.stop()


async def test_a_forgotten_lease_is_not_made_again_by_renewing(leases: Leases, server: Any) -> None:
    await leases.open(A)
    await server.flushdb()

    assert not await leases.renew(A)
    assert await leases.claim(A, PIDS) is None

    assert await server.keys() == []


async def test_the_first_holds_and_the_second_hears_who(leases: Leases) -> None:
    await leases.open(A)
    await leases.open(B)

    assert await leases.claim(A, PIDS[:2]) == [None, None]
    assert await leases.claim(A, PIDS[:1]) == [None]
    assert await leases.claim(B, PIDS[1:3]) == [A, None]
    assert await leases.claim(A, PIDS[:3]) == [None, None, B]
    assert await leases.claim(A, []) == []


async def test_the_record_of_a_session_without_a_lease_is_taken_over(leases: Leases) -> None:
    for session_id in (A, B):
        await leases.open(session_id)
    await leases.claim(A, PIDS)

    await leases.close(A)

    assert await leases.claim(B, PIDS) == [None] * 4
    await leases.open(A)
    assert await leases.claim(A, PIDS) == [B] * 4


async def test_records_outlive_leases_by_far_but_not_for_ever(leases: Leases, server: Any) -> None:
    await leases.open(A)
    await leases.claim(A, PIDS[:1])

    assert 23 * 3600 < await server.ttl(f"understudy:own:{PIDS[0]}") <= 24 * 3600


async def test_only_records_that_name_the_session_are_released(leases: Leases) -> None:
    for session_id in (A, B):
        await leases.open(session_id)
    await leases.claim(A, PIDS[:2])
    await leases.claim(B, PIDS[2:])

    await leases.release(A, PIDS)
    await leases.release(A, [])

    assert await leases.holders(PIDS) == [None, None, B, B]


async def test_a_record_is_repaired_only_while_it_says_what_was_seen(leases: Leases) -> None:
    for session_id in (A, B):
        await leases.open(session_id)
    await leases.claim(A, PIDS[:1])

    await leases.repair(PIDS[0], B, UUID(int=99))
    assert await leases.claim(B, PIDS[:1]) == [A]

    await leases.repair(PIDS[0], A, B)
    assert await leases.claim(A, PIDS[:1]) == [B]
    await leases.repair(PIDS[1], A, B)
    assert await leases.claim(A, PIDS[1:2]) == [None]


async def test_many_processes_go_in_parts(leases: Leases) -> None:
    for session_id in (A, B):
        await leases.open(session_id)
    many = [uuid4() for _ in range(CLAIM_SIZE_MAX * 2 + 1)]
    await leases.claim(B, many[-1:])

    assert await leases.claim(A, many) == [None] * (len(many) - 1) + [B]

    await leases.release(A, many)
    assert await leases.claim(B, many) == [None] * len(many)


async def test_of_claims_at_once_one_is_granted(leases: Leases) -> None:
    nodes = [uuid4() for _ in range(10)]
    for session_id in nodes:
        await leases.open(session_id)

    answers = await asyncio.gather(*(leases.claim(session_id, PIDS[:1]) for session_id in nodes))

    (winner,) = [session_id for session_id, answer in zip(nodes, answers, strict=True) if answer == [None]]
    assert [answer for answer in answers if answer != [None]] == [[winner]] * 9


async def test_a_server_that_lost_its_scripts_gets_them_again(leases: Leases, server: Any) -> None:
    await leases.open(A)
    assert await leases.renew(A)
    await server.script_flush()
    assert await leases.renew(A)


async def test_no_server_is_unreachable() -> None:
    leases = Leases("redis://127.0.0.1:1")
    for call in (
        leases.open(A),
        leases.renew(A),
        leases.claim(A, PIDS),
        leases.repair(PIDS[0], A, B),
        leases.release(A, PIDS),
        leases.close(A),
    ):
        with pytest.raises(Unreachable):
            await call
    await leases.stop()


async def test_holders_are_told_while_their_lease_lives(redis_url: str) -> None:
    leases = Leases(redis_url)
    await leases.open(A)
    first, second, unheld = (UUID(int=number) for number in (101, 102, 103))
    await leases.claim(A, [first, second])

    assert await leases.holders([first, unheld, second]) == [A, None, A]
    assert await leases.holders([]) == []
    await leases.close(A)
    assert await leases.holders([first]) == [None]
    await leases.stop()


class Peer:
    """A server that answers each command with the next of these replies, and then falls silent."""

    def __init__(self, *replies: bytes) -> None:
        self._replies = list(replies)
        self.commands = 0

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}?protocol=2&lib_name=&lib_version="

    async def __aexit__(self, *_exc: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (received := await reader.read(65536)) and self._replies:
            if b"EVALSHA" in received:
                self.commands += 1
                writer.write(self._replies.pop(0))
            else:
                writer.write(b"+OK\r\n" * received.count(b"*"))
        await reader.read()
        writer.close()


async def test_the_answer_to_another_call_is_not_taken_for_this_ones() -> None:
    async with Peer(b"*2\r\n$3\r\n999\r\n:1\r\n") as url:
        leases = Leases(url)
        with pytest.raises(Unreachable, match="something else"):
            await leases.renew(A)
        await leases.stop()


async def test_a_silent_server_is_asked_once_and_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("understudy.persistence.leases.SOCKET_TIMEOUT_SECONDS", 0.1)
    peer = Peer(b"", b"")
    async with peer as url, asyncio.timeout(5):
        leases = Leases(url)
        with pytest.raises(Unreachable):
            await leases.renew(A)
        await leases.stop()
    assert peer.commands == 1
