"""Durations as people write them: "500ms", "1.5s", "2h", "7d", or ISO 8601 in days and smaller ("PT30S", "P2D")."""

import re
from datetime import timedelta

DURATION_MAX = timedelta(days=3650)

_NUMBER = r"(\d{1,12}(?:\.\d{1,9})?)"
_SHORT = re.compile(_NUMBER + "(ms|s|m|h|d)", re.ASCII)
_ISO = re.compile(f"P(?:{_NUMBER}D)?(?:T(?=[0-9])(?:{_NUMBER}H)?(?:{_NUMBER}M)?(?:{_NUMBER}S)?)?", re.ASCII)
_UNITS = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class DurationError(ValueError):
    """Text that is no duration, or one beyond `DURATION_MAX`."""


def parse_duration(text: str) -> timedelta:
    """The length of time that the text names, never negative; raises DurationError."""
    if short := _SHORT.fullmatch(text):
        parts = {_UNITS[short[2]]: float(short[1])}
    elif (iso := _ISO.fullmatch(text)) and any(iso.groups()):
        days, hours, minutes, seconds = (float(number or 0) for number in iso.groups())
        parts = {"days": days, "hours": hours, "minutes": minutes, "seconds": seconds}
    else:
        raise DurationError("a duration is written such as '500ms', '30s', '5m', '2h', '7d', 'PT30S' or 'P2D'")
    try:
        duration = timedelta(**parts)
    except OverflowError:
        duration = timedelta.max
    if duration > DURATION_MAX:
        raise DurationError(f"a duration is at most {DURATION_MAX.days} days")
    return duration
