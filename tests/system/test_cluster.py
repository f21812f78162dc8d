"""Gateways and workers as processes of their own."""

import asyncio
import os
import signal
import stat
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.system.client import Client, define, http, quick, transform, types_of, unique, wait
from tests.system.deployment import Deployment, all_ended, assert_whole, eventually, start_many, until_gone
from tests.system.dev import LISTENS
from tests.system.target import Reply, Target


@pytest.fixture
async def deployment(tmp_path: Path, postgres_url: str, redis_url: str, rabbitmq_url: str) -> AsyncIterator[Deployment]:
    settings = {
        "POSTGRES_URL": postgres_url,
        "REDIS_URL": redis_url,
        "RABBITMQ_URL": rabbitmq_url,
        "EGRESS_ALLOW": "127.0.0.1",
        "LEASE_TTL": "4s",
        "DRAIN": "10s",
        "NODE": "w",
    }
    made = Deployment(tmp_path, postgres_url, settings)
    yield made
    await made.stop()


@pytest.fixture
async def cluster_api(deployment: Deployment) -> AsyncIterator[Client]:
    await deployment.gateway()
    async with Client(deployment.url) as client:
        yield client


async def agreed(deployment: Deployment, api: Client, workers: int, count: int) -> Counter[str]:
    """How many live actors each node has, once `node list`, `/admin/actors` and PostgreSQL say the same."""

    async def look() -> tuple[Counter[str], Counter[str], Counter[str], int]:
        nodes = [node for node in await deployment.nodes() if node["state"] != "dead"]
        listed = Counter({node["id"]: node["live_actors"] or 0 for node in nodes})
        page = await api.get("/admin/actors?limit=500")
        assert page["next_cursor"] is None
        shown = Counter(actor["session"] for actor in page["items"])
        owned = await deployment.rows(
            "SELECT owner_session, count(*) FROM process WHERE owner_session IS NOT NULL GROUP BY 1"
        )
        return +listed, shown, Counter({str(owner): number for owner, number in owned}), len(nodes)

    seen = await eventually(
        look, lambda seen: seen[0] == seen[1] == seen[2] and seen[0].total() == count and seen[3] == workers
    )
    found: Counter[str] = seen[0]
    return found


async def test_a_gateway_and_two_workers_share_the_work(
    deployment: Deployment, cluster_api: Client, target: Target
) -> None:
    await deployment.up(2)
    definition = define(
        http("call", target.reply("/call", Reply(200, {"n": 1})), "POST"),
        wait("pause", for_="100ms"),
        transform("shape", "${activities.call.output.body.n + 1}"),
    )
    started = await start_many(cluster_api, definition, 60)
    processes = await all_ended(cluster_api, started)
    assert (await cluster_api.get("/readyz"))["servers"] == {"postgres": None, "redis": None}
    assert await assert_whole(cluster_api, processes) == {"w-1", "w-2"}
    assert {process["output"] for process in processes} == {2}
    assert len(target.requests) == len(set(target.keys())) == 60


async def test_workers_are_scaled_under_load_and_everybody_agrees(
    deployment: Deployment, cluster_api: Client, target: Target
) -> None:
    """1 → 4 → 2: none lost, none doubled."""
    supervisor = await deployment.up(1)
    kind = unique("go")
    definition = define(
        http("call", target.reply("/call", Reply(200, {"n": 1})), "POST"),
        wait("until", event={"type": kind}),
        transform("shape", "${activities.call.output.body.n + 1}"),
        name=unique("scaled"),
    )
    await cluster_api.publish(definition)
    reference = definition["name"]
    started = await start_many(cluster_api, reference, 30)
    assert set(await agreed(deployment, cluster_api, 1, 30)) == {(await deployment.nodes())[0]["id"]}

    async def load(count: int) -> None:
        for _ in range(count):
            started.append((await cluster_api.start(reference))["id"])

    async with asyncio.TaskGroup() as group:
        group.create_task(load(60))
        scaled = await deployment.run("node", "scale", "4", "-o", "json")
    assert [worker["node"] for worker in scaled.json["workers"]] == ["w-1", "w-2", "w-3", "w-4"]
    assert {worker["phase"] for worker in scaled.json["workers"]} == {"ready"}
    await load(60)
    assert len(await agreed(deployment, cluster_api, 4, 150)) == 4

    async with asyncio.TaskGroup() as group:
        group.create_task(load(40))
        scaled = await deployment.run("node", "scale", "2")
    assert scaled.code == 0, scaled
    assert "ready" in scaled.output
    assert {node["node"] for node in await deployment.nodes()} == {"w-1", "w-2"}
    started += await start_many(cluster_api, reference, 20)
    # Those that the drained workers had wait unowned until something happens to them.
    owned = await deployment.rows("SELECT count(*) FROM process WHERE owner_session IS NOT NULL")
    await agreed(deployment, cluster_api, 2, owned[0][0])

    assert len(started) == 210
    answer = await cluster_api.post("/events", {"type": kind})
    assert answer.body["delivered"] == 210
    await assert_whole(cluster_api, await all_ended(cluster_api, started))
    assert len(target.requests) == len(set(target.keys())) == 210
    assert await supervisor.stop() == 0
    assert await deployment.rows("SELECT 1 FROM node_session") == []


