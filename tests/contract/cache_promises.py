"""What every cache promises: the fake one, and the one on Redis."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Protocol
from uuid import UUID

from msgspec import UNSET
from msgspec.structs import replace

from tests.factories import T0, failure
from understudy.domain.cache import Cache, TargetCount, Targets
from understudy.domain.identity import execution_id
from understudy.domain.state import AwaitedEvent, DefinitionRef, Execution, Waiting
from understudy.domain.states import ActivityState, ProcessState
from understudy.domain.stores import Retained
from understudy.domain.views import ProcessView

A, B = UUID(int=1), UUID(int=2)


class Whole(Cache, Targets, Protocol):
    """Everything that a cache can do."""


Promise = Callable[[Whole], Awaitable[None]]
PROMISES: list[Promise] = []


def promise(test: Promise) -> Promise:
    PROMISES.append(test)
    return test


def view(version: int = 1, process_id: UUID = A, **fields: Any) -> ProcessView:
    defaults: dict[str, Any] = {
        "process_id": process_id,
        "definition": DefinitionRef("order", 3, b"\0\xff" * 16),
        "key": "k",
        "labels": {"team": "blue"},
        "state": ProcessState.WAITING,
        "paused": False,
        "version": version,
        "input": {"z": 1, "a": [1.0, None, True, "é", 2**63 - 1, -(2**63), 1e300]},
        "output": None,
        "failure": None,
        "created_at": T0,
        "started_at": T0 + timedelta(microseconds=123_457),
        "updated_at": T0,
        "ended_at": None,
        "quarantined": None,
        "owner_session": B,
        "owner_epoch": 2,
    }
    return ProcessView(**defaults | fields)


def execution(activity: str, **fields: Any) -> Execution:
    place = execution_id(A, activity, 1)
    return Execution(place, activity, "http", 1, 2, ActivityState.RUNNING, T0, T0, **fields)


@promise
async def a_copy_is_found_as_it_was_taken(cache: Whole) -> None:
    waiting = Waiting("event", T0, T0 + timedelta(days=1), AwaitedEvent("paid", "k"))
    taken = view(
        failure=replace(failure(), details={"status": 503, "body": [None, 1.5]}, attempt=2),
        executions=(execution("a"), execution("b", output=None), execution("c", output={"x": []}, waiting=waiting)),
    )
    await cache.keep(taken)
    found = await cache.find(A)
    assert found == taken
    assert found is not None
    assert [found.executions[0].output, found.executions[1].output] == [UNSET, None]
    assert list(found.input) == ["z", "a"]
    assert [type(number) for number in found.input["a"]] == [float, type(None), bool, str, int, int, float]
    assert await cache.find(B) is None


@promise
async def a_copy_gives_way_to_a_newer_one_only(cache: Whole) -> None:
    await cache.keep(view(9))
    await cache.keep(view(10))
    await cache.keep(view(9))
    await cache.keep(view(10, key="another copy of the same version"))
    assert await cache.find(A) == view(10)


@promise
async def a_version_that_was_told_hides_older_copies(cache: Whole) -> None:
    await cache.keep(view(9))
    await cache.keep(view(1, B))
    assert await cache.outdate({A: 10, B: 2})
    assert [await cache.find(A), await cache.find(B)] == [None, None]
    await cache.keep(view(9))
    assert await cache.find(A) is None
    await cache.keep(view(10))
    assert await cache.find(A) == view(10)
    await cache.keep(view(3, B))
    assert await cache.find(B) == view(3, B)


@promise
async def a_copy_outlives_the_news_of_its_own_version_or_an_older_one(cache: Whole) -> None:
    await cache.keep(view(10))
    assert await cache.outdate({A: 10})
    assert await cache.outdate({A: 9})
    assert await cache.outdate({})
    assert await cache.find(A) == view(10)


@promise
async def many_versions_are_told_at_once(cache: Whole) -> None:
    many = {UUID(int=1_000 + number): 2 for number in range(1_234)}
    assert await cache.outdate(many)
    for process_id in list(many)[::400]:
        await cache.keep(view(1, process_id))
        assert await cache.find(process_id) is None


@promise
async def an_answer_is_recalled_under_its_scope_and_key_only(cache: Whole) -> None:
    first, second = Retained(b"\0" * 32, 201, "7"), Retained(b"\1" * 32, 202, "8")
    await cache.remember("PUT /definitions/a:b", "c", first)
    assert await cache.recall("PUT /definitions/a:b", "c") == first
    assert await cache.recall("PUT /definitions/a", "b:c") is None
    assert await cache.recall("PUT /definitions/a:b", "d") is None
    await cache.remember("PUT /definitions/a:b", "c", second)
    assert await cache.recall("PUT /definitions/a:b", "c") == second


@promise
async def counts_of_targets_add_up(cache: Whole) -> None:
    later = T0 + timedelta(seconds=1)
    await cache.add([TargetCount("a:8080", 3, 2, 1, "http.timeout", T0), TargetCount("b", 1, 0, 0, None, later)])
    await cache.add([])
    await cache.add([TargetCount("a:8080", 1, 1, 0, None, T0)])
    assert await cache.latest() == [
        TargetCount("b", 1, 0, 0, None, later),
        TargetCount("a:8080", 4, 3, 1, "http.timeout", T0),
    ]
