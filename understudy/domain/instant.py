"""Points in time as RFC 3339 text."""

import re
from datetime import datetime

# Python's own parser reads all of ISO 8601, among it weeks, bare dates and times without an offset.
_RFC_3339 = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:[Zz]|[+-]\d{2}:\d{2})", re.ASCII)


class InstantError(ValueError):
    """Text that is no RFC 3339 time."""


def parse_instant(text: str) -> datetime:
    """The time that RFC 3339 text such as "2026-11-25T08:30:00Z" names, with its offset; raises InstantError."""
    if _RFC_3339.fullmatch(text):
        try:
            return datetime.fromisoformat(text.upper())
        except ValueError:
            pass
    raise InstantError("a time is written in RFC 3339, such as '2026-11-25T08:30:00Z'")
