"""A process that waits leaves the memory of its node, and comes back for whatever happens to it."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.system.client import Client, define, event, http, manual, quick, transform, types_of, unique, wait
from tests.system.conftest import SETTINGS
from tests.system.dev import Dev
from tests.system.target import Reply, Target

ROUNDS_MAX = 500


@pytest.fixture(scope="module")
def forgetful(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """A program that keeps nothing in memory for long, and commits after each activity."""
    settings = {**SETTINGS, "IDLE": "50ms", "COMMIT": "each"}
    running = Dev(tmp_path_factory.mktemp("forgetful"), settings)
    running.start()
    yield running
    assert running.stop() == 0


@pytest.fixture
async def api(forgetful: Dev) -> AsyncIterator[Client]:
    async with Client(forgetful.url) as client:
        yield client


async def _asleep(api: Client, process_id: str) -> None:
    """Return when no actor is left of a process."""
    for _ in range(ROUNDS_MAX):
        if (await api.call("GET", f"/admin/actors/{process_id}")).status == 404:
            return
        await api.get(f"/processes/{process_id}?wait=20ms")
    raise AssertionError("it does not leave")


async def test_an_answer_wakes_it(api: Client) -> None:
    started = await api.start(define(manual("ask"), manual("again")))
    for activity in ("ask", "again"):
        process = await api.waiting(started["id"], activity)
        await _asleep(api, started["id"])
        assert await api.process(started["id"]) == process
        assert (await api.answer(started["id"], activity, {"output": activity})).status == 202
    assert (await api.ended(started["id"]))["output"] == "again"
    rows = await api.history(started["id"])
    assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
    epochs = [row["epoch"] for row in rows[1:]]
    assert epochs == sorted(epochs)
    assert len(set(epochs)) == 3


async def test_an_event_wakes_it(api: Client) -> None:
    kind = unique("e")
    first = await api.start(define(wait("w", event={"type": kind, "key": "k"})))
    second = await api.start(define(wait("w", event={"type": kind})))
    for process in (first, second):
        await api.waiting(process["id"])
        await _asleep(api, process["id"])
    assert (await api.post("/events", {"type": kind, "key": "k", "data": 1})).body["delivered"] == 1
    assert (await api.ended(first["id"]))["output"] == 1
    await api.run(define(event("announce", kind, data=2)))
    assert (await api.ended(second["id"]))["output"] == 2


async def test_timers_wake_it(api: Client, target: Target) -> None:
    policy = quick(2, initial="600ms", max="600ms")
    definitions = [
        define(wait("pause", for_="600ms"), transform("after", "slept")),
        define(
            manual("ask", timeout="600ms", catch=[{"errors": ["timeout"], "next": "late"}]), transform("late", "slept")
        ),
        define(http("call", target.reply("/x", Reply(503), Reply(200)), retry=policy), transform("after", "slept")),
    ]
    started = [await api.start(definition) for definition in definitions]
    for process in started:
        await _asleep(api, process["id"])
        assert (await api.ended(process["id"]))["output"] == "slept"
    limited = await api.run(define(manual("ask"), timeout="400ms"))
    assert limited["error"]["type"] == "timeout"


async def test_a_cancellation_wakes_it(api: Client) -> None:
    started = await api.start(define(wait("pause", for_="1h")))
    await api.waiting(started["id"])
    await _asleep(api, started["id"])
    assert (await api.cancel(started["id"])).status == 202
    assert (await api.ended(started["id"]))["state"] == "CANCELLED"


async def test_each_activity_is_a_commit(api: Client) -> None:
    process = await api.run(define(transform("a", 1), transform("b", 2), transform("c", 3)))
    assert process["output"] == 3
    assert process["version"] >= 3
    rows = await api.history(process["id"])
    assert types_of(rows) == [
        "process.created",
        "process.started",
        *(f"activity.{what} {activity}" for activity in "abc" for what in ("started", "completed")),
        "process.completed",
    ]
