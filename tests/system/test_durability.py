"""The program is killed in the middle of everything, and goes on."""

import asyncio
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.client import (
    Client,
    activity_of,
    define,
    event,
    http,
    manual,
    quick,
    transform,
    types_of,
    unique,
    wait,
)
from tests.system.conftest import SETTINGS
from tests.system.dev import Dev
from tests.system.target import Reply, Target


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """As `mktemp -d` makes one: whoever owns it may enter, and nobody else."""
    with tempfile.TemporaryDirectory(prefix="understudy-system-") as created:
        assert Path(created).stat().st_mode & 0o777 == 0o700
        yield Path(created)


@pytest.fixture(scope="module")
def lives(folder: Path) -> Iterator[Dev]:
    """The engine on a folder that all tests here share; each of them ends at least one of its lives."""
    running = Dev(folder, SETTINGS, folder / "data")
    yield running
    assert running.stop() == 0


@pytest.fixture
def engine(lives: Dev) -> Dev:
    if not lives.is_running:
        lives.start()
    return lives


async def _restart(engine: Dev) -> None:
    await asyncio.to_thread(engine.start)


LIMIT = "5s"
"""Long enough to be reached by every process before the crash, on a busy machine too."""


async def _start_one_of_each(api: Client, target: Target, kind: str) -> dict[str, str]:
    """Processes that are in the middle of everything that a process can be in the middle of."""
    url = target.reply("/x", Reply(gate=asyncio.Event()), Reply(200, {"n": 1}))
    policy = quick(2, initial=LIMIT, max=LIMIT)
    definitions = {
        "call": define(http("call", url, "POST"), transform("shape", "${activities.call.output.body.n + 1}")),
        "backoff": define(http("call", target.reply("/y", Reply(503), Reply(200)), retry=policy)),
        "timer": define(wait("pause", for_=LIMIT)),
        "manual": define(manual("ask", title="Title")),
        "event": define(wait("w", event={"type": kind, "key": "k"})),
        "limited": define(manual("ask", timeout=LIMIT)),
        "process": define(manual("ask"), timeout=LIMIT),
    }
    ids = {name: (await api.start(definition, key=name))["id"] for name, definition in definitions.items()}
    ids["ended"] = (await api.run(define(transform("a", 1)), key="ended"))["id"]
    await target.received()
    for name in ("timer", "manual", "event", "limited", "process"):
        await api.waiting(ids[name])
    await api.until(ids["backoff"], lambda found: "PENDING" in {a["state"] for a in found["activities"]})
    return ids


async def test_everything_goes_on_after_a_crash(engine: Dev, target: Target) -> None:
    kind = unique("paid")
    async with Client(engine.url) as api:
        ids = await _start_one_of_each(api, target, kind)
        done = await api.process(ids["ended"])
        done_history = await api.history(ids["ended"])
    engine.kill()
    await _restart(engine)
    async with Client(engine.url) as api:
        assert await api.process(ids["ended"]) == done
        assert await api.history(ids["ended"]) == done_history
        assert (await api.process(ids["manual"]))["waiting_on"][0]["title"] == "Title"
        assert (await api.answer(ids["manual"], "ask", {"output": "yes"})).status == 202
        assert (await api.post("/events", {"type": kind, "key": "k", "data": "paid"})).body["delivered"] == 1
        ended = {name: await api.ended(process_id) for name, process_id in ids.items()}
        for process_id in ids.values():
            await _assert_recorded_once(api, process_id)
    assert {name: found["key"] for name, found in ended.items()} == {name: name for name in ids}
    assert ended["call"]["output"] == 2
    assert ended["backoff"]["state"] == "COMPLETED"
    assert ended["timer"]["state"] == "COMPLETED"
    assert ended["manual"]["output"] == "yes"
    assert ended["event"]["output"] == "paid"
    assert ended["limited"]["error"]["type"] == "timeout"
    assert ended["process"]["error"]["type"] == "timeout"
    assert len([asked for asked in target.requests if asked.path == "/y"]) == 2


