"""A process as a person sees it in a terminal."""

import shlex
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from rich.console import Group
from rich.markup import escape
from rich.text import Text

from understudy.cli.output import compact, console, cut, program, state, table
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


def describe(process: Any, url: str = "", *, has_key: bool = False) -> Text:
    """What a process ended with, or what it waits for; with the URL of a gateway, also what would end the waiting.

    Print it with `soft_wrap`: its commands are there to be copied.
    """
    lines: list[Text] = []
    if process["output"] is not None:
        lines.append(Text.from_markup(f"output  {compact(process['output'], 400)}"))
    if process["error"] is not None:
        lines.append(Text.from_markup(f"error   {failure(process['error'])}"))
    for waiting in process.get("waiting_on") or ():
        lines += map(Text.from_markup, _waiting(waiting))
        if url:
            lines += map(Text, _way_on(process["id"], waiting, url, has_key=has_key))
    return Text("\n").join(lines)


def failure(error: Any) -> str:
    """An error in one line of markup."""
    return f"[red]{cut(error['type'], 200)}[/red]: {cut(error['message'], 400)}"


def _waiting(waiting: Any) -> Iterator[str]:
    until = f", until {waiting['deadline']}" if waiting["deadline"] else ""
    event = waiting.get("event")
    heard = ""
    if event:
        heard = f" {cut(event['type'], 200)}" + (f" with key {cut(event['key'], 200)}" if event.get("key") else "")
    yield f"waits   {escape(waiting['activity'])} ({waiting['kind']}{heard}{until})"
    for name in ("title", "instructions", "assignee"):
        if waiting.get(name):
            yield f"        {name}: {cut(str(waiting[name]), 400)}"


def _way_on(process_id: str, waiting: Any, url: str, *, has_key: bool) -> Iterator[str]:
    if waiting["kind"] == "manual":
        path = f"/processes/{process_id}/activities/{waiting['activity']}/resume"
        yield f"  curl -X POST {shlex.quote(url + path)} \\"
        if has_key:
            yield '    -H "authorization: Bearer $UNDERSTUDY_API_KEY" \\'
        answer = '{"outcome":"complete","output":null}'
        yield f"    -H 'content-type: application/json' -d '{answer}'  # null: in its place the answer"
    elif waiting["kind"] == "event":
        event = waiting["event"]
        key = f" --key {shlex.quote(event['key'])}" if event.get("key") else ""
        yield f"  {program()} process signal {process_id} {shlex.quote(event['type'])}{key}"


def moment(at: str) -> str:
    """A moment (UTC): on a terminal the time of today, or the day of another day as far as it fits; else as it came."""
    if not console.is_terminal:
        return at
    now = CLOCK.now().isoformat()
    if at[:10] == now[:10]:
        return at[11:19]
    return f"{at[5:10]} {at[11:16]}" if at[:4] == now[:4] else at[:10]


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
