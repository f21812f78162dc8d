"""Calls that were answered before under the same idempotency key."""

from understudy.domain.cache import Answers
from understudy.domain.errors import KeyReused
from understudy.domain.stores import Keys, Retained
from understudy.runtime.calls import Call


class Replays:
    """What is known of earlier calls: a copy in the cache is a hint, PostgreSQL is the judge."""

    def __init__(self, keys: Keys, answers: Answers) -> None:
        self._keys = keys
        self._answers = answers

    async def hint(self, call: Call, request_hash: bytes) -> Retained | None:
        """A copy of the same call with the same body; whoever follows it sees to it that its resource exists."""
        if call.key is None:
            return None
        held = await self._answers.recall(call.scope, call.key)
        return held if held is not None and held.request_hash == request_hash else None

    async def recall(self, call: Call, request_hash: bytes) -> Retained | None:
        """The call that was answered under this key.

        Raises:
            KeyReused: it had another body.
        """
        if call.key is None:
            return None
        retained = await self._keys.recall(call.scope, call.key)
        if retained is not None and retained.request_hash != request_hash:
            raise KeyReused("this Idempotency-Key was used with another body")
        return retained

    async def remember(self, call: Call, retained: Retained) -> None:
        """Keep an answered call that made neither a process nor an inbox row."""
        if call.key is not None:
            await self.note(call, await self._keys.remember(call.scope, call.key, retained))

    async def note(self, call: Call, retained: Retained) -> None:
        """Take a copy of an answered call that PostgreSQL knows."""
        if call.key is not None:
            await self._answers.remember(call.scope, call.key, retained)
