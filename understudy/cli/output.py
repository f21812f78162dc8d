"""How the command line prints, and how it runs what is asynchronous."""

import asyncio
import sys
from collections.abc import Coroutine, Iterable, Sequence
from enum import StrEnum
from typing import Any, TypeVar

import uvloop
from msgspec import json
from rich.console import Console
from rich.markup import escape
from rich.table import Table

T = TypeVar("T")

console = Console(highlight=False)

ID_WIDTH = 36

STATE_STYLES = {
    "CREATED": "dim",
    "PENDING": "dim",
    "IN_PROGRESS": "cyan",
    "RUNNING": "cyan",
    "WAITING": "yellow",
    "COMPLETED": "green",
    "FAILED": "red",
    "CANCELLED": "magenta",
}


class Format(StrEnum):
    """How results are printed."""

    TEXT = "text"
    JSON = "json"


def run_loop(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on uvloop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(coroutine)


def say(value: Any, output: Format, text: str) -> None:
    """Print a result as text, or as JSON."""
    print(json.format(json.encode(value)).decode() if output is Format.JSON else text)


def complain(message: str) -> None:
    """Print an error on standard error."""
    print(f"error: {message}", file=sys.stderr)


def state(name: str) -> str:
    """A state in its colour."""
    style = STATE_STYLES.get(name, "default")
    return f"[{style}]{name}[/{style}]"


def compact(value: Any, length: int = 60) -> str:
    """A JSON value on one line, cut where it gets long, safe to print."""
    text = "" if value is None else json.encode(value).decode()
    return escape(text if len(text) <= length else f"{text[: length - 1]}…")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str | None = None) -> Table:
    """A plain table; ids stand in it whole, however narrow it gets, because people copy them."""
    drawn = Table(title=title, box=None, header_style="bold", pad_edge=False, title_justify="left")
    for name in columns:
        drawn.add_column(name, min_width=ID_WIDTH if name == "id" else None)
    for row in rows:
        drawn.add_row(*row)
    return drawn
