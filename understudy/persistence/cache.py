"""The cache in Redis, which is never truth: what fails there is a miss.

After a failure a cache rests for longer than a copy of a process lives. So what it could not overwrite is gone when it
looks again, and a Redis that hangs costs no more than one wait now and then.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from importlib.resources import files
from typing import Any, TypeVar
from uuid import UUID

import msgspec
import structlog
from msgspec import Struct
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from understudy.domain.cache import VIEW_TTL_SECONDS, TargetCount
from understudy.domain.errors import Unreachable
from understudy.domain.ports import Clock
from understudy.domain.stores import Retained
from understudy.domain.views import ProcessView

log = structlog.get_logger("cache")

PATIENCE_SECONDS = 0.25
CONNECTIONS_MAX = 32
VIEW_SIZE_MAX = 262_144
REST_SECONDS = 5.0
ANSWER_TTL_SECONDS = 24 * 3600
TARGET_TTL_SECONDS = 7 * 24 * 3600
TARGETS_MAX = 500
"""Hosts that are counted: a definition may make them up from its input."""
BATCH_SIZE_MAX = 500
"""Keys that one script may touch: Redis does nothing else meanwhile."""
WARNING_PAUSE_SECONDS = 60.0

T = TypeVar("T")


class _Answer(Struct, frozen=True, array_like=True):
    """A retained call with the place it belongs to, so that no other call can pass for it."""

    scope: str
    key: str
    call: Retained


_encode = msgspec.msgpack.Encoder().encode
_decode_view = msgspec.msgpack.Decoder(ProcessView).decode
_decode_answer = msgspec.msgpack.Decoder(_Answer).decode


class RedisCache:
    """Implements the ports `Cache` and `Targets`; `stop` drops the connections."""

    def __init__(
        self, url: str, clock: Clock, *, rest_seconds: float = REST_SECONDS, prefix: str = "understudy:"
    ) -> None:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS_MAX,
            timeout=PATIENCE_SECONDS,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=PATIENCE_SECONDS,
            socket_connect_timeout=PATIENCE_SECONDS,
        )
        self._redis: Any = Redis.from_pool(pool)
        script = files("understudy.persistence").joinpath("cache_keep.lua").read_text(encoding="utf-8")
        self._keep: Any = self._redis.register_script(script)
        self._clock = clock
        self._rest_seconds = rest_seconds
        self._prefix = prefix
        self._rests_until = self._silent_until = float("-inf")
        self.failures = 0

    async def stop(self) -> None:
        """Drop the connections; safe twice."""
        await self._redis.aclose()

    # Copies of processes

    async def find(self, process_id: UUID) -> ProcessView | None:
        """The copy of a process, at most `VIEW_TTL_SECONDS` old."""
        held = await self._try(lambda: self._redis.get(self._view(process_id)))
        content = (held or b"").partition(b"\n")[2]
        view = _decoded(_decode_view, content) if content else None
        return view if view is not None and view.process_id == process_id else None

    async def keep(self, view: ProcessView) -> None:
        """Take a copy, unless a newer one is there or a newer version was told; of a large one only the version."""
        try:
            content = _encode(view)
        except (ValueError, TypeError, OverflowError):
            content = b""
        if len(content) > VIEW_SIZE_MAX:
            content = b""
        await self._set([(view.process_id, view.version, content)])

    async def outdate(self, versions: Mapping[UUID, int]) -> bool:
        """Forget copies that are older than these versions; false when that may not have happened."""
        entries = [(process_id, version, b"") for process_id, version in versions.items()]
        parts = [entries[begin : begin + BATCH_SIZE_MAX] for begin in range(0, len(entries), BATCH_SIZE_MAX)]
        return all([await self._set(part) for part in parts])

    async def _set(self, entries: Sequence[tuple[UUID, int, bytes]]) -> bool:
        keys = [self._view(process_id) for process_id, _, _ in entries]
        arguments: list[Any] = [round(VIEW_TTL_SECONDS * 1000)]
        for _, version, content in entries:
            arguments += (version, content)
        return await self._try(lambda: self._keep(keys=keys, args=arguments)) is not None

    # Copies of answered calls

    async def recall(self, scope: str, key: str) -> Retained | None:
        """The call that was answered under this key."""
        held = await self._try(lambda: self._redis.get(self._answer(scope, key)))
        answer = _decoded(_decode_answer, held) if held else None
        return answer.call if answer is not None and (answer.scope, answer.key) == (scope, key) else None

    async def remember(self, scope: str, key: str, call: Retained) -> None:
        """Take a copy of an answered call for a day."""
        content = _encode(_Answer(scope, key, call))
        await self._try(lambda: self._redis.set(self._answer(scope, key), content, ex=ANSWER_TTL_SECONDS))

    # Counters of targets

    async def add(self, counts: Sequence[TargetCount]) -> None:
        """Add to the counters."""
        pipeline = self._redis.pipeline(transaction=False)
        for count in counts:
            key = self._target(count.host)
            for name in ("attempts", "retries", "failures"):
                pipeline.hincrby(key, name, getattr(count, name))
            latest = {"last_at": count.last_at.isoformat(), "last_error": count.last_error}
            pipeline.hset(key, mapping={name: text for name, text in latest.items() if text is not None})
            pipeline.expire(key, TARGET_TTL_SECONDS)
            pipeline.zadd(f"{self._prefix}targets", {count.host: count.last_at.timestamp()})
        pipeline.zremrangebyrank(f"{self._prefix}targets", 0, -TARGETS_MAX - 1)
        await self._try(pipeline.execute)

    async def latest(self) -> list[TargetCount]:
        """The counters of the hosts that were called last, latest first.

        Raises:
            Unreachable: Redis does not answer.
        """
        hosts = await self._try(lambda: self._redis.zrevrange(f"{self._prefix}targets", 0, TARGETS_MAX - 1))
        names = [host.decode() for host in hosts or ()]
        pipeline = self._redis.pipeline(transaction=False)
        for name in names:
            pipeline.hgetall(self._target(name))
        found = None if hosts is None else await self._try(pipeline.execute)
        if found is None:
            raise Unreachable("Redis does not answer")
        return [_count(name, fields) for name, fields in zip(names, found, strict=True) if fields]

    async def _try(self, ask: Callable[[], Awaitable[T]]) -> T | None:
        now = self._clock.monotonic()
        if now < self._rests_until:
            return None
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await ask()
        except (RedisError, OSError, TimeoutError) as error:
            self.failures += 1
            self._rests_until = self._clock.monotonic() + self._rest_seconds
            if now >= self._silent_until:
                self._silent_until = now + WARNING_PAUSE_SECONDS
                log.warning("cache_failed", reason=f"{type(error).__name__}: {error}", failures=self.failures)
            return None

    def _view(self, process_id: UUID) -> str:
        return f"{self._prefix}view:{process_id}"

    def _answer(self, scope: str, key: str) -> str:
        return f"{self._prefix}idem:{scope}:{key}"

    def _target(self, host: str) -> str:
        return f"{self._prefix}retries:{host}"


def _decoded(decode: Callable[[bytes], T], content: bytes) -> T | None:
    """What a copy holds; one that another release wrote may not be readable."""
    try:
        return decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _count(host: str, fields: Mapping[bytes, bytes]) -> TargetCount:
    error = fields.get(b"last_error")
    return TargetCount(
        host,
        int(fields.get(b"attempts", 0)),
        int(fields.get(b"retries", 0)),
        int(fields.get(b"failures", 0)),
        None if error is None else error.decode(),
        datetime.fromisoformat(fields[b"last_at"].decode()),
    )
