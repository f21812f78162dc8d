"""`understudy process`: start, list, show, watch, history, cancel, signal."""

import os
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from msgspec import DecodeError, json

from understudy.cli.client import Client
from understudy.cli.drawing import describe, draw_process, failure, moment
from understudy.cli.output import Format, compact, console, cut, drawing, run_loop, say, state, table
from understudy.config import read_config

app = typer.Typer(help="Start and look after processes.", no_args_is_help=True)

Output = Annotated[Format, typer.Option("-o", "--output", help="How to print.")]
ProcessId = Annotated[str, typer.Argument(metavar="ID", help="The id of a process.")]

WATCH_QUERY = {"wait": "1s"}
TERMINAL = frozenset({"COMPLETED", "FAILED", "CANCELLED"})


def client() -> Client:
    """The client for the environment's configuration."""
    return Client.of(read_config(os.environ))


def path_of(process_id: str, *rest: str) -> str:
    """The path of a process, or of something below it."""
    return "/".join(["/processes", quote(process_id, safe=""), *(quote(part, safe="") for part in rest)])


def read_json(text: str, option: str) -> Any:
    """The JSON value in an option: as it stands, or from the file after an `@`."""
    try:
        return json.decode(Path(text[1:]).read_bytes() if text.startswith("@") else text)
    except (DecodeError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"is not JSON: {error}", param_hint=option) from None
    except OSError as error:
        raise typer.BadParameter(f"{text[1:]} cannot be read: {error.strerror}", param_hint=option) from None


async def _call(method: str, path: str, body: Any = None, **options: Any) -> Any:
    async with client() as api:
        return await api.call(method, path, body, **options)


