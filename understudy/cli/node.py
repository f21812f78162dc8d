"""`understudy node`: workers on this machine, and the nodes of the whole cluster."""

import asyncio
import os
from pathlib import Path
from socket import gethostname
from typing import Annotated, Any
from urllib.parse import quote

import typer
from msgspec import json

from understudy.bootstrap.backends import Backends
from understudy.bootstrap.parts import Parts
from understudy.bootstrap.worker import Worker
from understudy.cli.client import ApiError, Client
from understudy.cli.output import Format, console, run_loop, say, table
from understudy.cli.process import client
from understudy.cli.serving import check_servers, claim_folder, first, launch_of, on_first_signal, supervise
from understudy.config import Config, read_config
from understudy.runtime.clock import SystemClock
from understudy.runtime.control import Report, Request, ask
from understudy.runtime.worker_place import EXIT_LOST, Phase, Ready
from understudy.telemetry import configure_logging

app = typer.Typer(help="Run and look after worker nodes.", no_args_is_help=True)

Output = Annotated[Format, typer.Option("-o", "--output", help="How to print.")]
Workers = Annotated[int | None, typer.Option(min=0, max=1000, help="How many workers (without it UNDERSTUDY_WORKERS).")]

POLL_SECONDS = 0.25
WIDE = 120
"""From how many columns on the inner state of actors is shown as well."""


def _config(**overrides: object) -> Config:
    config = read_config(os.environ, **overrides)
    configure_logging(config.log_level)
    return config


@app.command("up")
def up(workers: Workers = None) -> None:
    """Keep workers running on this machine; SIGTERM drains them, a second one kills them."""
    raise typer.Exit(run_loop(_up(_config(workers=workers))))


async def _up(config: Config) -> int:
    claim_folder(Path(config.data_dir))
    await check_servers(config)
    launch = launch_of(config.node or gethostname(), {})
    return await supervise(config, launch, Path(config.data_dir), SystemClock())


@app.command("run")
def run() -> None:
    """Run one worker in this process, without a supervisor; exit code 75 asks to be started again."""
    raise typer.Exit(run_loop(_run(_config())))


async def _run(config: Config) -> int:
    await check_servers(config)
    stopping = asyncio.Event()
    on_first_signal(stopping.set)
    backends = Backends(config)
    worker = Worker(config, backends)
    parts = Parts(backends, worker)
    await parts.start()
    try:
        ready = Ready(worker.node.settings.name, worker.live.session_id, worker.address)
        print(json.encode(ready).decode(), flush=True)
        await first(stopping, worker.lost, worker.drained)
        return EXIT_LOST if worker.lost.is_set() else 0
    finally:
        await parts.stop()


@app.command("scale")
def scale(
    workers: Annotated[int, typer.Argument(min=0, max=1000, help="How many workers this machine is to run.")],
    output: Output = Format.TEXT,
) -> None:
    """Start more workers under the supervisor that runs on this machine, or drain its newest ones."""
    report = run_loop(_scale(Path(_config().data_dir), workers, is_quiet=output is Format.JSON))
    if output is Format.JSON:
        say(report, output, "")
    else:
        console.print(table(("node", "session", "pid"), [_place(view) for view in report.workers]))
    raise typer.Exit(0 if len(report.workers) == workers else 1)


async def _scale(folder: Path, workers: int, *, is_quiet: bool) -> Report:
    said = ""
    async for report in ask(folder, Request(workers)):
        ready = sum(view.phase is Phase.READY for view in report.workers)
        line = f"{ready} of {workers} ready, {len(report.workers) - ready} under way"
        if not report.is_settled and not is_quiet and line != said:
            said = line
            print(line, flush=True)
    return report


def _place(view: Any) -> tuple[str, str, str]:
    return view.node, str(view.session or ""), str(view.pid or "")


@app.command("list")
def list_nodes(output: Output = Format.TEXT) -> None:
    """List the nodes of the whole cluster."""
    known = run_loop(_known())
    if output is Format.JSON:
        say(known, output, "")
        return
    unanswered = set(known["unanswered"])
    rows = [
        (
            found["node"],
            found["id"],
            found["state"],
            "no answer" if found["id"] in unanswered else str(found["live_actors"] or 0),
            "holds" if found["lease_ok"] else "lapsed",
            f"{found['beat_age_seconds']:.1f} s ago",
        )
        for found in known["items"]
    ]
    console.print(table(("node", "id", "state", "actors", "lease", "beat"), rows) if rows else "no nodes")


async def _known() -> Any:
    async with client() as api:
        return await api.call("GET", "/admin/nodes")


@app.command("drain")
def drain(
    node: Annotated[str, typer.Argument(metavar="ID", help="The id of a node, or its name.")],
    output: Output = Format.TEXT,
) -> None:
    """Let a node finish what is in flight and end; what it ran goes on elsewhere."""
    drained = run_loop(_drain(node, is_quiet=output is Format.JSON))
    say(drained, output, f"{drained['node']}  drained")


async def _drain(node: str, *, is_quiet: bool) -> Any:
    async with client() as api:
        drained = await api.call("POST", f"/admin/nodes/{quote(await _id_of(api, node), safe='')}/drain")
        said = None
        while (found := await _find(api, drained["id"])) is not None and found["state"] != "dead":
            left = found["live_actors"]
            if left is not None and left != said and not is_quiet:
                said = left
                print(f"{found['node']}  draining, {left} processes left", flush=True)
            await asyncio.sleep(POLL_SECONDS)
        return drained


async def _id_of(api: Client, node: str) -> str:
    known = (await api.call("GET", "/admin/nodes"))["items"]
    named = [found["id"] for found in known if found["node"] == node and found["state"] != "dead"]
    if len(named) > 1:
        raise ApiError(f"several nodes are called {node}: {', '.join(named)}")
    return named[0] if named else node


async def _find(api: Client, node_id: str) -> Any:
    known = (await api.call("GET", "/admin/nodes"))["items"]
    return next((found for found in known if found["id"] == node_id), None)


def list_actors(node: str | None, output: Format) -> None:
    """Print the live actors of the whole cluster, or of one node."""
    found = run_loop(_actors(node))
    if output is Format.JSON:
        say(found, output, "")
        return
    is_wide = console.width >= WIDE
    rows = [
        (
            actor["process_id"],
            actor["definition"]["name"],
            actor["state"],
            actor["node"],
            ", ".join(actor["current_activities"]),
            f"{actor['age_seconds']:.0f} s",
            *((str(actor[name]) for name in ("epoch", "mailbox_depth", "children_in_flight")) if is_wide else ()),
        )
        for actor in found["items"]
    ]
    inner = ("epoch", "mailbox", "in flight") if is_wide else ()
    columns = ("process", "definition", "state", "node", "activity", "age", *inner)
    console.print(table(columns, rows) if rows else "no live actors")
    for silent in found["unanswered"]:
        console.print(f"[yellow]node {silent} does not answer[/yellow]")


async def _actors(node: str | None) -> Any:
    items: list[Any] = []
    unanswered: list[str] = []
    query = {"limit": "500"} if node is None else {"limit": "500", "node": node}
    async with client() as api:
        while True:
            page = await api.call("GET", "/admin/actors", query=query)
            items += page["items"]
            unanswered += [silent for silent in page["unanswered"] if silent not in unanswered]
            if page["next_cursor"] is None:
                return {"items": items, "unanswered": unanswered}
            query["cursor"] = page["next_cursor"]
