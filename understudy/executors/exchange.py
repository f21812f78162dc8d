"""What goes out over HTTP and what comes back, as values."""

from typing import Any

from msgspec import Struct

from understudy.domain.failure import Category


class OutgoingRequest(Struct, frozen=True):
    """One HTTP request; `timeout_seconds` covers everything from the look-up of the name to the last byte.

    `secret_headers` names the headers whose value came from a secret: they stay behind when a redirect leaves the
    origin.
    """

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes | None
    idempotency_key: str
    timeout_seconds: float
    secret_headers: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        """Name nothing that may hold a secret."""
        return f"OutgoingRequest(method={self.method!r}, idempotency_key={self.idempotency_key!r})"


class Answer(Struct, frozen=True):
    """A definite answer; header names are lower-case, `body` is parsed JSON, a text, or None when there is none."""

    status: int
    headers: dict[str, str]
    body: Any
    elapsed_seconds: float
    retry_after_seconds: float | None

    def __repr__(self) -> str:
        """Name nothing that may hold a secret."""
        return f"Answer(status={self.status}, elapsed_seconds={self.elapsed_seconds})"


class EgressFailure(Exception):
    """A request that ended without a usable answer.

    `is_unknown` says that the request, or a part of it, may have reached the target without a definite answer.
    """

    def __init__(
        self,
        type_: str,
        message: str,
        *,
        category: Category = Category.EXTERNAL,
        is_unknown: bool = False,
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.type = type_
        self.category = category
        self.message = message
        self.is_unknown = is_unknown
        self.details: dict[str, Any] = {} if details is None else details


def invalid(message: str, **details: Any) -> EgressFailure:
    """A request that can never be sent as it stands."""
    return EgressFailure("http.request", message, category=Category.VALIDATION, details=details)


def blocked(host: str, why: str, *, can_be_allowed: bool = True) -> EgressFailure:
    """A target that the address policy refuses; the addresses behind the name are not told."""
    hint = " An operator may allow hosts and networks with UNDERSTUDY_EGRESS_ALLOW." if can_be_allowed else ""
    message = f"{host!r} {why}.{hint}"
    return EgressFailure("http.blocked", message, category=Category.VALIDATION, details={"host": host})


def too_large(message: str, **details: Any) -> EgressFailure:
    """An answer beyond a limit."""
    return EgressFailure("http.too_large", message, details=details)


def unusable(message: str, **details: Any) -> EgressFailure:
    """An answer whose body cannot be read or stored."""
    return EgressFailure("http.body", message, details=details)
