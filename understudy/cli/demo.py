"""`understudy demo`: an example process, drawn live; with a crash, killed half way and seen to resume."""

import asyncio
from contextlib import AsyncExitStack
from importlib.resources import files
from pathlib import Path
from typing import Any

from msgspec import json

from understudy.cli.client import ApiError, Client
from understudy.cli.drawing import describe, draw_process
from understudy.cli.engine import Engine, EngineError
from understudy.cli.output import complain, console, drawing, state
from understudy.cli.process import TERMINAL, history_table, path_of, read_history
from understudy.cli.serving import claim_folder
from understudy.cli.stub_world import TOKEN, StubWorld

FRAME_SECONDS = 0.1
ANSWER_SECONDS = 1.5
SETTINGS = {"UNDERSTUDY_EGRESS_ALLOW": "127.0.0.1", "UNDERSTUDY_SECRET_STOCK_TOKEN": TOKEN}
EXAMPLE = "order-fulfilment"


async def play(data: Path, *, crash: bool) -> int:
    """Play it; exit code 0 only when the process completed and its history is whole.

    Raises:
        ConfigError: the folder cannot be used.
    """
    claim_folder(data)
    async with AsyncExitStack() as stack:
        world = StubWorld()
        stack.push_async_callback(world.stop)
        stock_url = await world.start()
        engine = Engine(data, SETTINGS)
        stack.push_async_callback(engine.stop)
        console.print(f"Starting a private PostgreSQL, a private Valkey and the engine on {data} …")
        try:
            url = await engine.start()
            process_id = await _begin(url, stock_url)
            if crash:
                url = await _crash(engine, world, url, process_id)
            return await _follow(url, process_id, world, data, crash=crash)
        except (EngineError, ApiError) as error:
            complain(str(error))
            return 1


async def _begin(url: str, stock_url: str) -> str:
    definition = json.decode((files("understudy") / "examples" / f"{EXAMPLE}.json").read_bytes())
    async with Client(url) as api:
        published = await api.call("PUT", f"/definitions/{EXAMPLE}", definition)
        console.print(f"Published [bold]{published['name']}@{published['version']}[/bold]; the API is at {url}")
        order = {"id": 1001, "sku": "tea-4711", "quantity": 12, "stock_url": stock_url}
        process = await api.call("POST", "/processes", {"definition": EXAMPLE, "input": order, "key": "order-1001"})
    console.print(f"Started process [bold]{process['id']}[/bold]\n")
    return str(process["id"])


async def _crash(engine: Engine, world: StubWorld, url: str, process_id: str) -> str:
    await world.in_flight.wait()
    async with Client(url) as api:
        before = await api.call("GET", path_of(process_id))
    console.print(draw_process(before))
    await engine.kill()
    console.print("\n[bold red]SIGKILL[/bold red] to the engine and its servers, with a request in flight.")
    console.print("Starting it again on the same data …\n")
    return await engine.start()


async def _follow(url: str, process_id: str, world: StubWorld, data: Path, *, crash: bool) -> int:
    async with Client(url) as api:
        process = await _watch(api, url, process_id)
        rows = await read_history(api, process_id)
    console.print()
    console.print(describe(process), soft_wrap=True)
    console.print()
    console.print(history_table(rows))
    faults = faults_in(rows)
    if crash:
        console.print(
            f"\nThe stock service was asked {len(world.requests)} times under {len(set(world.requests))} idempotency "
            f"key and made {len(world.reservations)} reservation."
        )
    verdict = "no gap, nothing recorded twice" if not faults else "; ".join(faults)
    console.print(f"\n{state(process['state'])}: {len(rows)} history rows, {verdict}. The data are in {data}.")
    return 0 if process["state"] == "COMPLETED" and not faults else 1


async def _watch(api: Client, url: str, process_id: str) -> Any:
    planned = ["reserve", "enough", "approve", "agreed", "shape", "cool_off", "announce"]
    answered = False
    process = await api.call("GET", path_of(process_id))
    with drawing() as live:
        while True:
            live.update(draw_process(process, planned), refresh=True)
            if process["state"] in TERMINAL:
                return process
            if not answered and any(waiting["kind"] == "manual" for waiting in process["waiting_on"]):
                answered = True
                await _answer(api, url, process_id)
            await asyncio.sleep(FRAME_SECONDS)
            process = await api.call("GET", path_of(process_id))


async def _answer(api: Client, url: str, process_id: str) -> None:
    path = path_of(process_id, "activities", "approve", "resume")
    answer = {"outcome": "complete", "output": {"approved": True}}
    # Printed past rich, which would break the lines: the command is there to be copied.
    print("The process waits for a person, who would type:\n")
    print(f"  curl -X POST {url}{path} \\")
    print(f"    -H 'content-type: application/json' -d '{json.encode(answer).decode()}'\n")
    print("The demo answers for you …\n")
    await asyncio.sleep(ANSWER_SECONDS)
    await api.call("POST", path, answer)


def faults_in(rows: list[Any]) -> list[str]:
    """What is wrong with a history: gaps, and executions that ended more or less than once."""
    faults = []
    if [row["seq"] for row in rows] != list(range(1, len(rows) + 1)):
        faults.append("the history has a gap")
    started = {row["execution_id"] for row in rows if row["type"] == "activity.started"}
    ended = [row["execution_id"] for row in rows if row["type"] in {"activity.completed", "activity.failed"}]
    if len(ended) != len(set(ended)):
        faults.append("an activity is recorded twice")
    if started != set(ended):
        faults.append("an activity is lost")
    return faults
