"""The headers of a request before it goes out, and those of an answer before it is stored."""

import re
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime

from understudy.executors.exchange import OutgoingRequest, invalid, too_large

HEADERS_MAX = 100
NAME_SIZE_MAX = 256
VALUE_SIZE_MAX = 8_190
HEADERS_SIZE_MAX = 32 * 1024
ACCEPT_ENCODING = "gzip, deflate"

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FORBIDDEN_IN_VALUES = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]|[\ud800-\udfff]")
_FORBIDDEN_METHODS = frozenset({"CONNECT", "TRACE"})
# Framing and connection handling belong to the client, the key to the protocol of retries.
_RESERVED = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "idempotency-key",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_SECRET_IN_ANSWERS = frozenset({"set-cookie", "set-cookie2"})
_SECONDS = re.compile(r"[0-9]{1,10}")
_DATE_SIZE_MAX = 64


def outgoing_headers(request: OutgoingRequest, user_agent: str) -> tuple[tuple[str, str], ...]:
    """The headers as they are sent, with the client's own; raises EgressFailure naming the first bad header."""
    if _TOKEN.fullmatch(request.method) is None or request.method.upper() in _FORBIDDEN_METHODS:
        raise invalid(f"The method {request.method[:20]!r} cannot be sent.")
    if len(request.headers) > HEADERS_MAX:
        raise invalid(f"The request has more than {HEADERS_MAX} headers.")
    for name, value in request.headers:
        if name.lower() in _RESERVED:
            raise invalid(f"The header {name!r} is set by the client itself.", header=name)
        _check(name, value)
    _check("Idempotency-Key", request.idempotency_key)
    if sum(len(name) + len(value) for name, value in request.headers) > HEADERS_SIZE_MAX:
        raise invalid(f"The headers of the request exceed {HEADERS_SIZE_MAX} bytes.")
    kept = [(name, value) for name, value in request.headers if name.lower() != "accept-encoding"]
    if all(name.lower() != "user-agent" for name, _ in kept):
        kept.append(("User-Agent", user_agent))
    return (*kept, ("Accept-Encoding", ACCEPT_ENCODING), ("Idempotency-Key", request.idempotency_key))


def answer_headers(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The headers of an answer as they are stored: lower-case, repeated ones joined, cookies left out.

    Raises EgressFailure when they exceed `HEADERS_SIZE_MAX`.
    """
    joined: dict[str, str] = {}
    size = 0
    for raw_name, raw_value in pairs:
        name, value = _storable(raw_name).lower(), _storable(raw_value)
        size += len(name) + len(value)
        if size > HEADERS_SIZE_MAX:
            raise too_large(f"The headers of the answer exceed {HEADERS_SIZE_MAX} bytes.")
        if name not in _SECRET_IN_ANSWERS:
            joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """What Retry-After asks for; a date counts from the answer's own Date, never from a local clock."""
    value = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(value):
        return float(value)
    date = headers.get("date", "")
    if not value or len(value) > _DATE_SIZE_MAX or len(date) > _DATE_SIZE_MAX:
        return None
    try:
        wait = parsedate_to_datetime(value) - parsedate_to_datetime(date)
    except (ValueError, TypeError, OverflowError):
        return None
    return max(wait.total_seconds(), 0.0)


def _check(name: str, value: str) -> None:
    """The value never appears in a message: it may be a secret."""
    if len(name) > NAME_SIZE_MAX or _TOKEN.fullmatch(name) is None:
        raise invalid(f"{name[:40]!r} is not a header name.")
    if len(value) > VALUE_SIZE_MAX:
        raise invalid(f"The value of the header {name!r} is longer than {VALUE_SIZE_MAX} characters.", header=name)
    if _FORBIDDEN_IN_VALUES.search(value):
        raise invalid(f"The value of the header {name!r} holds a control character.", header=name)


def _storable(text: str) -> str:
    """Bytes that are no UTF-8 arrive as lone surrogates, which PostgreSQL refuses."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace").replace("\x00", "\ufffd")
