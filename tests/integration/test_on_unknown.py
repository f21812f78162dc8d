"""What a process does about a request whose outcome is unknown: real client, real actor, targets that misbehave."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from msgspec.structs import replace

from tests.contract.actor_rig import ActorRig, Witness, actor_rig
from tests.factories import plan_of
from tests.integration.egress_rig import NEVER_IN_A_TEST, Conversation, Target, egress, target
from understudy.domain.ports import Change
from understudy.domain.states import ActivityState, ProcessState
from understudy.executors.http_call import HttpCall
from understudy.executors.registry import Registry

Script = Callable[[Conversation], Awaitable[None]]

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
RETRY = {"max_attempts": 2, "initial": "1s", "jitter": "none", "on": ["http.too_large"]}


async def reset(conversation: Conversation) -> None:
    """The target has done what it was asked, and the connection breaks."""


async def drip(conversation: Conversation) -> None:
    """An answer byte by byte: at every moment it seems to be under way."""
    for byte in ANSWER * 100:
        await conversation.write(bytes([byte]))
        with suppress(TimeoutError):
            async with asyncio.timeout(0.02):
                await conversation.reader.read(1)
                return


async def bomb(conversation: Conversation) -> None:
    """A small answer that would fill the memory."""
    packer = zlib.compressobj(9, wbits=31)
    packed = b"".join([*(packer.compress(bytes(1 << 20)) for _ in range(64)), packer.flush()])
    await conversation.answer(packed, content_encoding="gzip")


def at_first(misbehave: Script) -> Script:
    """A target that misbehaves at its first request and answers the others."""

    async def script(conversation: Conversation) -> None:
        await conversation.request()
        if len(conversation.target.seen) == 1:
            await misbehave(conversation)
        else:
            await conversation.write(ANSWER)
            await conversation.until_closed()

    return script


class Listening(Witness):
    """Says when something was committed."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = asyncio.Event()

    def committed(self, change: Change) -> None:
        super().committed(change)
        self.heard.set()


class Scene:
    def __init__(self, rig: ActorRig, origin: Target, listening: Listening) -> None:
        self.rig = rig
        self.origin = origin
        self._listening = listening

    async def until(self, fact: str) -> None:
        """Wait for a fact to be committed; the clock stands still meanwhile."""
        async with asyncio.timeout(NEVER_IN_A_TEST):
            while fact not in self.rig.facts:
                self._listening.heard.clear()
                await self._listening.heard.wait()

    @property
    def keys(self) -> list[str]:
        return [seen.headers["idempotency-key"] for seen in self.origin.seen]


@asynccontextmanager
async def scene(misbehave: Script, **fields: Any) -> AsyncIterator[Scene]:
    """A process that has just called such a target."""
    async with target(at_first(misbehave)) as origin, egress() as client, actor_rig() as rig:
        listening = Listening()
        registry = Registry({"http": HttpCall(client, {})})
        rig.workplace = replace(rig.workplace, executors=registry, listener=listening)
        request = {"method": "POST", "url": f"{origin.url}/x", "body": {"n": 1}}
        rig.put()
        await rig.launch(plan_of({"id": "call", "type": "http", "request": request, "retry": RETRY, **fields}))
        yield Scene(rig, origin, listening)


@pytest.mark.parametrize(("misbehave", "error"), [(reset, "http.unknown"), (drip, "http.timeout")])
async def test_a_retry_repeats_under_the_same_key(misbehave: Script, error: str) -> None:
    async with scene(misbehave, timeout="300ms") as made:
        await made.until("activity.retry_scheduled")
        execution = made.rig.state.executions["call"]
        assert execution.failure is not None
        assert (execution.failure.type, execution.is_unknown) == (error, True)
        await made.rig.clock.advance(0.5)
        assert len(made.keys) == 1
        await made.rig.clock.advance(0.5)
        await made.until("process.completed")
        assert len(made.keys) == 2
        assert len(set(made.keys)) == 1


async def test_a_retry_after_the_timeout_leaves_the_lost_call_its_time() -> None:
    async with scene(reset, on_unknown="retry_after_timeout", timeout="20s") as made:
        await made.until("activity.retry_scheduled")
        await made.rig.clock.advance(19)
        assert len(made.keys) == 1
        await made.rig.clock.advance(1)
        await made.until("process.completed")
        assert len(made.keys) == 2
        assert len(set(made.keys)) == 1


async def test_a_call_that_took_its_whole_time_is_tried_again_after_the_usual_pause() -> None:
    async with scene(drip, on_unknown="retry_after_timeout", timeout="300ms") as made:
        await made.until("activity.retry_scheduled")
        await made.rig.clock.advance(1)
        await made.until("process.completed")
        assert len(made.keys) == 2
        assert len(set(made.keys)) == 1


@pytest.mark.parametrize(("misbehave", "error"), [(reset, "http.unknown"), (drip, "http.timeout")])
async def test_a_parked_call_is_never_repeated(misbehave: Script, error: str) -> None:
    async with scene(misbehave, on_unknown="park", timeout="300ms") as made:
        await made.until("activity.waiting")
        execution = made.rig.state.executions["call"]
        assert execution.failure is not None
        assert execution.waiting is not None
        assert (execution.state, execution.waiting.kind) == (ActivityState.WAITING, "operator")
        assert execution.failure.type == error
        await made.rig.clock.advance(86_400)
        assert (len(made.keys), made.rig.facts[-1]) == (1, "process.waiting")


@pytest.mark.parametrize("on_unknown", ["retry", "retry_after_timeout", "park"])
async def test_a_bomb_is_an_answer_and_leaves_nothing_open(on_unknown: str) -> None:
    async with scene(bomb, on_unknown=on_unknown, timeout="40s") as made:
        await made.until("activity.retry_scheduled")
        execution = made.rig.state.executions["call"]
        assert execution.failure is not None
        assert (execution.failure.type, execution.is_unknown) == ("http.too_large", False)
        await made.rig.clock.advance(1)
        await made.until("process.completed")
        assert made.rig.state.state is ProcessState.COMPLETED
        assert len(set(made.keys)) == 2
