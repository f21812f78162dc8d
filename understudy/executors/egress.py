"""The guarded HTTP client: every request that a definition causes leaves the node here, and nowhere else.

An address is judged three times: a literal with its URL, a name with every answer of its look-up, and each socket
before it connects. The last one is what counts, the first two give earlier and better errors. A failure is called
unknown from the moment when the first byte of the request may have been written.
"""

import asyncio
import io
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from understudy.executors.address import AddressPolicy
from understudy.executors.exchange import Answer, EgressFailure, OutgoingRequest, blocked, too_large
from understudy.executors.headers import answer_headers, outgoing_headers, retry_after_seconds
from understudy.executors.passage import PASSAGE, Passage
from understudy.executors.payload import BoundedBody, decode_body
from understudy.executors.target import Leg, follow, judge, read_target, refused_redirect

Lookup = Callable[[str, int], Awaitable[Sequence[str]]]
"""Resolves a host (for a port) to the literals of its addresses; raises OSError when it cannot."""

_USER_AGENT = f"understudy/{version('understudy')}"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HEADERS_COUNT_MAX = 128
_HEADER_SIZE_MAX = 8_190
# Shorter than the 5 s after which common servers close: what is written into a closing connection has no known outcome.
_KEEP_ALIVE_SECONDS = 4.0
_ONE_PIECE_MAX = 256 * 1024


