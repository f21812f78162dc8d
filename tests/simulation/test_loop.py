"""The loop itself: virtual time, kill -9, SIGSTOP, and a step order that belongs to the seed."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.simulation.broker import pause
from tests.simulation.loop import Deadlock, SimLoop, Sluggish


@contextmanager
def running(seed: int = 1, **options: Any) -> Iterator[SimLoop]:
    loop = SimLoop(seed, **options)
    yield loop
    loop.wind_up()


def in_life(loop: SimLoop, work: Callable[[], Coroutine[Any, Any, None]]) -> tuple[Any, "asyncio.Task[None]"]:
    life, context = loop.live("node")
    return life, loop.create_task(work(), context=context)


def test_time_is_virtual() -> None:
    with running() as loop:
        loop.run_until_complete(pause(loop, 86_400))
        assert loop.time() == 86_400


def test_the_killed_do_nothing_any_more_not_even_finally() -> None:
    notes: list[str] = []
    with running() as loop:

        async def work() -> None:
            try:
                await pause(loop, 1)
                notes.append("went on")
            finally:
                notes.append("finally")

        life, _ = in_life(loop, work)
        loop.run_until_complete(pause(loop, 0.5))
        loop.kill(life)
        loop.run_until_complete(pause(loop, 10))
        assert notes == []


def test_what_the_killed_had_begun_belongs_to_them() -> None:
    notes: list[str] = []
    with running() as loop:

        async def work() -> None:
            loop.call_later(1, notes.append, "timer")
            asyncio.get_running_loop().create_task(child())

        async def child() -> None:
            await pause(loop, 1)
            notes.append("child")

        life, _ = in_life(loop, work)
        loop.run_until_complete(pause(loop, 0.5))
        loop.kill(life)
        loop.run_until_complete(pause(loop, 10))
        assert notes == []


def test_the_paused_go_on_where_they_were_in_their_order() -> None:
    notes: list[tuple[int, float]] = []
    with running() as loop:

        async def work() -> None:
            for number in range(3):
                loop.call_later(1 + number / 10, lambda number=number: notes.append((number, loop.time())))
            await pause(loop, 20)

        life, _ = in_life(loop, work)
        loop.run_until_complete(pause(loop, 0.5))
        loop.pause(life)
        loop.run_until_complete(pause(loop, 9.5))
        assert notes == []
        loop.resume(life)
        loop.run_until_complete(pause(loop, 0.1))
        assert notes == [(0, 10.0), (1, 10.0), (2, 10.0)]


def test_the_order_of_steps_is_the_seeds() -> None:
    def order(seed: int) -> list[int]:
        notes: list[int] = []
        with running(seed) as loop:

            async def step(number: int) -> None:
                notes.append(number)

            async def all_steps() -> None:
                await asyncio.gather(*(step(number) for number in range(8)))

            loop.run_until_complete(all_steps())
        return notes

    assert order(1) == order(1)
    assert len({tuple(order(seed)) for seed in range(10)}) > 5


def test_a_deadlock_is_found() -> None:
    with running() as loop:

        async def wait() -> None:
            await loop.create_future()

        with pytest.raises(Deadlock):
            loop.run_until_complete(wait())


def test_spinning_is_found() -> None:
    with running(steps_max=1000) as loop:

        async def spin() -> None:
            while True:
                turn = loop.create_future()
                loop.call_soon(turn.set_result, None)
                await turn

        with pytest.raises(Sluggish):
            loop.run_until_complete(spin())
        loop.steps = -(10**6)
