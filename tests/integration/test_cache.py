"""The cache on Redis: what it promises, how long, and that a server which fails is a miss."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import redis.asyncio
from structlog.testing import capture_logs

from tests.contract.cache_promises import PROMISES, A, Promise, view
from tests.factories import T0
from tests.fakes.clock import ManualClock
from understudy.domain.cache import VIEW_TTL_SECONDS, TargetCount
from understudy.domain.errors import Unreachable
from understudy.domain.stores import Retained
from understudy.persistence.cache import REST_SECONDS, TARGETS_MAX, VIEW_SIZE_MAX, RedisCache

RETAINED = Retained(b"hash", 201, "r")


@pytest.fixture
async def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def cache(redis_url: str, clock: ManualClock) -> AsyncIterator[RedisCache]:
    opened = RedisCache(redis_url, clock)
    yield opened
    await opened.stop()
    await opened.stop()


@pytest.fixture
async def server(redis_url: str) -> AsyncIterator[Any]:
    async with redis.asyncio.from_url(redis_url) as client:
        yield client


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
async def test_the_cache_on_redis_keeps_a_promise(promise: Promise, cache: RedisCache) -> None:
    await promise(cache)
    assert cache.failures == 0


async def test_copies_and_versions_live_for_seconds_and_answers_for_a_day(cache: RedisCache, server: Any) -> None:
    await cache.keep(view(2))
    await cache.remember("POST /events", "k", RETAINED)
    milliseconds = VIEW_TTL_SECONDS * 1000
    assert milliseconds <= 5_000
    assert milliseconds - 1_000 < await server.pttl(f"understudy:view:{A}") <= milliseconds
    assert 86_300 < await server.ttl("understudy:idem:POST /events:k") <= 86_400
    await server.pexpire(f"understudy:view:{A}", 10)
    await cache.keep(view(2, key="again"))
    await cache.outdate({A: 3})
    assert milliseconds - 1_000 < await server.pttl(f"understudy:view:{A}") <= milliseconds


async def test_of_a_large_process_only_the_version_is_held(cache: RedisCache) -> None:
    await cache.keep(view(1))
    await cache.keep(view(2, input="x" * VIEW_SIZE_MAX))
    assert await cache.find(A) is None
    await cache.keep(view(1))
    assert await cache.find(A) is None


@pytest.mark.parametrize("content", [b"", b"7\n\xc1", b"7\n\x80", b"what is this", b"7\n" + bytes(100)])
async def test_what_cannot_be_read_is_a_miss(cache: RedisCache, server: Any, content: bytes) -> None:
    await server.set(f"understudy:view:{A}", content)
    await server.set("understudy:idem:s:k", content)
    assert await cache.find(A) is None
    assert await cache.recall("s", "k") is None
    await cache.keep(view(8))
    assert await cache.find(A) == view(8)


async def test_what_belongs_to_something_else_is_a_miss(cache: RedisCache, server: Any) -> None:
    await cache.keep(view(1))
    await cache.remember("s", "k", RETAINED)
    await server.rename(f"understudy:view:{A}", "understudy:view:00000000-0000-0000-0000-000000000002")
    await server.rename("understudy:idem:s:k", "understudy:idem:s:other")
    assert await cache.find(view(1).process_id) is None
    assert await cache.recall("s", "other") is None


async def test_the_hosts_that_were_called_last_are_counted(cache: RedisCache, server: Any) -> None:
    hosts = [f"h{number}" for number in range(TARGETS_MAX + 2)]
    await cache.add([TargetCount(host, 1, 0, 0, None, T0 + timedelta(seconds=n)) for n, host in enumerate(hosts)])
    assert [count.host for count in await cache.latest()] == list(reversed(hosts[2:]))
    assert 600_000 < await server.ttl("understudy:retries:h7") <= 604_800
    await server.delete(f"understudy:retries:{hosts[-1]}")
    assert (await cache.latest())[0].host == hosts[-2]


async def test_a_server_that_is_gone_is_a_miss_and_said_once(clock: ManualClock) -> None:
    cache = RedisCache("redis://127.0.0.1:9", clock)
    with capture_logs() as logs:
        for _ in range(3):
            await cache.keep(view())
            assert await cache.find(A) is None
            assert not await cache.outdate({A: 1})
            await cache.remember("s", "k", RETAINED)
            assert await cache.recall("s", "k") is None
            await cache.add([TargetCount("a", 1, 0, 0, None, T0)])
            with pytest.raises(Unreachable):
                await cache.latest()
            clock.jump(REST_SECONDS)
    assert [line["event"] for line in logs] == ["cache_failed"]
    assert cache.failures == 3
    await cache.stop()


async def test_after_a_failure_it_rests_for_longer_than_a_copy_lives(
    cache: RedisCache, clock: ManualClock, server: Any
) -> None:
    await cache.keep(view(1))
    await server.delete("understudy:retries:a")
    await server.set("understudy:retries:a", "not a hash")
    with capture_logs():
        await cache.add([TargetCount("a", 1, 0, 0, None, T0)])
    assert await cache.find(A) is None
    clock.jump(VIEW_TTL_SECONDS + 1.25)
    assert await cache.find(A) is None
    clock.jump(REST_SECONDS)
    await cache.keep(view(1))
    assert await cache.find(A) == view(1)


async def test_a_server_that_hangs_is_waited_for_once(clock: ManualClock) -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    cache = RedisCache(f"redis://127.0.0.1:{port}", clock)
    with capture_logs():
        async with asyncio.timeout(10):
            assert [await cache.find(A) for _ in range(1_000)] == [None] * 1_000
    assert cache.failures == 1
    await cache.stop()
    server.close()
    await server.wait_closed()


async def test_without_a_rest_it_tries_again_at_once(clock: ManualClock, redis_url: str) -> None:
    cache = RedisCache(redis_url, clock, rest_seconds=0.0)
    async with redis.asyncio.from_url(redis_url) as server:
        await server.set("understudy:retries:a", "not a hash")
    with capture_logs():
        await cache.add([TargetCount("a", 1, 0, 0, None, T0)])
    assert await cache.outdate({A: 2})
    await cache.stop()