class EgressClient:
    """One pool of connections for all calls of a node; `ssl_context` replaces the system's trust, `lookup` its DNS."""

    def __init__(
        self,
        policy: AddressPolicy,
        *,
        response_size_max: int = 2 * 1024 * 1024,
        connections_max: int = 500,
        connections_per_host_max: int = 100,
        redirects_max: int = 3,
        ssl_context: ssl.SSLContext | None = None,
        lookup: Lookup | None = None,
    ) -> None:
        self._policy = policy
        self._response_size_max = response_size_max
        self._connections_max = connections_max
        self._connections_per_host_max = connections_per_host_max
        self._redirects_max = redirects_max
        self._ssl_context = ssl_context
        self._lookup = _system_lookup if lookup is None else lookup
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Open the pool on the running loop."""
        if self._session is not None:
            return
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=_GuardedResolver(self._policy, self._lookup),
                socket_factory=self._open_socket,
                use_dns_cache=False,
                limit=self._connections_max,
                limit_per_host=self._connections_per_host_max,
                keepalive_timeout=_KEEP_ALIVE_SECONDS,
                ssl=True if self._ssl_context is None else self._ssl_context,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            trust_env=False,
            auto_decompress=False,
            skip_auto_headers=("Content-Type",),
            request_class=_Request,
            max_line_size=_HEADER_SIZE_MAX,
            max_field_size=_HEADER_SIZE_MAX,
            max_headers=_HEADERS_COUNT_MAX,
        )
        # aiohttp sends idempotent methods twice when a connection drops, and has no public switch against it.
        self._session._retry_connection = False  # noqa: SLF001

    async def stop(self) -> None:
        """Close every connection; requests in flight end as failures."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def send(self, request: OutgoingRequest) -> Answer:
        """Send a request and follow its redirects.

        Raises EgressFailure, and CancelledError when aborted: then the connection is closed, not used again.
        """
        leg = Leg(
            method=request.method.upper(),
            url=read_target(request.url),
            headers=outgoing_headers(request, _USER_AGENT),
            body=request.body,
        )
        passage = Passage(request.timeout_seconds)
        token = PASSAGE.set(passage)
        try:
            async with asyncio.timeout(request.timeout_seconds):
                return await self._travel(leg, passage, request.secret_headers)
        except TimeoutError:
            raise passage.out_of_time() from None
        finally:
            PASSAGE.reset(token)

    async def _travel(self, leg: Leg, passage: Passage, secret_headers: frozenset[str]) -> Answer:
        for _ in range(self._redirects_max + 1):
            judge(leg.url, self._policy)
            passage.enter(leg)
            reply = await self._exchange(leg, passage)
            if reply.location is None:
                return _answer(reply, passage.elapsed_seconds())
            leg = follow(leg, reply.status, reply.location, secret_headers)
        raise refused_redirect(f"The target redirects more than {self._redirects_max} times.")

    async def _exchange(self, leg: Leg, passage: Passage) -> "_Reply":
        """One request and its reply; every failure of the network becomes an EgressFailure here."""
        response: aiohttp.ClientResponse | None = None
        cancellations = _cancellations()
        try:
            response = await self._running(passage).request(
                leg.method, leg.url, headers=leg.headers, data=_payload(leg.body), allow_redirects=False
            )
            return await self._receive(response, passage)
        except EgressFailure:
            raise
        except asyncio.CancelledError:
            if _cancellations() > cancellations:
                raise
            # The pool cancels those who wait for a connection when it closes, not the task.
            raise passage.failed("stopped", "The client was stopped.") from None
        except Exception as error:  # noqa: BLE001 - whatever a library raises, the outcome must be classified
            # Without the cause: it names resolved addresses, and holds the headers.
            raise _failure(error, passage) from None
        finally:
            _let_go(response, passage)

    def _running(self, passage: Passage) -> aiohttp.ClientSession:
        if self._session is None:
            raise passage.failed("stopped", "The client is not running.")
        return self._session

    async def _receive(self, response: aiohttp.ClientResponse, passage: Passage) -> "_Reply":
        headers = answer_headers(response.headers.items())
        location = response.headers.get("Location") if response.status in _REDIRECTS else None
        if location is not None:
            return _Reply(response.status, headers, b"", location)
        if response.status < 200:
            raise passage.failed("malformed", f"{passage.host!r} answered with the status {response.status} unasked.")
        if response.method == "HEAD":
            return _Reply(response.status, headers, b"", None)
        body = BoundedBody(headers.get("content-encoding", ""), self._response_size_max)
        if (response.content_length or 0) > self._response_size_max:
            raise too_large(f"The answer exceeds {self._response_size_max} bytes.", size_max=self._response_size_max)
        async for chunk in response.content.iter_any():
            body.feed(chunk)
        return _Reply(response.status, headers, body.finish(), None)

    def _open_socket(self, addr_info: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = addr_info
        if not self._policy.permits(str(address[0]), PASSAGE.get().host):
            raise _AddressRefusedError
        return socket.socket(family, kind, protocol)


class _Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    content: bytes
    location: str | None


class _AddressRefusedError(OSError):
    """An OSError, because happy eyeballs drops every other kind."""


class _GuardedResolver(AbstractResolver):
    """Judges every answer of a look-up; aiohttp connects to the answers themselves, so nothing is resolved twice."""

    def __init__(self, policy: AddressPolicy, lookup: Lookup) -> None:
        self._policy = policy
        self._lookup = lookup

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises OSError when the name does not resolve, or to one refused address among others."""
        addresses = await self._lookup(host, port)
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "no address")
        if not all(self._policy.permits(address, host) for address in addresses):
            raise _AddressRefusedError
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST)
            for address in addresses
        ]

    async def close(self) -> None:
        """Nothing to close."""


class _Request(aiohttp.ClientRequest):
    """Marks the moment before the first byte, and shows the connection so that it can be aborted before the answer."""

    async def send(self, conn: Any) -> aiohttp.ClientResponse:
        """Refuse a connection that the target spoke on unasked: its words would pass for the answer to this request."""
        passage = PASSAGE.get()
        if conn.protocol is None or conn.protocol.should_close:
            raise passage.failed("stale", f"{passage.host!r} spoke on a kept connection unasked; nothing was sent.")
        passage.transport = conn.transport
        passage.is_sent = True
        return await super().send(conn)


async def _system_lookup(host: str, port: int) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
    )
    return list(dict.fromkeys(str(address[0]) for _, _, _, _, address in found))


def _payload(body: bytes | None) -> bytes | io.BytesIO | None:
    """Large bodies go out in pieces: in one they would hold up the loop, which aiohttp warns of."""
    return io.BytesIO(body) if body is not None and len(body) > _ONE_PIECE_MAX else body


def _let_go(response: aiohttp.ClientResponse | None, passage: Passage) -> None:
    """Abort the connection unless its answer was read to the end, which gave it back to the pool already.

    An ordered close would wait for a target that reads nothing, and over TLS for one that says nothing.
    """
    if response is None:
        transport = passage.transport
    else:
        transport = None if response.connection is None else response.connection.transport
    if transport is not None:
        transport.abort()
    if response is not None:
        response.close()
    passage.transport = None


def _cancellations() -> int:
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def _answer(reply: _Reply, elapsed_seconds: float) -> Answer:
    try:
        body = decode_body(reply.content, reply.headers.get("content-type", ""))
    except EgressFailure as failure:
        failure.details["status"] = reply.status
        raise
    return Answer(
        status=reply.status,
        headers=reply.headers,
        body=body,
        elapsed_seconds=elapsed_seconds,
        retry_after_seconds=retry_after_seconds(reply.headers),
    )


def _failure(error: Exception, passage: Passage) -> EgressFailure:
    where = repr(passage.host)
    if passage.is_sent:
        reason, what = _broken_off(error)
        return passage.failed(reason, f"The request to {where} was sent, but {what}.")
    cause = getattr(error, "os_error", None)
    if isinstance(cause, _AddressRefusedError):
        return blocked(passage.host, "does not lead to public addresses only")
    reason, what = _unconnected(error)
    return passage.failed(reason, f"No connection to {where}: {what}.")


def _broken_off(error: Exception) -> tuple[str, str]:
    match error:
        case aiohttp.ClientResponseError():
            return "malformed", "the answer is no valid HTTP or exceeds its limits"
        case aiohttp.ClientPayloadError():
            return "incomplete", "the answer broke off"
        case aiohttp.ServerDisconnectedError():
            return "disconnected", "the target closed the connection without an answer"
        case OSError():
            return "reset", "the connection was lost"
    return "lost", f"it ended in {type(error).__name__}"


def _unconnected(error: Exception) -> tuple[str, str]:
    match error:
        case aiohttp.ClientConnectorDNSError():
            return "dns", "the name does not resolve"
        case aiohttp.ClientConnectorCertificateError():
            return "certificate", "the certificate is not accepted"
        case aiohttp.ClientSSLError():
            return "tls", "the TLS handshake failed"
        case aiohttp.ClientConnectorError() if isinstance(error.os_error, ConnectionRefusedError):
            return "refused", "the connection was refused"
        case OSError():
            return "unreachable", "the target cannot be reached"
    return "lost", f"it ended in {type(error).__name__}"