async def test_a_call_in_flight_is_repeated_under_its_key(engine: Dev, target: Target) -> None:
    url = target.reply("/x", Reply(gate=asyncio.Event()), Reply(503), Reply(200))
    async with Client(engine.url) as api:
        definition = define(http("call", url, "POST", retry=quick(3)))
        await api.publish(definition)
        started = await api.start(definition["name"], labels={"a": "b"})
        await target.received()
    engine.kill()
    await _restart(engine)
    async with Client(engine.url) as api:
        process = await api.ended(started["id"])
        rows = await api.history(started["id"])
    assert process["definition"] == {"name": definition["name"], "version": 1}
    assert (process["state"], process["labels"]) == ("COMPLETED", {"a": "b"})
    # Its outcome was unknown, so a definite failure after it does not change the key either.
    assert len(target.keys()) == 3
    assert len(set(target.keys())) == 1
    assert types_of(rows) == [
        "process.created",
        "process.started",
        "activity.started call",
        "activity.redispatched call",
        "activity.retry_scheduled call",
        "activity.started call",
        "activity.completed call",
        "process.completed",
    ]
    epochs = [row["epoch"] for row in rows if row["epoch"] is not None]
    assert epochs == sorted(epochs)
    assert epochs[0] < epochs[-1]


async def test_events_are_kept_and_remembered_over_a_crash(engine: Dev) -> None:
    kind = unique("kept")
    async with Client(engine.url) as api:
        await api.post("/events", {"type": kind, "id": f"once-{kind}", "data": "kept"})
        await api.run(define(event("announce", kind, key="k", data="announced")))
    engine.kill()
    await _restart(engine)
    async with Client(engine.url) as api:
        assert (await api.post("/events", {"type": kind, "id": f"once-{kind}", "data": "again"})).status == 202
        assert (await api.run(define(wait("w", event={"type": kind}))))["output"] == "kept"
        assert (await api.run(define(wait("w", event={"type": kind, "key": "k"}))))["output"] == "announced"
        started = await api.start(define(wait("w", event={"type": kind})))
        await api.waiting(started["id"])


async def _assert_recorded_once(api: Client, process_id: str) -> None:
    rows = await api.history(process_id)
    assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
    ends = [row["execution_id"] for row in rows if row["type"] in {"activity.completed", "activity.failed"}]
    assert len(ends) == len(set(ends))
    assert {row["execution_id"] for row in rows if row["type"] == "activity.started"} == set(ends)


async def test_only_the_engine_dies_and_its_servers_are_left_behind(engine: Dev, target: Target) -> None:
    url = target.reply("/x", Reply(gate=asyncio.Event()), Reply(200, {"n": 1}))
    async with Client(engine.url) as api:
        started = await api.start(define(http("call", url, "POST")))
        await target.received()
    engine.kill_alone()
    await _restart(engine)
    async with Client(engine.url) as api:
        assert (await api.ended(started["id"]))["state"] == "COMPLETED"
        assert len(set(target.keys())) == 1


async def test_a_parked_activity_is_never_repeated(engine: Dev, target: Target) -> None:
    url = target.reply("/x", Reply(gate=asyncio.Event()), Reply(200))
    async with Client(engine.url) as api:
        started = await api.start(define(http("call", url, "POST", on_unknown="park", retry=quick(5))))
        await target.received()
    engine.kill()
    await _restart(engine)
    async with Client(engine.url) as api:
        process = await api.waiting(started["id"], "call")
        assert process["waiting_on"][0]["kind"] == "operator"
        assert activity_of(process, "call")["error"]["type"] == "http.unknown"
        assert len(target.requests) == 1
        await api.cancel(started["id"])
        await api.ended(started["id"])


