"""Parts start in their order and stop in the opposite one, and how workers are given their settings."""

import asyncio
import os

import pytest

from understudy.bootstrap.parts import Loop, Parts
from understudy.cli.serving import launch_of
from understudy.config import read_config
from understudy.domain.errors import Unreachable


class Noted:
    def __init__(self, name: str, notes: list[str], error: Exception | None = None) -> None:
        self._name, self._notes, self._error = name, notes, error

    async def start(self) -> None:
        self._notes.append(f"+{self._name}")
        if self._error is not None:
            raise self._error

    async def stop(self) -> None:
        self._notes.append(f"-{self._name}")


async def test_parts_stop_in_the_opposite_order_and_once() -> None:
    notes: list[str] = []
    parts = Parts(Noted("a", notes), Parts(Noted("b", notes), Noted("c", notes)))
    await parts.stop()
    await parts.start()
    await parts.stop()
    await parts.stop()
    assert notes == ["+a", "+b", "+c", "-c", "-b", "-a"]


async def test_what_started_is_stopped_when_something_does_not() -> None:
    notes: list[str] = []
    parts = Parts(Noted("a", notes), Noted("b", notes, Unreachable("gone")), Noted("c", notes))
    with pytest.raises(Unreachable):
        await parts.start()
    assert notes == ["+a", "+b", "-b", "-a"]
    await parts.stop()
    assert len(notes) == 4


async def test_a_loop_runs_from_its_start_to_its_stop() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def run() -> None:
        begun.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.set()

    loop = Loop(run)
    await loop.stop()
    await loop.start()
    await begun.wait()
    await loop.stop()
    assert ended.is_set()


def test_workers_get_the_settings_of_their_supervisor(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("UNDERSTUDY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("UNDERSTUDY_IDLE", "9s")
    monkeypatch.setenv("UNDERSTUDY_NODE_FILE", "/absent")
    monkeypatch.setenv("UNDERSTUDY_REDIS_URL", "redis://other")
    launch = launch_of("host", {"REDIS_URL": "redis://ours"})
    config = read_config(launch.environment)
    assert (config.idle, config.node, config.redis_url) == ("9s", "host", "redis://ours")
    assert launch.command[-2:] == ("node", "run")
