"""JSON pointers (RFC 6901) and how foreign text is shown inside messages."""

from collections.abc import Iterable

_SHOWN_MAX = 60


def pointer_of(path: Iterable[str | int]) -> str:
    """The JSON pointer of a path of keys and indices; "" is the whole value."""
    return "".join(f"/{escape(str(part))}" for part in path)


def escape(key: str) -> str:
    """A key as one segment of a JSON pointer; what UTF-8 cannot carry is written as a backslash escape."""
    if not key.isascii():
        key = key.encode("utf-8", "backslashreplace").decode()
    return key.replace("~", "~0").replace("/", "~1")


def shown(text: str) -> str:
    """Foreign text, quoted and shortened so that a message stays readable and can be encoded."""
    text = text if len(text) <= _SHOWN_MAX else text[:_SHOWN_MAX] + "…"
    return f"'{text.encode('utf-8', 'backslashreplace').decode()}'"