async def test_a_supervisor_that_is_told_to_stop_lets_requests_end(
    deployment: Deployment, cluster_api: Client, target: Target
) -> None:
    gate = asyncio.Event()
    supervisor = await deployment.up(2)
    definition = define(http("call", target.reply("/call", Reply(200, {"n": 1}, gate=gate)), "POST", timeout="30s"))
    started = await start_many(cluster_api, definition, 8)
    await target.received(8)
    supervisor.process.terminate()
    await eventually(
        lambda: cluster_api.get("/admin/nodes"),
        lambda known: {node["state"] for node in known["items"]} == {"draining"},
    )
    gate.set()
    assert await supervisor.wait() == 0
    processes = [await cluster_api.process(process_id) for process_id in started]
    await assert_whole(cluster_api, processes)
    assert len(target.requests) == 8
    assert not supervisor.lines("worker_killed")


async def test_a_killed_worker_is_replaced_and_its_work_goes_on(
    deployment: Deployment, cluster_api: Client, target: Target
) -> None:
    gate = asyncio.Event()
    supervisor = await deployment.up(2)
    # Seen by each other: from then on a crash is noticed at once.
    await eventually(deployment.nodes, lambda nodes: min(node["beat_seq"] for node in nodes) > 8)
    policy = quick(5)
    held = Reply(200, {"n": 1}, gate=gate)
    definition = define(http("call", target.reply("/call", held), "POST", retry=policy), transform("shape", "done"))
    started = await start_many(cluster_api, definition, 20)
    await target.received(20)
    victim = await deployment.busiest()
    os.kill(victim["pid"], signal.SIGKILL)
    gate.set()
    processes = await all_ended(cluster_api, started)
    await assert_whole(cluster_api, processes)
    assert len(set(target.keys())) == 20
    known = await eventually(
        deployment.nodes,
        lambda nodes: sorted(node["node"] for node in nodes if node["state"] != "dead") == ["w-1", "w-2"],
    )
    assert victim["session"] not in {node["id"] for node in known}
    (crash,) = supervisor.lines("worker_crashed")
    assert (crash["node"], crash["exit_code"]) == (victim["node"], -9)


async def test_workers_do_not_outlive_a_killed_supervisor_and_another_takes_the_folder(
    deployment: Deployment, cluster_api: Client, target: Target
) -> None:
    supervisor = await deployment.up(2)
    pids = [worker["pid"] for worker in await deployment.workers()]
    door = deployment.folder / ".understudy" / "cluster.sock"
    assert stat.S_IMODE(door.stat().st_mode) == 0o600
    second = await deployment.open("node", "up")
    assert await second.wait() == 1
    assert "another supervisor runs on .understudy" in second.log.read_text()
    started = await cluster_api.start(define(wait("pause", for_="200ms"), transform("shape", "done")))
    supervisor.process.kill()
    await until_gone(*pids)
    await supervisor.wait()
    await deployment.up(1)
    assert (await cluster_api.ended(started["id"]))["output"] == "done"


async def test_a_node_is_drained_by_name_wherever_it_runs(
    deployment: Deployment, cluster_api: Client, target: Target
) -> None:
    gate = asyncio.Event()
    supervisor = await deployment.up(2)
    definition = define(http("call", target.reply("/call", Reply(200, {"n": 1}, gate=gate)), "POST", timeout="30s"))
    started = await start_many(cluster_api, definition, 12)
    await target.received(12)

    async def release() -> None:
        await eventually(
            lambda: cluster_api.get("/admin/nodes"),
            lambda known: {node["state"] for node in known["items"]} == {"alive", "draining"},
        )
        gate.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(release())
        drained = await deployment.run("node", "drain", "w-2")
    assert drained.code == 0, drained
    assert "w-2  draining" in drained.output
    assert drained.output.endswith("w-2  drained\n")
    assert [node["node"] for node in await deployment.nodes()] == ["w-1"]
    assert [worker["node"] for worker in await deployment.workers()] == ["w-1"]
    await assert_whole(cluster_api, await all_ended(cluster_api, started))
    assert len(target.requests) == 12
    assert not supervisor.lines("worker_crashed")
    absent = await deployment.run("node", "drain", "w-2")
    assert absent.code == 1
    assert "No node 'w-2'" in absent.errors


