"""Pages of lists: `limit`, and a cursor that only the list which gave it can read."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from understudy.domain.errors import Malformed
from understudy.http.limits import HttpLimits
from understudy.http.query import whole_number
from understudy.http.schemas import Listing

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_CURSOR = re.compile(r"[A-Za-z0-9_-]{1,200}", re.ASCII)
_POSITION_SIZE = 8

Item = TypeVar("Item")


def limit_of(query: Mapping[str, str], limits: HttpLimits) -> int:
    """How many items a page has."""
    return whole_number(query, "limit", 1, limits.page_size_max, default=limits.page_size)


def page(found: list[Item], limit: int, show: Callable[[Item], Any], cursor_of: Callable[[Item], str]) -> Listing:
    """A page out of up to one item more than it holds; the surplus one tells that there is another page."""
    items = found[:limit]
    return Listing([show(item) for item in items], cursor_of(items[-1]) if len(found) > limit else None)


def place_cursor(created_at: datetime, process_id: UUID) -> str:
    """The cursor after a process."""
    microseconds = (created_at - _EPOCH) // _MICROSECOND
    return _encode(b"p", microseconds.to_bytes(_POSITION_SIZE, "big", signed=True) + process_id.bytes)


def place_of(query: Mapping[str, str]) -> tuple[datetime, UUID] | None:
    """The place that a cursor of processes names."""
    content = _content(query, b"p")
    if content is None:
        return None
    try:
        microseconds = int.from_bytes(content[:_POSITION_SIZE], "big", signed=True)
        return _EPOCH + microseconds * _MICROSECOND, UUID(bytes=content[_POSITION_SIZE:])
    except (ValueError, OverflowError):
        raise _foreign() from None


def name_cursor(name: str) -> str:
    """The cursor after a definition."""
    return _encode(b"d", name.encode())


def name_of(query: Mapping[str, str]) -> str | None:
    """The name that a cursor of definitions holds."""
    content = _content(query, b"d")
    if content is None:
        return None
    if not content.isascii() or b"\0" in content:
        raise _foreign()
    return content.decode()


def number_cursor(kind: bytes, number: int) -> str:
    """The cursor after a numbered item; lists of different kinds do not take each other's."""
    return _encode(kind, number.to_bytes(_POSITION_SIZE, "big"))


def number_of(query: Mapping[str, str], kind: bytes, highest: int) -> int | None:
    """The number that a cursor of this kind holds."""
    content = _content(query, kind)
    if content is None:
        return None
    number = int.from_bytes(content, "big")
    if len(content) != _POSITION_SIZE or number > highest:
        raise _foreign()
    return number


def id_cursor(kind: bytes, identifier: UUID) -> str:
    """The cursor after an item with an id."""
    return _encode(kind, identifier.bytes)


def id_of(query: Mapping[str, str], kind: bytes) -> UUID | None:
    """The id that a cursor of this kind holds."""
    content = _content(query, kind)
    if content is None:
        return None
    try:
        return UUID(bytes=content)
    except ValueError:
        raise _foreign() from None


def _encode(kind: bytes, content: bytes) -> str:
    return urlsafe_b64encode(kind + content).rstrip(b"=").decode()


def _content(query: Mapping[str, str], kind: bytes) -> bytes | None:
    cursor = query.get("cursor")
    if cursor is None:
        return None
    if not _CURSOR.fullmatch(cursor):
        raise _foreign()
    try:
        content = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except ValueError:
        raise _foreign() from None
    if content[:1] != kind:
        raise _foreign()
    return content[1:]


def _foreign() -> Malformed:
    return Malformed("the cursor is none that this list has given")
