"""A process as a person sees it in a terminal."""

from datetime import datetime
from typing import Any

from rich.console import Group
from rich.markup import escape
from rich.text import Text

from understudy.cli.output import compact, state, table
from understudy.runtime.clock import SystemClock

CLOCK = SystemClock()

MARKS = {"PENDING": "◌", "RUNNING": "▶", "WAITING": "◆", "COMPLETED": "✔", "FAILED": "✘"}


def draw_process(process: Any, planned: list[str] | None = None) -> Group:
    """The activities of a process, reached ones first, with state, attempt and duration; then those only planned."""
    rows = [
        (
            MARKS.get(found["state"], " "),
            escape(found["id"]),
            found["type"],
            state(found["state"]),
            f"{found['attempt']}" + (f" (visit {found['visit']})" if found["visit"] > 1 else ""),
            duration(found["started_at"], found["ended_at"]),
            _remark(found),
        )
        for found in process["activities"]
    ]
    reached = {found["id"] for found in process["activities"]}
    rows += [(" ", escape(name), "", "", "", "", "") for name in planned or () if name not in reached]
    heading = Text.from_markup(f"{process['id']}  {escape(process['definition']['name'])}  {state(process['state'])}")
    return Group(heading, table((" ", "activity", "type", "state", "attempt", "duration", ""), rows))


def _remark(found: Any) -> str:
    if found["error"] is not None:
        return f"[red]{escape(found['error']['type'])}[/red]"
    return compact(found["output"], 44) if found["output"] is not None else ""


def describe(process: Any) -> Group:
    """What a process ended with, or what it waits for."""
    lines = []
    if process["output"] is not None:
        lines.append(Text.from_markup(f"output  {compact(process['output'], 400)}"))
    if process["error"] is not None:
        error = process["error"]
        lines.append(Text.from_markup(f"error   [red]{escape(error['type'])}[/red]: {escape(error['message'])}"))
    for waiting in process.get("waiting_on") or ():
        until = f", until {waiting['deadline'][:19]}" if waiting["deadline"] else ""
        lines.append(Text.from_markup(f"waits   {escape(waiting['activity'])} ({waiting['kind']}{until})"))
    return Group(*lines)


def duration(started_at: str | None, ended_at: str | None) -> str:
    """The time between two moments, or since the first."""
    if started_at is None:
        return ""
    started = datetime.fromisoformat(started_at)
    ended = CLOCK.now() if ended_at is None else datetime.fromisoformat(ended_at)
    seconds = max(0.0, (ended - started).total_seconds())
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"
