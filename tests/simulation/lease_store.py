"""A model of Redis under the real leases: keys that expire on virtual time, scripts by their meaning."""

from collections.abc import Callable
from hashlib import sha1
from importlib.resources import files
from typing import Any

import redis.exceptions

from tests.simulation.faults import Fate, Weather
from tests.simulation.loop import LIFE, Life, SimLoop

SOCKET_TIMEOUT_SECONDS = 1.0


def _digest(name: str) -> str:
    text = files("understudy.persistence").joinpath(name).read_text(encoding="utf-8")
    return sha1(text.encode(), usedforsecurity=False).hexdigest()


class LeaseStore:
    """The server: it may forget everything, and be out of reach."""

    def __init__(self, loop: SimLoop, weather: Weather) -> None:
        self.loop = loop
        self.weather = weather
        self.is_up = True
        self.cut: dict[Life, None] = {}
        self.renewals: dict[str, list[float]] = {}
        """When each session's lease was prolonged."""
        self._values: dict[str, tuple[str, float]] = {}

    @property
    def keys(self) -> dict[str, str]:
        """What has not expired."""
        return {name: value for name, (value, until) in self._values.items() if until > self.loop.time()}

    def forget_everything(self) -> None:
        self._values.clear()

    def get(self, name: str) -> str | None:
        value, until = self._values.get(name, ("", 0.0))
        return value if until > self.loop.time() else None

    def set(self, name: str, value: str, milliseconds: int) -> None:
        self._values[name] = (value, self.loop.time() + milliseconds / 1000)
        if ":sess:" in name:
            self.renewals.setdefault(value, []).append(self.loop.time())

    def delete(self, name: str) -> int:
        was_there = self.get(name) is not None
        self._values.pop(name, None)
        return int(was_there)

    # The scripts

    def renew(self, keys: list[str], token: str, milliseconds: str, session: str) -> list[Any]:
        if self.get(keys[0]) is None:
            return [token, 0]
        self.set(keys[0], session, int(milliseconds))
        return [token, 1]

    def claim(self, keys: list[str], token: str, session: str, milliseconds: str, prefix: str) -> list[Any]:
        if self.get(keys[0]) is None:
            return [token, 0]
        answer: list[Any] = [token, 1]
        for record in keys[1:]:
            holder = self.get(record)
            if holder not in (None, session) and self.get(f"{prefix}{holder}") is not None:
                answer.append(holder)
            else:
                self.set(record, session, int(milliseconds))
                answer.append("")
        return answer

    def release(self, keys: list[str], token: str, session: str) -> list[Any]:
        return [token, sum(self.delete(key) for key in keys if self.get(key) == session)]

    def repair(self, keys: list[str], token: str, seen: str, owner: str, milliseconds: str) -> list[Any]:
        if self.get(keys[0]) != seen:
            return [token, 0]
        self.set(keys[0], owner, int(milliseconds))
        return [token, 1]

    def holders(self, keys: list[str], token: str, prefix: str) -> list[Any]:
        found = [self.get(key) for key in keys]
        alive = [holder if holder and self.get(f"{prefix}{holder}") is not None else "" for holder in found]
        return [token, *alive]


SCRIPTS: dict[str, Callable[..., list[Any]]] = {
    _digest("lease_renew.lua"): LeaseStore.renew,
    _digest("lease_claim.lua"): LeaseStore.claim,
    _digest("lease_release.lua"): LeaseStore.release,
    _digest("lease_repair.lua"): LeaseStore.repair,
    _digest("lease_find.lua"): LeaseStore.holders,
}


class LeaseClient:
    """What is used of redis-py, in the hands of one node."""

    def __init__(self, server: LeaseStore) -> None:
        self._server = server
        self._life = LIFE.get()
        self.connection_pool = self

    async def disconnect(self) -> None:
        """There is nothing to close."""

    async def aclose(self) -> None:
        """There is nothing to close."""

    async def set(self, name: str, value: str, *, px: int) -> None:
        await self._ask(lambda: self._server.set(name, value, px))

    async def delete(self, *names: str) -> int:
        return int(await self._ask(lambda: sum(map(self._server.delete, names))))

    async def mget(self, names: list[str]) -> list[str | None]:
        found: list[str | None] = await self._ask(lambda: [self._server.get(name) for name in names])
        return found

    async def exists(self, *names: str) -> int:
        return int(await self._ask(lambda: sum(self._server.get(name) is not None for name in names)))

    async def evalsha(self, digest: str, numkeys: int, *parts: str) -> list[Any]:
        script = SCRIPTS[digest]
        answer: list[Any] = await self._ask(lambda: script(self._server, list(parts[:numkeys]), *parts[numkeys:]))
        return answer

    async def _ask(self, perform: Callable[[], Any]) -> Any:
        server, loop = self._server, self._server.loop
        fate = server.weather.fate()
        seconds = server.weather.delay() if fate is Fate.SLOW else server.weather.latency()
        answer = loop.create_future()
        loop.later(seconds, self._arrive, perform, fate, answer)
        alarm = loop.later(SOCKET_TIMEOUT_SECONDS, self._time_out, answer)
        try:
            return await answer
        finally:
            alarm.cancel()

    def _time_out(self, answer: Any) -> None:
        if not answer.done():
            answer.set_exception(redis.exceptions.TimeoutError("Timeout reading from socket"))

    def _arrive(self, perform: Callable[[], Any], fate: Fate, answer: Any) -> None:
        server = self._server
        if not server.is_up:
            self._fail(answer)
        elif self._life not in server.cut and fate is not Fate.LOST:
            result = None if fate is Fate.REFUSED else perform()
            if fate is Fate.REFUSED:
                self._fail(answer)
            elif fate is not Fate.UNANSWERED:
                server.loop.later(server.weather.latency(), self._reply, answer, result)

    def _fail(self, answer: Any) -> None:
        if not answer.done():
            answer.set_exception(redis.exceptions.ConnectionError("Connection refused"))

    def _reply(self, answer: Any, result: Any) -> None:
        if not answer.done():
            answer.set_result(result)
