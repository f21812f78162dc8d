"""Counting requests to other hosts."""

import asyncio
from datetime import timedelta

import pytest

from tests.factories import T0
from tests.fakes.cache import FakeCache
from tests.fakes.clock import ManualClock, settle
from understudy.domain.cache import TargetCount
from understudy.domain.errors import Unreachable
from understudy.runtime import tally
from understudy.runtime.tally import PAUSE_SECONDS, Tally


async def test_attempts_are_counted_by_host_and_handed_on_in_one_batch() -> None:
    clock = ManualClock()
    cache = FakeCache(clock)
    counted = Tally(cache, clock)
    later = T0 + timedelta(seconds=1)
    handing_on = asyncio.create_task(counted.run())
    counted.count("a", T0, "http.timeout", is_repeat=False)
    counted.count("a", later, "http.connect", is_repeat=True)
    counted.count("a", T0, None, is_repeat=True)
    counted.count("b", T0, None, is_repeat=False)
    await settle()
    assert cache.counts == {}
    await clock.advance(PAUSE_SECONDS)
    assert await cache.latest() == [
        TargetCount("a", 3, 2, 2, "http.connect", later),
        TargetCount("b", 1, 0, 0, None, T0),
    ]
    counted.count("b", later, None, is_repeat=False)
    await clock.advance(PAUSE_SECONDS)
    assert cache.counts["b"].attempts == 2
    assert cache.counts["a"].attempts == 3
    assert cache.faults.count("cache") == 3
    await clock.advance(10 * PAUSE_SECONDS)
    assert cache.faults.count("cache") == 3
    handing_on.cancel()
    await asyncio.gather(handing_on, return_exceptions=True)


async def test_counts_are_bounded_and_lost_with_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "HOSTS_MAX", 2)
    clock = ManualClock()
    cache = FakeCache(clock)
    counted = Tally(cache, clock)
    handing_on = asyncio.create_task(counted.run())
    cache.faults.fail("cache", Unreachable("down"))
    for _ in range(2):
        for host in ("a", "b", "c", "a"):
            counted.count(host, T0, None, is_repeat=False)
        await clock.advance(PAUSE_SECONDS)
    assert {host: count.attempts for host, count in cache.counts.items()} == {"a": 2, "b": 1}
    handing_on.cancel()
    await asyncio.gather(handing_on, return_exceptions=True)
