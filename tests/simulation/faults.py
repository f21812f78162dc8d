"""What can go wrong on the way to a server and back, drawn from the seed while the nemesis is at work."""

import random
from enum import Enum

from msgspec import Struct


class Fate(Enum):
    """What becomes of one request."""

    FINE = "fine"
    LOST = "lost"
    """It never arrives; the caller's connection breaks."""
    UNANSWERED = "unanswered"
    """It is done, and the answer is lost."""
    SLOW = "slow"
    """It arrives late, perhaps after the caller gave up."""
    REFUSED = "refused"
    """The server will not do it now."""


class Odds(Struct, frozen=True):
    """The share of requests that meet each fate."""

    lost: float = 0.0
    unanswered: float = 0.0
    slow: float = 0.0
    refused: float = 0.0


class Weather:
    """Draws fates; `is_calm` from the moment when the nemesis has left."""

    def __init__(self, seed: object, odds: Odds) -> None:
        self.random = random.Random(str(seed))
        self.odds = odds
        self.is_calm = False
        self.counts: dict[str, int] = {}

    def fate(self) -> Fate:
        if self.is_calm:
            return Fate.FINE
        draw = self.random.random()
        for fate in (Fate.LOST, Fate.UNANSWERED, Fate.SLOW, Fate.REFUSED):
            share: float = getattr(self.odds, fate.value)
            if draw < share:
                self.counts[fate.value] = self.counts.get(fate.value, 0) + 1
                return fate
            draw -= share
        return Fate.FINE

    def latency(self) -> float:
        return self.random.uniform(0.0005, 0.004)

    def delay(self) -> float:
        return self.random.choice([0.1, 1.0, 4.0, 8.0]) * self.random.uniform(0.5, 1.5)
