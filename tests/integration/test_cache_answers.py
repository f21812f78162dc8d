"""The whole program with a cache, without one, and with one that is down: the same answers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from tests.system.client import Answer, Client, define, manual, transform, unique
from understudy.bootstrap.application import Application
from understudy.bootstrap.caching import OFF
from understudy.config import read_config
from understudy.domain.stores import Retained
from understudy.persistence.cache import RedisCache
from understudy.runtime.clock import SystemClock

NOBODY = "redis://127.0.0.1:9/0"


@asynccontextmanager
async def serving(postgres_url: str, redis_url: str, cache_url: str = "") -> AsyncIterator[Client]:
    settings = {"POSTGRES_URL": postgres_url, "REDIS_URL": redis_url, "CACHE_URL": cache_url, "PORT": "0"}
    config = read_config({f"UNDERSTUDY_{name}": value for name, value in settings.items()})
    application = Application(config, is_alone=True)
    with capture_logs():
        await application.start()
        try:
            async with Client(application.gateway.url) as client:
                yield client
        finally:
            await application.stop()


class Talk:
    """Everything that a client is told, without what differs from one process to the next."""

    def __init__(self, api: Client) -> None:
        self.api = api
        self.said: list[Any] = []

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        answer = await self.api.call(
            method, path, body, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )
        fields = ("state", "version", "delivered", "type", "output", "input", "labels", "key", "waiting_on")
        told = {name: answer.body[name] for name in fields if name in answer.body}
        for waiting in told.get("waiting_on", ()):
            del waiting["since"]
        told["activities"] = [(found["id"], found["state"]) for found in answer.body.get("activities", ())]
        replayed, tag = answer.headers.get("Idempotency-Replayed"), answer.headers.get("ETag")
        self.said.append((method, answer.status, replayed, tag, told))
        return answer


async def converse(api: Client) -> list[Any]:
    """Every kind of call that the cache has to do with, each one also as a repeat and as a reused key."""
    talk = Talk(api)
    definition = define(manual("ask"), transform("end", "${activities.ask.output}"))
    place = f"/definitions/{definition['name']}"
    for content in (definition, definition, {**definition, "activities": [transform("other", 1)]}):
        await talk.call("PUT", place, content, Idempotency_Key="k")
    start = {"definition": definition["name"], "input": {"n": [1, 2.5, None]}, "labels": {"a": "b"}}
    key = unique()
    started = await talk.call("POST", "/processes", start, Idempotency_Key=key)
    path = f"/processes/{started.body['id']}"
    await api.waiting(started.body["id"])
    for body in (start, {**start, "input": 1}):
        await talk.call("POST", "/processes", body, Idempotency_Key=key)
    for _ in range(2):
        await talk.call("GET", path)
    resume = f"{path}/activities/ask/resume"
    await talk.call("POST", resume, {"output": 7}, If_Match="999")
    tag = (await talk.call("GET", path)).headers["ETag"]
    for _ in range(2):
        await talk.call("POST", resume, {"output": 7}, If_Match=tag, Idempotency_Key="answer")
        await api.ended(started.body["id"])
    for place in (path, f"{path}?wait=0", path):
        await talk.call("GET", place)
    await talk.call("POST", resume, {"output": 8})
    await talk.call("POST", f"{path}/cancel", {})
    event = {"type": "paid", "key": key, "data": 1}
    for body in (event, event, {**event, "data": 2}):
        await talk.call("POST", "/events", body, Idempotency_Key=key)
    talk.said.append([row["type"] for row in await api.history(started.body["id"])])
    assert len((await api.get(f"/processes?definition={definition['name']}"))["items"]) == 1
    return talk.said


async def test_the_answers_are_the_same_with_and_without_a_cache(postgres_url: str, redis_url: str) -> None:
    told: list[list[Any]] = []
    for cache_url in ("", OFF, NOBODY):
        async with serving(postgres_url, redis_url, cache_url) as api:
            told.append(await converse(api))
    assert told[1] == told[0]
    assert told[2] == told[0]
    assert len(told[0]) == 21


@pytest.fixture
async def cache(redis_url: str) -> AsyncIterator[RedisCache]:
    opened = RedisCache(redis_url, SystemClock())
    yield opened
    await opened.stop()


async def test_only_a_look_is_answered_with_a_copy(postgres_url: str, redis_url: str, cache: RedisCache) -> None:
    async with serving(postgres_url, redis_url) as api:
        started = await api.start(define(manual("ask")))
        process = await api.waiting(started["id"])
        path = f"/processes/{started['id']}"
        copy = await cache.find(UUID(started["id"]))
        assert copy is not None
        assert copy.version == process["version"]
        # A copy that nobody could have made shows who reads it.
        await cache.keep(replace(copy, key="copied", version=copy.version + 1))
        assert (await api.get(path))["key"] == "copied"
        assert (await api.get(f"{path}?wait=0"))["key"] is None
        assert (await api.call("HEAD", path)).headers["ETag"] == f'"{copy.version + 1}"'
        stale = await api.post(f"{path}/activities/ask/resume", {}, **{"If-Match": f'"{copy.version + 1}"'})
        assert stale.status == 412
        assert (await api.post(f"{path}/activities/ask/resume", {})).body["key"] is None
        await api.ended(started["id"])


async def test_a_repeat_that_only_the_cache_knows_is_done(postgres_url: str, redis_url: str, cache: RedisCache) -> None:
    """PostgreSQL may have gone back to a state before the call: what the cache says must not swallow the repeat."""
    async with serving(postgres_url, redis_url) as api:
        definition = define(transform("a", 1))
        start = {"definition": definition, "input": None}
        event = {"type": "paid", "data": 1}
        places = [("PUT", f"/definitions/{definition['name']}", definition), ("POST", "/processes", start)]
        places.append(("POST", "/events", event))
        for method, place, body in places:
            await api.call(method, place, body, headers={"Idempotency-Key": "first"})
            known = await cache.recall(f"{method} {place}", "first")
            assert known is not None
            resource = known.resource if method == "POST" else "7"
            await cache.remember(f"{method} {place}", "second", Retained(known.request_hash, 299, resource))
            repeated = await api.call(method, place, body, headers={"Idempotency-Key": "second"})
            assert repeated.status in {200, 201, 202}
            assert "Idempotency-Replayed" not in repeated.headers