async def test_an_idempotency_key_outlives_a_crash(engine: Dev) -> None:
    key, body = unique("key"), {"definition": define(manual("ask"))}
    async with Client(engine.url) as api:
        first = await api.post("/processes", body, key=key)
        await api.waiting(first.body["id"])
        answered = await api.answer(first.body["id"], "ask", {"output": 1}, key=key)
        assert answered.status == 202
    engine.kill()
    await _restart(engine)
    async with Client(engine.url) as api:
        assert (await api.ended(first.body["id"]))["output"] == 1
        again = await api.post("/processes", body, key=key)
        assert (again.status, again.body["id"]) == (201, first.body["id"])
        assert (await api.answer(first.body["id"], "ask", {"output": 1}, key=key)).status == 202
        assert (await api.post("/processes", {**body, "input": 2}, key=key)).status == 422


async def test_crash_after_crash(engine: Dev, target: Target) -> None:
    steps = [http(f"call{number}", target.url + f"/{number}", "POST", retry=quick(20)) for number in range(5)]
    for number in range(5):
        target.reply(f"/{number}", Reply(gate=asyncio.Event()), Reply(200, {"n": number}))
    async with Client(engine.url) as api:
        started = await api.start(define(*steps))
    for number in range(2):
        await target.received(2 * number + 1)
        await asyncio.to_thread(engine.kill)
        await _restart(engine)
        await target.received(2 * number + 2)
    async with Client(engine.url) as api:
        await target.received(5)
        await api.cancel(started["id"])
        process = await api.ended(started["id"])
        await _assert_recorded_once(api, started["id"])
    assert [found["state"] for found in process["activities"]] == ["COMPLETED"] * 2 + ["FAILED"]
    keys = target.keys()
    assert [keys[2 * number] == keys[2 * number + 1] for number in range(2)] == [True] * 2
    assert len(set(keys)) == 3


async def test_a_stop_lets_requests_in_flight_end(engine: Dev, target: Target) -> None:
    gate = asyncio.Event()
    url = target.reply("/x", Reply(200, {"n": 1}, gate=gate))
    async with Client(engine.url) as api:
        started = await api.start(define(http("call", url, "POST"), event("announce", unique("e"))))
        waiting = await api.start(define(manual("ask")))
        await target.received()
        await api.waiting(waiting["id"])
    engine.terminate()
    gate.set()
    assert await asyncio.to_thread(engine.stop) == 0
    assert not target.broken_off.is_set()
    await _restart(engine)
    async with Client(engine.url) as api:
        assert (await api.ended(started["id"]))["state"] == "COMPLETED"
        assert len(target.requests) == 1
        assert "activity.redispatched call" not in types_of(await api.history(started["id"]))
        assert (await api.process(waiting["id"]))["state"] == "WAITING"


async def test_a_stop_answers_those_who_wait(engine: Dev) -> None:
    async with Client(engine.url) as api:
        started = await api.start(define(manual("ask")))
        await api.waiting(started["id"])
        # Two connections are open: the held call is sent at once, and before the probe that is answered.
        await asyncio.gather(api.get("/readyz"), api.get("/readyz"))
        async with asyncio.TaskGroup() as group:
            held = group.create_task(api.call("GET", f"/processes/{started['id']}?wait=60s"))
            await asyncio.wait([held], timeout=0.05)
            await api.get("/readyz")
            engine.terminate()
        assert held.result().status == 200
        assert held.result().body["state"] == "WAITING"
    assert await asyncio.to_thread(engine.stop) == 0


def test_a_folder_belongs_to_one_engine(engine: Dev, folder: Path) -> None:
    second = engine.open(subprocess.PIPE)
    out, complaint = second.communicate(timeout=60)
    assert second.returncode == 1, (out, complaint)
    assert complaint.strip().splitlines()[-1].startswith("error: ")
    assert str(folder / "data") in complaint
    assert "Traceback" not in complaint
    assert engine.stop() == 0
    engine.start()


async def test_an_interrupt_is_an_orderly_stop_too(engine: Dev) -> None:
    async with Client(engine.url) as api:
        definition = define(transform("a", 1))
        await api.publish(definition)
    assert await asyncio.to_thread(engine.stop, signal.SIGINT) == 0
    await _restart(engine)
    assert "the data are in data." in engine.greeting
    async with Client(engine.url) as api:
        assert (await api.run(definition["name"]))["output"] == 1
        assert (await api.publish(definition)).status == 200
