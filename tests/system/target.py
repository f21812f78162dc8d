"""A service of the outside world that records what it is asked and answers as it is told."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Mapping
from typing import Any, NamedTuple

from aiohttp import web
from msgspec import json

PATIENCE_SECONDS = 30.0


class Asked(NamedTuple):
    """A request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def key(self) -> str:
        """Its idempotency key."""
        return self.headers["Idempotency-Key"]

    @property
    def json(self) -> Any:
        """Its body as JSON."""
        return json.decode(self.body)


class Reply(NamedTuple):
    """An answer; with `gate` it is held until that is set, with `is_reset` the connection breaks instead."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = {}
    gate: asyncio.Event | None = None
    is_reset: bool = False


class Target:
    """Listens on loopback; every path has a queue of replies, of which the last one stays."""

    def __init__(self) -> None:
        self.requests: list[Asked] = []
        self.broken_off = asyncio.Event()
        self.url = ""
        self._replies: defaultdict[str, deque[Reply]] = defaultdict(deque)
        self._arrived = asyncio.Condition()
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen on a free port."""
        app = web.Application(client_max_size=4 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Close the port and what is held."""
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self.url.rpartition(":")[2])

    def reply(self, path: str, *replies: Reply) -> str:
        """Say how requests of a path are answered; the URL of that path."""
        self._replies[path].extend(replies)
        return self.url + path

    async def received(self, number: int = 1) -> Asked:
        """The latest request, once so many have arrived."""
        async with asyncio.timeout(PATIENCE_SECONDS), self._arrived:
            await self._arrived.wait_for(lambda: len(self.requests) >= number)
        return self.requests[-1]

    def keys(self) -> list[str]:
        """The idempotency keys in the order of arrival."""
        return [asked.key for asked in self.requests]

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        asked = Asked(request.method, request.path, dict(request.query), request.headers.copy(), body)
        async with self._arrived:
            self.requests.append(asked)
            self._arrived.notify_all()
        queue = self._replies[request.path]
        reply = Reply() if not queue else queue[0] if len(queue) == 1 else queue.popleft()
        if reply.gate is not None:
            try:
                await reply.gate.wait()
            except asyncio.CancelledError:
                self.broken_off.set()
                raise
        if reply.is_reset and request.transport is not None:
            request.transport.abort()
        return self._response(reply)

    def _response(self, reply: Reply) -> web.Response:
        if isinstance(reply.body, bytes):
            return web.Response(status=reply.status, body=reply.body, headers=reply.headers)
        if reply.body is None:
            return web.Response(status=reply.status, headers=reply.headers)
        content = {"Content-Type": "application/json", **reply.headers}
        return web.Response(status=reply.status, body=json.encode(reply.body), headers=content)