async def test_a_node_that_does_not_answer_is_named(deployment: Deployment, cluster_api: Client) -> None:
    await deployment.up(2, LEASE_TTL="120s")
    first, second = await deployment.workers()
    started = await start_many(cluster_api, define(wait("pause", for_="60s")), 10)
    await agreed(deployment, cluster_api, 2, 10)
    os.kill(second["pid"], signal.SIGSTOP)
    try:
        page = await cluster_api.get("/admin/actors")
        assert page["unanswered"] == [second["session"]]
        assert {actor["node"] for actor in page["items"]} <= {"w-1"}
        shown = await deployment.run("actors")
        assert f"node {second['session']} does not answer" in shown.output
        only = await deployment.run("actors", "--node", first["session"], "-o", "json")
        assert only.json["unanswered"] == []
        assert len(only.json["items"]) == len(page["items"])
        listed = await deployment.run("node", "list")
        assert "no answer" in listed.output
    finally:
        os.kill(second["pid"], signal.SIGCONT)
    await asyncio.gather(*(cluster_api.cancel(process_id) for process_id in started))
    ended = await all_ended(cluster_api, started)
    assert {process["state"] for process in ended} == {"CANCELLED"}
    assert types_of(await cluster_api.history(started[0]))[-1] == "process.cancelled"


async def test_commands_of_a_cluster_refuse_to_begin_without_its_servers(
    tmp_path: Path, empty_postgres_url: str, redis_url: str
) -> None:
    bare = Deployment(tmp_path, empty_postgres_url, {})
    for arguments in (("gateway",), ("node", "up"), ("node", "run")):
        ended = await bare.run(*arguments)
        assert (ended.code, "set UNDERSTUDY_POSTGRES_URL" in ended.errors) == (1, True), ended
    urls = {"POSTGRES_URL": empty_postgres_url, "REDIS_URL": redis_url, "RABBITMQ_URL": "amqp://127.0.0.1:1/"}
    unmigrated = Deployment(tmp_path, empty_postgres_url, urls)
    for arguments in (("gateway",), ("node", "up"), ("node", "run")):
        ended = await unmigrated.run(*arguments)
        assert (ended.code, "run `understudy migrate`" in ended.errors) == (1, True), ended
    ended = await bare.run("node", "scale", "2")
    assert (ended.code, "no supervisor runs on" in ended.errors) == (1, True), ended


async def test_dev_runs_workers_of_its_own(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path, "", {})
    dev = await deployment.open("dev", "--nodes", "2", "--port", "0", "--ephemeral")
    deployment.url = (await dev.line(LISTENS)).removeprefix(LISTENS)
    await dev.line("2 workers are ready: node-1, node-2")
    async with Client(deployment.url) as api:
        ended = await api.run(define(transform("shape", "done")))
        assert ended["output"] == "done"
        assert sorted(node["node"] for node in await deployment.nodes()) == ["node-1", "node-2"]
    assert await dev.stop() == 0
    assert not dev.lines("worker_killed")


async def test_many_processes_survive_the_death_of_a_worker_half_way(
    deployment: Deployment, cluster_api: Client, target: Target
) -> None:
    await deployment.up(2)
    await eventually(deployment.nodes, lambda nodes: min(node["beat_seq"] for node in nodes) > 8)
    url = target.reply("/call", Reply(200, {"n": 1}))
    definition = define(
        http("first", url, "POST", retry=quick(5)),
        wait("pause", for_="300ms"),
        http("second", url, "POST", retry=quick(5)),
        transform("shape", "done"),
    )
    started = await start_many(cluster_api, definition, 200)
    await target.received(200)
    victim = await deployment.busiest()
    os.kill(victim["pid"], signal.SIGKILL)
    processes = await all_ended(cluster_api, started)
    await assert_whole(cluster_api, processes)
    assert len(set(target.keys())) == 400


async def test_a_worker_that_hung_finds_itself_replaced(
    deployment: Deployment, cluster_api: Client, target: Target
) -> None:
    """The zombie wakes after three times its lease: what it still commits is refused, and it makes room."""
    gate = asyncio.Event()
    supervisor = await deployment.up(2, LEASE_TTL="2s")
    held = Reply(200, {"n": 1}, gate=gate)
    definition = define(http("call", target.reply("/call", held), "POST", retry=quick(5)), transform("shape", "done"))
    started = await start_many(cluster_api, definition, 30)
    await target.received(30)
    victim = await deployment.busiest()
    os.kill(victim["pid"], signal.SIGSTOP)
    gate.set()
    processes = await all_ended(cluster_api, started)
    lapsed = asyncio.get_running_loop().time() + 6
    await eventually(deployment.nodes, lambda _: asyncio.get_running_loop().time() >= lapsed)
    before = {process["id"]: await cluster_api.history(process["id"]) for process in processes}
    os.kill(victim["pid"], signal.SIGCONT)
    replaced = await eventually(
        deployment.nodes,
        lambda nodes: len(nodes) == 2 and victim["session"] not in {node["id"] for node in nodes},
    )
    assert sorted(node["node"] for node in replaced) == ["w-1", "w-2"]
    await assert_whole(cluster_api, processes)
    assert {process_id: await cluster_api.history(process_id) for process_id in before} == before
    (lost,) = supervisor.lines("worker_crashed")
    assert (lost["node"], lost["exit_code"]) == (victim["node"], 75)
    assert len(set(target.keys())) == 30
