"""The supervisor with workers that are small programs."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.fakes.clock import ManualClock
from understudy.domain.ports import Clock
from understudy.runtime.clock import SystemClock
from understudy.runtime.cluster import Cluster, Launch
from understudy.runtime.worker_place import Phase, Policy, WorkerView

PATIENCE_SECONDS = 20
READY = """
import json, os, signal, sys, uuid
def ready():
    print("a line of another kind")
    print(json.dumps({"node": os.environ["UNDERSTUDY_NODE"], "session": str(uuid.uuid4())}), flush=True)
"""
GOOD = READY + "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\nready()\nsignal.pause()"
STUBBORN = READY + "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nready()\nwhile True: signal.pause()"
FIRST_EXITS = (
    READY
    + """
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
ready()
if not os.path.exists(os.environ["MARK"]):
    open(os.environ["MARK"], "w").close()
    sys.exit(int(os.environ["CODE"]))
signal.pause()
"""
)
QUICK = Policy(grace_seconds=10, pause_seconds=0.01, pause_seconds_max=0.02)


def launch(program: str, **environment: str) -> Launch:
    return Launch((sys.executable, "-S", "-c", program), {**os.environ, **environment}, "w")


async def until(cluster: Cluster, condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await cluster.change()


async def until_settled(cluster: Cluster, count: int) -> tuple[WorkerView, ...]:
    await until(cluster, lambda: cluster.is_settled and len(cluster.views) == count)
    return cluster.views


async def until_gone(*descriptors: int) -> None:
    """Return when the processes behind these descriptors have ended."""
    loop = asyncio.get_running_loop()
    for descriptor in descriptors:
        gone = asyncio.Event()
        loop.add_reader(descriptor, gone.set)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await gone.wait()
        loop.remove_reader(descriptor)
        os.close(descriptor)


def watch(view: WorkerView) -> int:
    assert view.pid is not None
    return os.pidfd_open(view.pid)


@asynccontextmanager
async def running(
    program: Launch, count: int, policy: Policy = QUICK, clock: Clock | None = None
) -> AsyncIterator[Cluster]:
    cluster = Cluster(program, policy, clock or SystemClock())
    async with asyncio.TaskGroup() as group:
        task = group.create_task(cluster.run(count))
        await asyncio.wait([task], timeout=0)
        try:
            yield cluster
        finally:
            cluster.stop()
            async with asyncio.timeout(PATIENCE_SECONDS):
                await task
    assert cluster.views == ()
    assert task.result() == 0


async def test_workers_are_named_and_say_when_they_are_ready() -> None:
    async with running(launch(GOOD), 2) as cluster:
        views = await until_settled(cluster, 2)
        assert [(view.node, view.phase, view.crashes) for view in views] == [
            ("w-1", Phase.READY, 0),
            ("w-2", Phase.READY, 0),
        ]
        assert len({view.session for view in views} | {None}) == 3


async def test_the_newest_workers_are_drained_first_and_their_numbers_taken_again() -> None:
    async with running(launch(GOOD), 1) as cluster:
        (first,) = await until_settled(cluster, 1)
        cluster.scale(4)
        views = await until_settled(cluster, 4)
        assert [view.node for view in views] == ["w-1", "w-2", "w-3", "w-4"]
        leaving = [watch(view) for view in views[2:]]
        cluster.scale(2)
        assert [view.phase for view in cluster.views] == [Phase.READY] * 2 + [Phase.DRAINING] * 2
        assert not cluster.is_settled
        await until_gone(*leaving)
        assert await until_settled(cluster, 2) == views[:2]
        assert views[0] == first
        cluster.scale(3)
        assert (await until_settled(cluster, 3))[2].node == "w-3"
        cluster.scale(0)
        assert await until_settled(cluster, 0) == ()
        cluster.scale(1)
        await until_settled(cluster, 1)


async def test_a_worker_that_was_killed_is_replaced_under_its_name() -> None:
    async with running(launch(GOOD), 2) as cluster:
        first, second = await until_settled(cluster, 2)
        assert first.pid is not None
        os.kill(first.pid, signal.SIGKILL)
        await until(cluster, lambda: cluster.views[0].phase is not Phase.READY)
        replaced, other = await until_settled(cluster, 2)
        assert (replaced.node, replaced.crashes, other) == ("w-1", 1, second)
        assert (replaced.pid, replaced.session) != (first.pid, first.session)


async def test_a_worker_that_lost_its_session_is_replaced_at_once(tmp_path: Path) -> None:
    clock = ManualClock()
    async with running(launch(FIRST_EXITS, MARK=str(tmp_path / "mark"), CODE="75"), 1, clock=clock) as cluster:
        await until(cluster, lambda: cluster.is_settled and cluster.views[0].crashes == 1)
        assert clock.alarms == []


async def test_a_worker_that_ended_by_itself_is_not_replaced(tmp_path: Path) -> None:
    async with running(launch(FIRST_EXITS, MARK=str(tmp_path / "mark"), CODE="0"), 1) as cluster:
        await until(cluster, lambda: not cluster.views)
        cluster.scale(1)
        assert (await until_settled(cluster, 1))[0].crashes == 0


async def test_pauses_grow_with_each_crash_and_shrink_after_a_long_life() -> None:
    clock = ManualClock()
    policy = Policy(pause_seconds=1, pause_seconds_max=3, stable_seconds=60)
    async with running(launch(GOOD), 1, policy, clock) as cluster:
        for lived, pause in ((0, 1.0), (0, 2.0), (0, 3.0), (59, 3.0), (60, 1.0)):
            (view,) = await until_settled(cluster, 1)
            clock.jump(lived)
            assert view.pid is not None
            os.kill(view.pid, signal.SIGKILL)
            await until(cluster, lambda: cluster.views[0].phase is Phase.WAITING)
            assert clock.alarms == [pause]
            await clock.advance(pause)


async def test_a_pause_ends_with_the_need_for_the_worker() -> None:
    async with running(launch(READY + "ready()\nsys.exit(3)"), 1, Policy(pause_seconds=1e6)) as cluster:
        await until(cluster, lambda: cluster.views[0].phase is Phase.WAITING)
        cluster.scale(0)
        await until_settled(cluster, 0)


@pytest.mark.parametrize(
    "program", ["import sys; sys.exit(1)", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"]
)
async def test_workers_that_never_get_ready_are_given_up(program: str) -> None:
    cluster = Cluster(launch(program), Policy(pause_seconds=0.001, failures_max=3), SystemClock())
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await cluster.run(2) == 1


async def test_a_command_that_does_not_exist_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    absent = Launch(("/nowhere/understudy",), {}, "w")
    cluster = Cluster(absent, Policy(pause_seconds=0.001, failures_max=2), SystemClock())
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await cluster.run(1) == 1


async def test_failures_that_are_far_apart_do_not_give_up() -> None:
    clock = ManualClock()
    policy = Policy(pause_seconds=31, failures_max=2, window_seconds=60)
    cluster = Cluster(launch("raise SystemExit(1)"), policy, clock)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(cluster.run(1))
        await asyncio.wait([task], timeout=0)
        await until(cluster, lambda: cluster.views[0].phase is Phase.WAITING and cluster.views[0].crashes == 1)
        clock.jump(30)
        await clock.advance(31)
        await until(cluster, lambda: cluster.views[0].phase is Phase.WAITING and cluster.views[0].crashes == 2)
        cluster.stop()
    assert task.result() == 0


async def test_a_worker_that_does_not_drain_in_time_is_killed() -> None:
    clock = ManualClock()
    async with running(launch(STUBBORN), 1, Policy(grace_seconds=7), clock) as cluster:
        (view,) = await until_settled(cluster, 1)
        gone = watch(view)
        cluster.stop()
        assert clock.alarms == [7]
        await clock.advance(7)
        await until_gone(gone)
        await until_settled(cluster, 0)


async def test_a_second_stop_kills() -> None:
    async with running(launch(STUBBORN), 2, Policy(grace_seconds=1e6)) as cluster:
        gone = [watch(view) for view in await until_settled(cluster, 2)]
        cluster.stop()
        cluster.stop()
        await until_gone(*gone)


async def test_nothing_is_started_once_it_stops() -> None:
    async with running(launch(GOOD), 1) as cluster:
        await until_settled(cluster, 1)
        cluster.stop()
        cluster.scale(5)
        assert len(cluster.views) == 1


async def test_no_worker_outlives_a_supervisor_that_was_killed() -> None:
    supervisor = f"""
import asyncio, sys
from understudy.runtime.clock import SystemClock
from understudy.runtime.cluster import Cluster, Launch
from understudy.runtime.worker_place import Policy
from understudy.telemetry import configure_logging
configure_logging("critical")
async def main():
    cluster = Cluster(Launch((sys.executable, "-S", "-c", {STUBBORN!r}), {{}}, "w"), Policy(), SystemClock())
    async with asyncio.TaskGroup() as group:
        group.create_task(cluster.run(2))
        while not (cluster.is_settled and len(cluster.views) == 2):
            await cluster.change()
        print(*(view.pid for view in cluster.views), flush=True)
asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", supervisor), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE_SECONDS):
        descriptors = [os.pidfd_open(int(pid)) for pid in (await process.stdout.readline()).split()]
    assert len(descriptors) == 2
    process.kill()
    await until_gone(*descriptors)
    await process.wait()