@app.command("start")
def start(
    definition: Annotated[str, typer.Argument(help="A name, name@version, or @FILE with a whole definition.")],
    given: Annotated[str, typer.Option("--input", "-i", help="JSON, or @FILE.")] = "null",
    key: Annotated[str | None, typer.Option(help="A handle to find the process by.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="name=value; may be repeated.")] = None,
    idempotency_key: Annotated[str | None, typer.Option(help="The same key starts one process only.")] = None,
    wait: Annotated[str | None, typer.Option(help="Wait this long for its end, such as 30s.")] = None,
    output: Output = Format.TEXT,
) -> None:
    """Start a process."""
    labels = dict(_label(text) for text in label or ())
    named = read_json(definition, "DEFINITION") if definition.startswith("@") else definition
    body = {"definition": named, "input": read_json(given, "--input"), "labels": labels}
    if key is not None:
        body["key"] = key
    query = None if wait is None else {"wait": wait}
    process = run_loop(_call("POST", "/processes", body, query=query, key=idempotency_key))
    if output is Format.JSON:
        say(process, output, "")
    else:
        console.print(f"{process['id']}  {state(process['state'])}")
        if process["state"] in TERMINAL:
            console.print(describe(process), soft_wrap=True)
    raise typer.Exit(1 if process["state"] in {"FAILED", "CANCELLED"} else 0)


def _label(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator:
        raise typer.BadParameter(f"{text!r}: write it as name=value", param_hint="--label")
    return name, value


@app.command("list")
def list_processes(
    wanted: Annotated[str | None, typer.Option("--state", help="Only processes in this state.")] = None,
    definition: Annotated[str | None, typer.Option(help="Only processes of this definition.")] = None,
    key: Annotated[str | None, typer.Option(help="Only processes with this key.")] = None,
    label: Annotated[str | None, typer.Option(help="Only processes with this label, as name:value.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many.")] = 50,
    output: Output = Format.TEXT,
) -> None:
    """List processes, newest first."""
    filters = {"state": wanted, "definition": definition, "key": key, "label": label, "limit": str(limit)}
    query = {name: value for name, value in filters.items() if value is not None}
    page = run_loop(_call("GET", "/processes", query=query))
    if output is Format.JSON:
        say(page, output, "")
        return
    rows = [
        (
            found["id"],
            found["definition"]["name"],
            state(found["state"]),
            cut(found["key"] or "", 60),
            moment(found["created_at"]),
        )
        for found in page["items"]
    ]
    console.print(table(("id", "definition", "state", "key", "created"), rows) if rows else "no processes")


@app.command("show")
def show(process_id: ProcessId, output: Output = Format.TEXT) -> None:
    """Show a process and its activities."""
    process = run_loop(_call("GET", path_of(process_id)))
    if output is Format.JSON:
        say(process, output, "")
    else:
        api = client()
        console.print(draw_process(process))
        console.print(describe(process, api.url, has_key=api.has_key), soft_wrap=True)


@app.command("watch")
def watch(process_id: ProcessId, output: Output = Format.TEXT) -> None:
    """Follow a process until it ends; exit 0 only when it completed."""
    process = run_loop(_watch(process_id, is_quiet=output is Format.JSON))
    if output is Format.JSON:
        say(process, output, "")
    else:
        console.print(describe(process), soft_wrap=True)
    raise typer.Exit(0 if process["state"] == "COMPLETED" else 1)


async def _watch(process_id: str, *, is_quiet: bool) -> Any:
    async with client() as api:
        process = await api.call("GET", path_of(process_id))
        if is_quiet:
            while process["state"] not in TERMINAL:
                process = await api.call("GET", path_of(process_id), query={"wait": "60s"})
            return process
        with drawing(draw_process(process)) as live:
            while process["state"] not in TERMINAL:
                process = await api.call("GET", path_of(process_id), query=WATCH_QUERY)
                live.update(draw_process(process), refresh=True)
        return process


@app.command("history")
def history(process_id: ProcessId, output: Output = Format.TEXT) -> None:
    """Print the whole history of a process."""
    rows = run_loop(_history(process_id))
    if output is Format.JSON:
        say(rows, output, "")
        return
    console.print(history_table(rows))


async def _history(process_id: str) -> list[Any]:
    async with client() as api:
        return await read_history(api, process_id)


async def read_history(api: Client, process_id: str) -> list[Any]:
    """Every history row of a process."""
    rows: list[Any] = []
    while True:
        after = str(rows[-1]["seq"] if rows else 0)
        page = await api.call("GET", path_of(process_id, "history"), query={"after": after, "limit": "500"})
        rows += page["items"]
        if not page["items"] or page["next_cursor"] is None:
            return rows


def history_table(rows: list[Any]) -> Any:
    """A history as a table."""
    return table(
        ("seq", "at", "type", "activity", "attempt", "data"),
        [
            (
                str(row["seq"]),
                row["at"][11:23],
                row["type"],
                row["activity"] or "",
                str(row["attempt"] or ""),
                _payload(row["data"] or {}),
            )
            for row in rows
        ],
    )


def _payload(data: dict[str, Any]) -> str:
    error = data.get("error")
    if not isinstance(error, dict) or not {"type", "message"} <= error.keys():
        return compact(data or None)
    rest = {name: value for name, value in data.items() if name != "error"}
    return f"{failure(error)}{f' {compact(rest)}' if rest else ''}"


@app.command("cancel")
def cancel(
    process_id: ProcessId,
    reason: Annotated[str | None, typer.Option(help="Why; it stands in the history.")] = None,
    output: Output = Format.TEXT,
) -> None:
    """End a process now."""
    process = run_loop(_call("POST", path_of(process_id, "cancel"), None if reason is None else {"reason": reason}))
    say(process, output, f"{process['id']}  accepted: the process is being cancelled")


@app.command("signal")
def signal(
    process_id: ProcessId,
    event: Annotated[str, typer.Argument(metavar="TYPE", help="The type of the event.")],
    key: Annotated[str | None, typer.Option(help="The key that the wait names.")] = None,
    given: Annotated[str, typer.Option("--data", "-d", help="JSON, or @FILE.")] = "null",
    event_id: Annotated[str | None, typer.Option("--id", help="An event with the same id is accepted once.")] = None,
    output: Output = Format.TEXT,
) -> None:
    """Send an event to one process; if it does not wait for it yet, it is kept for 24 hours."""
    body = {"type": event, "key": key, "id": event_id, "data": read_json(given, "--data")}
    accepted = run_loop(_call("POST", path_of(process_id, "events"), body))
    outcome = "delivered" if accepted["delivered"] else "accepted: nothing waits for it now"
    say(accepted, output, f"{accepted['event_id']}  {outcome}")
