"""A target on loopback that plays a script, and an egress client that may reach it."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest

from understudy.executors.address import AddressPolicy
from understudy.executors.egress import EgressClient
from understudy.executors.exchange import EgressFailure, OutgoingRequest

NEVER_IN_A_TEST = 30.0


class Seen(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Conversation:
    """One accepted connection."""

    def __init__(self, target: "Target", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.target = target
        self.reader = reader
        self.writer = writer

    async def request(self) -> Seen:
        """The next request; raises IncompleteReadError when the client is gone."""
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, path, _ = lines[0].split(" ")
        headers = dict(line.split(": ", 1) for line in lines[1:] if line)
        headers = {name.lower(): value for name, value in headers.items()}
        body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        seen = Seen(method, path, headers, body)
        self.target.seen.append(seen)
        self.target.requested.set()
        return seen

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, body: bytes = b"", *, status: str = "200 OK", **headers: str) -> None:
        fields = {"content-length": str(len(body))} | {name.replace("_", "-"): value for name, value in headers.items()}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        await self.write(f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body)

    async def until_closed(self) -> int:
        """Read until the client is gone; how many bytes came."""
        size = 0
        try:
            while chunk := await self.reader.read(65536):
                size += len(chunk)
        except ConnectionError:
            pass
        self.target.closed.set()
        return size


class Target:
    """A server that plays `script` on each connection."""

    def __init__(self, script: Callable[[Conversation], Awaitable[Any]]) -> None:
        self._script = script
        self._playing: set[asyncio.Task[Any]] = set()
        self.connections = 0
        self.seen: list[Seen] = []
        self.requested = asyncio.Event()
        self.closed = asyncio.Event()
        self.url = ""

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._playing.add(task)
        try:
            await self._script(Conversation(self, reader, writer))
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.transport.abort()
            self._playing.discard(task)

    async def end(self) -> None:
        for task in self._playing:
            task.cancel()
        await asyncio.gather(*self._playing, return_exceptions=True)


@asynccontextmanager
async def target(
    script: Callable[[Conversation], Awaitable[Any]], *, tls: ssl.SSLContext | None = None, receive_buffer: int = 0
) -> AsyncIterator[Target]:
    played = Target(script)
    listener = socket.create_server(("127.0.0.1", 0))
    if receive_buffer:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    server = await asyncio.start_server(played.play, sock=listener, ssl=tls)
    played.url = f"{'https' if tls else 'http'}://127.0.0.1:{listener.getsockname()[1]}"
    try:
        yield played
    finally:
        server.close()
        await played.end()
        await server.wait_closed()


@asynccontextmanager
async def egress(*allowed: str, **options: Any) -> AsyncIterator[EgressClient]:
    client = EgressClient(AddressPolicy.parse(allowed or ("127.0.0.1",)), **options)
    await client.start()
    try:
        yield client
    finally:
        await client.stop()


def outgoing(url: str, method: str = "GET", **fields: Any) -> OutgoingRequest:
    defaults = {"headers": (), "body": None, "idempotency_key": "key-1", "timeout_seconds": NEVER_IN_A_TEST}
    return OutgoingRequest(method=method, url=url, **(defaults | fields))


async def failing(client: EgressClient, url: str, method: str = "GET", **fields: Any) -> EgressFailure:
    with pytest.raises(EgressFailure) as caught:
        await client.send(outgoing(url, method, **fields))
    return caught.value


def answering(
    body: bytes = b"", *, status: str = "200 OK", **headers: str
) -> Callable[[Conversation], Awaitable[None]]:
    async def script(conversation: Conversation) -> None:
        while True:
            await conversation.request()
            await conversation.answer(body, status=status, **headers)

    return script


async def silent(conversation: Conversation) -> None:
    await conversation.until_closed()
