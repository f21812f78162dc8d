"""The listening server: bounded connections, problems also for what is no HTTP, and a stop that loses no answer."""

import asyncio
import errno
import socket
from collections.abc import Mapping
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from structlog.typing import FilteringBoundLogger

from understudy.http.limits import HttpLimits
from understudy.http.problems import INTERNAL, MALFORMED, problem, problem_response

LIMITS = web.AppKey("limits", HttpLimits)
LOG: web.AppKey[FilteringBoundLogger] = web.AppKey("log")

_REASONS = {
    errno.EADDRINUSE: "the port is taken",
    errno.EACCES: "ports below 1024 need more rights",
    errno.EADDRNOTAVAIL: "this machine has no such address",
}


class CannotListen(Exception):
    """The address cannot be listened on; the message says why."""


def connection_options(limits: HttpLimits) -> dict[str, Any]:
    """What each connection is given; bodies come as they are sent, as a compressed one could be a bomb."""
    return {
        "access_log": None,
        "auto_decompress": False,
        "keepalive_timeout": limits.keepalive_seconds,
        "lingering_time": limits.linger_seconds,
        "max_line_size": limits.header_size_max,
        "max_field_size": limits.header_size_max,
        "max_headers": limits.header_count_max,
    }


class _Connection(web.RequestHandler):
    """A connection that answers with a problem where the request is no HTTP."""

    __slots__ = ("_log",)

    def __init__(self, server: "_Server", log: FilteringBoundLogger, options: Mapping[str, Any]) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **options)
        self._log = log

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it echoes what was sent
    ) -> web.StreamResponse:
        """The answer to what is no HTTP, and to an error outside of the middleware."""
        if request.writer.output_size > 0:
            raise ConnectionError("half of the answer is sent")
        if status >= 500:
            self._log.error("http.failure", exc_info=exc)
            body = problem(INTERNAL, "The request met an error.", None)
        elif isinstance(exc, LineTooLong):
            body = problem(MALFORMED, "A line or a header of the request is too long.", None)
        else:
            body = problem(MALFORMED, "What arrived is not HTTP/1.1.", None)
        self._log.debug("http.refused", status=body.status, detail=body.detail)
        response = problem_response(body)
        response.force_close()
        return response


class _Server(web.Server):
    def __init__(self, application: web.Server, log: FilteringBoundLogger, options: Mapping[str, Any]) -> None:
        super().__init__(application.request_handler, request_factory=application.request_factory)
        self._log = log
        self._options = options

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, self._log, self._options)


class HttpServer:
    """Serves an application of `create_app` on an address; port 0 takes a free one."""

    def __init__(self, app: web.Application, host: str, port: int) -> None:
        self._app = app
        self._host = host
        self._port = port
        self._application: web.AppRunner | None = None
        self._listener: web.ServerRunner | None = None

    async def start(self) -> None:
        """Listen.

        Raises:
            CannotListen: the address is taken or is none of this machine's.
        """
        limits = self._app[LIMITS]
        self._application = web.AppRunner(self._app, shutdown_timeout=limits.stop_seconds)
        await self._application.setup()
        assert self._application.server is not None
        server = _Server(self._application.server, self._app[LOG], connection_options(limits))
        self._listener = web.ServerRunner(server, shutdown_timeout=limits.stop_seconds)
        await self._listener.setup()
        try:
            await web.TCPSite(self._listener, self._host, self._port).start()
        except (OSError, OverflowError, UnicodeError) as error:
            await self.stop()
            raise CannotListen(f"cannot listen on {self._host}:{self._port}: {_reason(error)}") from None

    async def stop(self) -> None:
        """Take no more connections, let held answers go, finish what runs; safe twice and unstarted."""
        if self._application is None or self._listener is None:
            return
        for site in self._listener.sites:
            await site.stop()
        await self._app.shutdown()
        await self._listener.cleanup()
        await self._application.cleanup()
        self._application = self._listener = None

    @property
    def port(self) -> int:
        """The port that is listened on."""
        addresses = [] if self._listener is None else self._listener.addresses
        return addresses[0][1] if addresses else self._port

    @property
    def url(self) -> str:
        """Where clients on this machine reach the server."""
        host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._host, self._host)  # noqa: S104 - compared
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


def _reason(error: Exception) -> str:
    if isinstance(error, socket.gaierror):
        return "the host name is not known"
    if isinstance(error, OSError):
        return _REASONS.get(error.errno or 0, error.strerror or "it is refused")
    return "it is no address"
