"""Who holds what, in Redis: availability, never safety (protocol.md, section 5).

The lease is one key of each session; holder records name the session of each process. A call is tried once and answers
within a second or two: the caller decides what a silence means. Every script can be run twice without harm.
"""

import hashlib
from collections.abc import Sequence
from importlib.resources import files
from itertools import count
from typing import Any, Protocol, cast
from uuid import UUID

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from understudy.domain.errors import Unreachable

SOCKET_TIMEOUT_SECONDS = 1.0
RECORD_TTL_SECONDS = 24 * 3600
"""Bounds what is left behind; a record that vanishes under a live owner is repaired from PostgreSQL."""
CLAIM_SIZE_MAX = 500
"""Records that one script may touch: Redis does nothing else meanwhile."""


class Leases:
    """Implements the port of the same name; `stop` drops the connections."""

    def __init__(self, url: str, *, ttl_seconds: float = 10.0, prefix: str = "understudy:") -> None:
        self._redis = cast(
            "_Client",
            Redis.from_url(
                url,
                retry=Retry(NoBackoff(), 0),
                socket_timeout=SOCKET_TIMEOUT_SECONDS,
                socket_connect_timeout=SOCKET_TIMEOUT_SECONDS,
                decode_responses=True,
            ),
        )
        self._ttl_ms = round(ttl_seconds * 1000)
        self._prefix = prefix
        self._tokens = count()
        self._renew, self._claim = _Script("lease_renew.lua"), _Script("lease_claim.lua")
        self._release, self._repair = _Script("lease_release.lua"), _Script("lease_repair.lua")
        self._find = _Script("lease_find.lua")

    async def stop(self) -> None:
        """Drop the connections; safe twice."""
        await self._redis.aclose()

    async def open(self, session_id: UUID) -> None:
        """Create the session's lease.

        Raises:
            Unreachable: as in every method, Redis does not answer or cannot serve.
        """
        try:
            await self._redis.set(self._session(session_id), str(session_id), px=self._ttl_ms)
        except (RedisError, OSError) as error:
            raise _unreachable(error) from error

    async def renew(self, session_id: UUID) -> bool:
        """Prolong the lease; false when Redis forgot it."""
        reply = await self._run(self._renew, [self._session(session_id)], self._ttl_ms, session_id)
        return bool(reply[0])

    async def claim(self, session_id: UUID, process_ids: Sequence[UUID]) -> list[UUID | None] | None:
        """For each process None when granted, else the live holder; None at all when this session's lease is gone."""
        holders: list[UUID | None] = []
        for begin in range(0, len(process_ids), CLAIM_SIZE_MAX):
            part = process_ids[begin : begin + CLAIM_SIZE_MAX]
            keys = [self._session(session_id), *map(self._record, part)]
            alive, *verdicts = await self._run(
                self._claim, keys, session_id, RECORD_TTL_SECONDS * 1000, f"{self._prefix}sess:"
            )
            if not alive:
                return None
            if len(verdicts) != len(part):
                raise Unreachable(f"Redis answered for {len(verdicts)} of {len(part)} processes")
            holders += (UUID(verdict) if verdict else None for verdict in verdicts)
        return holders

    async def holders(self, process_ids: Sequence[UUID]) -> list[UUID | None]:
        """For each process the session that holds it, if its lease lives."""
        found: list[UUID | None] = []
        for begin in range(0, len(process_ids), CLAIM_SIZE_MAX):
            keys = [self._record(process_id) for process_id in process_ids[begin : begin + CLAIM_SIZE_MAX]]
            holders = await self._run(self._find, keys, f"{self._prefix}sess:")
            if len(holders) != len(keys):
                raise Unreachable(f"Redis answered for {len(holders)} of {len(keys)} processes")
            found += (UUID(holder) if holder else None for holder in holders)
        return found

    async def repair(self, process_id: UUID, seen: UUID, owner: UUID) -> None:
        """Correct a holder record that PostgreSQL contradicts, if it still says what was seen."""
        await self._run(self._repair, [self._record(process_id)], seen, owner, RECORD_TTL_SECONDS * 1000)

    async def release(self, session_id: UUID, process_ids: Sequence[UUID]) -> None:
        """Delete the holder records that still name this session."""
        for begin in range(0, len(process_ids), CLAIM_SIZE_MAX):
            keys = [self._record(process_id) for process_id in process_ids[begin : begin + CLAIM_SIZE_MAX]]
            await self._run(self._release, keys, session_id)

    async def close(self, session_id: UUID) -> None:
        """Delete a session's lease: one's own at a clean stop, a dead one's at takeover."""
        try:
            await self._redis.delete(self._session(session_id))
        except (RedisError, OSError) as error:
            raise _unreachable(error) from error

    def _session(self, session_id: UUID) -> str:
        return f"{self._prefix}sess:{session_id}"

    def _record(self, process_id: UUID) -> str:
        return f"{self._prefix}own:{process_id}"

    async def _run(self, script: "_Script", keys: list[str], *arguments: object) -> list[Any]:
        # The token comes back with the answer: a reply that belongs to another call must not pass for this one's.
        token = str(next(self._tokens))
        parts = [*keys, token, *map(str, arguments)]
        try:
            try:
                reply = await self._redis.evalsha(script.digest, len(keys), *parts)
            except NoScriptError:
                reply = await self._redis.eval(script.text, len(keys), *parts)
            if not isinstance(reply, list) or reply[0] != token:
                await self._redis.connection_pool.disconnect()
                raise Unreachable("Redis answered something else than it was asked")
        except (RedisError, OSError) as error:
            raise _unreachable(error) from error
        return reply[1:]


class _Script:
    def __init__(self, file: str) -> None:
        self.text = files("understudy.persistence").joinpath(file).read_text(encoding="utf-8")
        self.digest = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


class _Pool(Protocol):
    async def disconnect(self) -> None: ...


class _Client(Protocol):
    """What is used of redis-py, whose types cannot tell its synchronous from its asynchronous answers."""

    connection_pool: _Pool

    async def set(self, name: str, value: str, *, px: int) -> Any: ...

    async def delete(self, *names: str) -> Any: ...

    async def evalsha(self, sha: str, numkeys: int, *parts: str) -> Any: ...

    async def eval(self, script: str, numkeys: int, *parts: str) -> Any: ...

    async def aclose(self) -> None: ...


def _unreachable(error: Exception) -> Unreachable:
    return Unreachable(f"Redis does not answer: {type(error).__name__}: {error}")
