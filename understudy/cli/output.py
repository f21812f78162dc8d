"""How the command line prints, and how it runs what is asynchronous."""

import asyncio
import os
import shlex
import shutil
import sys
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import uvloop
from msgspec import json
from rich.console import Console, ConsoleDimensions, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

T = TypeVar("T")

UNBOUNDED = 1 << 30
ELASTIC = frozenset({"", "activity", "data", "definition", "key", "name", "node"})
"""The columns that are folded where a terminal is narrow; all others stand whole, because people copy ids."""


class Paper(Console):
    """The standard output: as wide as its terminal, and without bounds where it is none."""

    @property
    def size(self) -> ConsoleDimensions:
        """Columns and lines."""
        found = super().size
        return found if self.is_terminal else ConsoleDimensions(UNBOUNDED, found.height)

    @size.setter
    def size(self, new_size: tuple[int, int]) -> None:
        self._width, self._height = new_size


console = Paper(highlight=False)

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
    """A JSON value on one line, safe to print, and cut on a terminal where it gets long."""
    return cut("" if value is None else json.encode(value).decode(), length)


def cut(text: str, length: int) -> str:
    """Foreign text on one line, safe to print, and cut on a terminal where it gets long."""
    if console.is_terminal and len(text) > length:
        text = f"{text[: length - 1]}…"
    return escape(text if text.isprintable() else "".join(sign if sign.isprintable() else " " for sign in text))


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> RenderableType:
    """A plain table whose cells are markup; nothing in it is shortened, however narrow the terminal is."""
    cells = [[Text.from_markup(cell) for cell in row] for row in rows]
    widths = [max([len(name), *(row[index].cell_len for row in cells)]) for index, name in enumerate(columns)]
    if not console.is_terminal:
        return _lines([[Text(name) for name in columns], *cells], widths)
    drawn = Table(box=None, header_style="bold", pad_edge=False)
    for name, width in zip(columns, widths, strict=True):
        if name in ELASTIC:
            drawn.add_column(name, overflow="fold")
        else:
            drawn.add_column(name, min_width=width, no_wrap=True)
    for row in cells:
        drawn.add_row(*row)
    return drawn


def _lines(rows: Iterable[Sequence[Text]], widths: Sequence[int]) -> Text:
    """Aligned lines, of which none is padded at its end: one long cell must not lengthen all of them."""
    lines = []
    for row in rows:
        padded = (f"{cell.plain}{' ' * (width - cell.cell_len)}" for cell, width in zip(row[:-1], widths, strict=False))
        lines.append("  ".join((*padded, row[-1].plain)).rstrip())
    return Text("\n".join(lines), no_wrap=True, overflow="ignore")


@contextmanager
def drawing(first: RenderableType = "") -> Iterator[Live]:
    """What is drawn over and over; its last frame ends with a line break, whatever ends it."""
    try:
        with Live(first, console=console, auto_refresh=False) as live:
            yield live
    finally:
        if not console.is_terminal:
            console.line()


def program() -> str:
    """This program as a person would call it in the same shell."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return f"{_shortest(Path(sys.executable))} -m understudy"
    return _shortest(called)


def _shortest(called: Path) -> str:
    found = shutil.which(called.name)
    if found is not None and Path(found).absolute() == called.absolute():
        return called.name
    relative = os.path.relpath(called)
    return shlex.quote(str(called.absolute()) if relative.startswith("..") else relative)
