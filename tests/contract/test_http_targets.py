"""`GET /admin/targets` over a real server."""

from typing import Any

import structlog

from tests.factories import T0
from tests.fakes.cache import FakeCache
from tests.fakes.clock import ManualClock
from tests.fakes.gateway import FakeHealth, FakeNodes
from tests.fakes.service import FakeService
from understudy.domain.cache import TargetCount
from understudy.domain.errors import Unreachable
from understudy.http.app import create_app
from understudy.http.auth import Authenticator
from understudy.http.limits import HttpLimits


async def test_targets_are_listed(aiohttp_client: Any) -> None:
    cache = FakeCache(ManualClock())
    await cache.add([TargetCount("stock.example", 3, 1, 1, "http.timeout", T0)])
    app = create_app(
        FakeService(),
        FakeNodes(),
        FakeHealth(),
        Authenticator(None),
        HttpLimits(),
        structlog.get_logger("http"),
        targets=cache,
    )
    client = await aiohttp_client(app)
    listed = await client.get("/admin/targets")
    assert (listed.status, await listed.json()) == (
        200,
        {
            "items": [
                {
                    "host": "stock.example",
                    "attempts": 3,
                    "retries": 1,
                    "failures": 1,
                    "last_error": "http.timeout",
                    "last_at": "2030-01-02T03:04:05Z",
                }
            ],
            "next_cursor": None,
        },
    )
    assert (await client.get("/admin/targets?limit=1")).status == 400
    cache.faults.cut("cache", Unreachable("down"))
    assert (await client.get("/admin/targets")).status == 503
