"""The fake cache keeps the promises of the one on Redis."""

import pytest

from tests.contract.cache_promises import PROMISES, Promise
from tests.fakes.cache import FakeCache
from tests.fakes.clock import ManualClock


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
async def test_the_fake_cache_keeps_a_promise(promise: Promise) -> None:
    await promise(FakeCache(ManualClock()))
