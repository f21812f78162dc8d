"""A model of what HTTP activities call: it knows calls by their key, logs them all, and breaks in every way."""

import asyncio
from typing import Any
from uuid import UUID

from msgspec import Struct, json

from tests.simulation.faults import Weather
from tests.simulation.loop import LIFE, SimLoop
from understudy.domain.failure import Category
from understudy.executors.exchange import Answer, EgressFailure, OutgoingRequest

LOOPS = 3
"""How often a looping activity is told to come again."""


WORK_SECONDS = (0.002, 0.05, 0.3, 1.2)
"""How long the target may take for what it is asked."""


class Seen(Struct):
    """One request that arrived."""

    at: float
    key: str
    process_id: UUID
    activity: str
    life: str
    verdict: str
    """processed, repeated, refused (a definite failure), or swallowed (no answer will come)."""
    token: str | None = None
    is_answered: bool = False


class TargetOdds(Struct, frozen=True):
    """The share of requests that meet each misfortune."""

    refuse: float = 0.0
    reset_after: float = 0.0
    hang: float = 0.0
    unreachable: float = 0.0


class Target:
    """The server: at most one effect for each key, and the same answer again for the same key."""

    def __init__(self, loop: SimLoop, weather: Weather, odds: TargetOdds) -> None:
        self.loop = loop
        self.weather = weather
        self.odds = odds
        self.log: list[Seen] = []
        self._answers: dict[str, tuple[int, Any]] = {}
        self._effects: dict[tuple[UUID, str], int] = {}

    def take(self, request: OutgoingRequest, life: str, answer: "asyncio.Future[Answer]") -> None:
        """Handle a request and answer it, or not."""
        body = json.decode(request.body or b"{}")
        process_id, activity = UUID(body["process"]), str(body["activity"])
        seen = Seen(self.loop.time(), request.idempotency_key, process_id, activity, life, "processed")
        self.log.append(seen)
        draw = 1.0 if self.weather.is_calm else self.weather.random.random()
        known = self._answers.get(seen.key)
        if known is not None:
            seen.verdict = "repeated"
        elif activity.startswith("refused"):
            known = self._answers[seen.key] = (409, {"refused": seen.key})
            seen.verdict = "refused"
        elif draw < self.odds.refuse:
            known = self._answers[seen.key] = (503, {"busy": seen.key})
            seen.verdict = "refused"
        elif self.odds.refuse <= draw < self.odds.refuse + self.odds.hang:
            seen.verdict = "swallowed"
            return
        else:
            known = self._answers[seen.key] = (200, self._perform(seen))
        status, content = known
        seen.token = content.get("token")
        if draw > 1.0 - self.odds.reset_after and not self.weather.is_calm:
            self._reset(answer)
            return
        seen.is_answered = True
        self.loop.later(
            self.weather.random.choice(WORK_SECONDS), _reply, answer, Answer(status, {}, content, 0.01, None)
        )

    def _perform(self, seen: Seen) -> dict[str, Any]:
        place = (seen.process_id, seen.activity)
        self._effects[place] = count = self._effects.get(place, 0) + 1
        return {"token": f"{seen.key}#{count}", "again": count < LOOPS}

    def _reset(self, answer: "asyncio.Future[Answer]") -> None:
        if not answer.done():
            answer.set_exception(EgressFailure("http.unknown", "The connection was lost.", is_unknown=True))


def _reply(answer: "asyncio.Future[Answer]", content: Answer) -> None:
    if not answer.done():
        answer.set_result(content)


class TargetClient:
    """Sends requests for one node."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._life = LIFE.get()
        self.forgets_the_unknown = False

    async def send(self, request: OutgoingRequest) -> Answer:
        """Send a request; raises EgressFailure."""
        target, loop = self._target, self._target.loop
        answer = loop.create_future()
        if not target.weather.is_calm and target.weather.random.random() < target.odds.unreachable:
            raise EgressFailure("http.connect", "No connection.", is_unknown=False)
        name = "" if self._life is None else self._life.name
        loop.later(target.weather.latency(), target.take, request, name, answer)
        alarm = loop.later(request.timeout_seconds, self._time_out, answer)
        try:
            found: Answer = await answer
        except EgressFailure as failure:
            failure.is_unknown &= not self.forgets_the_unknown
            raise
        finally:
            alarm.cancel()
        return found

    @staticmethod
    def _time_out(answer: "asyncio.Future[Answer]") -> None:
        if not answer.done():
            answer.set_exception(
                EgressFailure("http.timeout", "No answer in time.", category=Category.TIMEOUT, is_unknown=True)
            )
