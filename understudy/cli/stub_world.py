"""A small stand-in for the outside world, so that the demo calls something real over HTTP.

It behaves as real services do: the first request meets a 503, a reservation takes a moment, and a request that comes
again under the same idempotency key gets the reservation that exists.
"""

import asyncio
from typing import Any

from aiohttp import web

TOKEN = "demo-token"  # noqa: S105 - known to both sides of the demo only
THINKING_SECONDS = 0.8


class StubWorld:
    """A stock service on loopback."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.reservations: dict[str, dict[str, Any]] = {}
        self.in_flight = asyncio.Event()
        self._refused: set[str] = set()
        self._runner: web.AppRunner | None = None

    async def start(self) -> str:
        """Listen on a free port; the URL."""
        app = web.Application()
        app.router.add_post("/reservations", self._reserve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Close the port."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _reserve(self, request: web.Request) -> web.Response:
        key = request.headers.get("Idempotency-Key", "")
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.json_response({"error": "who are you?"}, status=401)
        order = await request.json()
        reference = str(order.get("ref"))
        if reference not in self._refused:
            self._refused.add(reference)
            return web.json_response({"error": "busy"}, status=503)
        self.requests.append(key)
        if key not in self.reservations:
            self.reservations[key] = {"id": f"r-{len(self.reservations) + 1}", "quantity": 4, "sku": order.get("sku")}
        self.in_flight.set()
        await asyncio.sleep(THINKING_SECONDS)
        return web.json_response(self.reservations[key], status=201)
