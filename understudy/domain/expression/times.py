"""Timestamps are aware datetimes in UTC, durations are timedeltas; both to the microsecond."""

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from understudy.domain.expression.errors import ExpressionError
from understudy.domain.expression.kinds import described
from understudy.domain.instant import InstantError, parse_instant

TEXT_LENGTH_MAX: Final = 64
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_NUMBER: Final = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_DURATION: Final = re.compile(rf"([+-]?)((?:{_NUMBER}(?:ns|us|µs|ms|s|m|h|d))+|0)")
_DURATION_PART: Final = re.compile(rf"({_NUMBER})(ns|us|µs|ms|s|m|h|d)")
_ISO_DURATION: Final = re.compile(
    rf"P(?=.)(?:({_NUMBER})W)?(?:({_NUMBER})D)?(?:T(?=.)(?:({_NUMBER})H)?(?:({_NUMBER})M)?(?:({_NUMBER})S)?)?"
)
_ISO_UNITS: Final = tuple(Decimal(seconds) for seconds in (604_800, 86_400, 3600, 60, 1))
_UNITS: Final = {
    "ns": Decimal("1e-9"),
    "us": Decimal("1e-6"),
    "µs": Decimal("1e-6"),
    "ms": Decimal("1e-3"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86_400),
}


def parse_timestamp(text: str) -> datetime:
    """RFC 3339, any offset; finer than microseconds is cut off."""
    try:
        return parse_instant(text).astimezone(UTC)
    except (InstantError, OverflowError):
        raise ExpressionError("value", "timestamp() takes an RFC 3339 text such as 2030-01-31T12:00:00Z") from None


def timestamp_of_seconds(seconds: int) -> datetime:
    """Seconds since 1970."""
    try:
        return EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        raise ExpressionError("overflow", "the time is out of range") from None


def parse_duration(text: str) -> timedelta:
    """`1h30m`, `1.5s`, `500ms`, `7d`, or ISO 8601 without years and months."""
    if len(text) <= TEXT_LENGTH_MAX:
        try:
            if (match := _DURATION.fullmatch(text)) is not None:
                parts = _DURATION_PART.findall(match[2])
                seconds = sum((Decimal(number) * _UNITS[unit] for number, unit in parts), Decimal(0))
                return _duration(-seconds if match[1] == "-" else seconds)
            if (match := _ISO_DURATION.fullmatch(text)) is not None:
                amounts = zip(match.groups(default="0"), _ISO_UNITS, strict=True)
                return _duration(sum((Decimal(number) * unit for number, unit in amounts), Decimal(0)))
        except OverflowError:
            raise ExpressionError("overflow", "the duration is out of range") from None
    raise ExpressionError("value", "duration() takes a text such as 1h30m, 500ms, 7d or PT30S")


def _duration(seconds: Decimal) -> timedelta:
    return timedelta(microseconds=int(seconds * 1_000_000))


def timestamp_text(moment: datetime) -> str:
    """RFC 3339 in UTC, without trailing zeros."""
    text = moment.astimezone(UTC).isoformat().removesuffix("+00:00")
    return (text.rstrip("0") if "." in text else text) + "Z"


def duration_text(duration: timedelta) -> str:
    """Seconds, as in `1.5s`."""
    microseconds = duration // timedelta(microseconds=1)
    seconds, fraction = divmod(abs(microseconds), 1_000_000)
    decimals = f".{fraction:06}".rstrip("0") if fraction else ""
    return f"{'-' if microseconds < 0 else ''}{seconds}{decimals}s"


def _toward_zero(value: timedelta, unit: timedelta) -> int:
    return value // unit if value >= timedelta() else -(-value // unit)


_OF_TIMESTAMP: Final[dict[str, Callable[[datetime], int]]] = {
    "getFullYear": lambda moment: moment.year,
    "getMonth": lambda moment: moment.month - 1,
    "getDate": lambda moment: moment.day,
    "getDayOfMonth": lambda moment: moment.day - 1,
    "getDayOfWeek": lambda moment: moment.isoweekday() % 7,
    "getDayOfYear": lambda moment: moment.timetuple().tm_yday - 1,
    "getHours": lambda moment: moment.hour,
    "getMinutes": lambda moment: moment.minute,
    "getSeconds": lambda moment: moment.second,
    "getMilliseconds": lambda moment: moment.microsecond // 1000,
}
_OF_DURATION: Final[dict[str, Callable[[timedelta], int]]] = {
    "getHours": lambda duration: _toward_zero(duration, timedelta(hours=1)),
    "getMinutes": lambda duration: _toward_zero(duration, timedelta(minutes=1)),
    "getSeconds": lambda duration: _toward_zero(duration, timedelta(seconds=1)),
    "getMilliseconds": lambda duration: int(math.fmod(_toward_zero(duration, timedelta(milliseconds=1)), 1000)),
}
ACCESSORS: Final = tuple(_OF_TIMESTAMP)


def accessed(name: str, value: Any) -> int:
    """One part of a timestamp (in UTC; months and days counted from 0, getDate from 1), or of a duration."""
    if type(value) is datetime:
        return _OF_TIMESTAMP[name](value.astimezone(UTC))
    if type(value) is timedelta and name in _OF_DURATION:
        return _OF_DURATION[name](value)
    raise ExpressionError("type", f"{name}() does not take {described(value)}; convert with timestamp() or duration()")
