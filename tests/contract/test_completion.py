"""Waiting for the end of a process."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.contract.node_rig import Cluster, cluster
from tests.factories import PROCESS_ID, http
from tests.fakes.clock import settle
from understudy.domain.errors import Unreachable
from understudy.domain.messages import CancelRequested


@pytest.fixture
async def scene() -> AsyncIterator[Cluster]:
    async with cluster() as made:
        made.define(http())
        yield made


async def test_the_end_on_this_node_is_announced_at_once(scene: Cluster) -> None:
    node = await scene.start()
    scene.poke(node, [scene.put()])
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(node._completions.wait(PROCESS_ID, 60))
        await settle()
        assert not waiting.done()
        scene.effects.last.succeed()
        await settle()
        assert waiting.result() is True


async def test_a_process_that_ended_before_the_wait_began_has_ended(scene: Cluster) -> None:
    """The caller's look at the process and its wait are two steps."""
    node = await scene.start()
    scene.poke(node, [scene.put()])
    await settle()
    scene.effects.last.succeed()
    await settle()
    asked = scene.faults.count("processes.ended")
    assert await node._completions.wait(PROCESS_ID, 60) is True
    assert scene.faults.count("processes.ended") == asked


async def test_the_end_on_another_node_is_asked_after_in_one_query_for_all(scene: Cluster) -> None:
    first, second = await scene.start("first"), await scene.start("second")
    scene.poke(first, [scene.put()])
    await settle()
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(second._completions.wait(PROCESS_ID, 60)) for _ in range(20)]
        await scene.advance(1)
        assert scene.faults.count("processes.ended") <= 5
        scene.effects.last.succeed()
        await scene.advance(0.25)
        assert [task.result() for task in waiting] == [True] * 20


async def test_a_wait_ends_with_its_time(scene: Cluster) -> None:
    node = await scene.start()
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(node._completions.wait(PROCESS_ID, 5))
        await scene.advance(4.9)
        assert not waiting.done()
        await scene.advance(0.1)
        assert waiting.result() is False


async def test_a_server_that_does_not_answer_is_asked_again(scene: Cluster) -> None:
    node = await scene.start()
    scene.faults.cut("processes.ended", Unreachable("gone"))
    scene.put()
    scene.store.send(PROCESS_ID, CancelRequested())
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(node._completions.wait(PROCESS_ID, 60))
        await scene.advance(1)
        assert scene.faults.count("processes.ended") >= 4
        scene.faults.mend("processes.ended")
        await scene.advance(5)
        assert waiting.result() is True


async def test_nobody_waits_and_nobody_asks(scene: Cluster) -> None:
    node = await scene.start()
    waiting: Any = asyncio.get_running_loop().create_task(node._completions.wait(PROCESS_ID, 60))
    await scene.advance(1)
    waiting.cancel()
    await scene.advance(1)
    asked = scene.faults.count("processes.ended")
    await scene.advance(10)
    assert scene.faults.count("processes.ended") == asked
    assert node._completions._waiters == {}
