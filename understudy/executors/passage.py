"""How far a request has come, which decides what its failure means."""

import asyncio
from contextvars import ContextVar

from understudy.domain.failure import Category
from understudy.executors.exchange import EgressFailure
from understudy.executors.target import Leg


class Passage:
    """Written by the hooks that aiohttp calls, read when the request fails; `transport` is what it went out on."""

    def __init__(self, timeout_seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self._timeout_seconds = timeout_seconds
        self._is_effect_possible = False
        self.transport: asyncio.Transport | None = None
        self.host = ""
        self.port: int | None = None
        self.is_sent = False

    def enter(self, leg: Leg) -> None:
        """Begin another leg, of which nothing has been sent."""
        self.host = leg.url.raw_host or ""
        self.port = leg.url.port
        self.is_sent = False
        self._is_effect_possible = leg.is_effect_possible
        self.transport = None

    def elapsed_seconds(self) -> float:
        """Seconds since the first leg began."""
        return self._loop.time() - self._started

    def failed(self, reason: str, message: str) -> EgressFailure:
        """The failure of this leg: a connect error while nothing was sent, an unknown outcome afterwards."""
        is_unknown = self.is_sent or self._is_effect_possible
        details = {"host": self.host, "port": self.port, "reason": reason}
        type_ = "http.unknown" if is_unknown else "http.connect"
        return EgressFailure(type_, message, is_unknown=is_unknown, details=details)

    def out_of_time(self) -> EgressFailure:
        """The failure of a request whose time is over."""
        limit = f"{self._timeout_seconds:g} s"
        if not self.is_sent and not self._is_effect_possible:
            return self.failed("timeout", f"No connection to {self.host!r} within {limit}; nothing was sent.")
        return EgressFailure(
            "http.timeout",
            f"No complete answer from {self.host!r} within {limit}.",
            category=Category.TIMEOUT,
            is_unknown=True,
            details={"host": self.host, "port": self.port, "timeout_seconds": self._timeout_seconds},
        )


PASSAGE: ContextVar[Passage] = ContextVar("passage")
"""The request that the current task is sending, for the hooks that only get to see a socket or a connection."""
