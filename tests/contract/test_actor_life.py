"""What actors promise: order, fairness, bounds, context, beginning and end."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import structlog.testing

from tests.contract.actor_stage import NODE, Gate, Recorder, Starter, on_both_loops, raise_value_error
from understudy.actors.inbox import InboxFull
from understudy.actors.loop import MESSAGES_PER_TURN, ActorDeadError, AsyncActor, AsyncActorRef, Stage


@on_both_loops
async def test_messages_are_handled_one_at_a_time_in_their_order(stage: Stage) -> None:
    running, most, order = 0, 0, list[int]()

    def numbered(number: int) -> Callable[[AsyncActor], Awaitable[None]]:
        async def handle(actor: AsyncActor) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            for _ in range(number % 3):
                await asyncio.get_running_loop().run_in_executor(None, int)
            order.append(number)
            running -= 1

        return handle

    ref = Recorder.launch(stage)
    for number in range(0, 20, 2):
        ref.tell(numbered(number))
        _ = ref.ask(numbered(number + 1))
    await ref.ask("end")
    assert order == list(range(20))
    assert most == 1


@on_both_loops
async def test_a_busy_actor_gives_way_to_others(stage: Stage) -> None:
    notes: list[Any] = []
    busy, other = Recorder.launch(stage, notes), Recorder.launch(stage, notes)
    for number in range(3 * MESSAGES_PER_TURN):
        busy.tell(number)
    other.tell("other")
    await busy.ask("end")
    assert notes.index("other") == MESSAGES_PER_TURN


@on_both_loops
async def test_an_inbox_is_bounded_for_messages_and_open_for_a_stop(stage: Stage) -> None:
    class Small(Recorder):
        inbox_size_max = 2

    gate = Gate()
    ref = Small.launch(stage)
    ref.tell(gate)
    await gate.entered.wait()
    ref.tell(1)
    ref.tell(2)
    assert ref.depth == 2
    with pytest.raises(InboxFull, match="2 messages wait"):
        ref.tell(3)
    with pytest.raises(InboxFull):
        ref.ask(3)
    stopping = ref.stop()
    gate.opened.set()
    assert await stopping is True


@on_both_loops
async def test_an_actor_runs_in_the_context_of_its_launch_and_not_of_who_writes(stage: Stage) -> None:
    async def where(_: AsyncActor) -> str:
        return NODE.get()

    async def move(_: AsyncActor) -> None:
        NODE.set("moved")

    async def spawned(actor: AsyncActor) -> str:
        return await actor.spawn(where(actor), name="spawned")

    def launch_at(node: str) -> AsyncActorRef:
        NODE.set(node)
        return Recorder.launch(stage)

    first = contextvars.copy_context().run(launch_at, "a")
    second = contextvars.copy_context().run(launch_at, "b")
    NODE.set("c")
    assert [await ref.ask(where) for ref in (first, second)] == ["a", "b"]
    assert await first.ask(spawned) == "a"
    await first.ask(move)
    assert [await ref.ask(where) for ref in (first, second)] == ["moved", "b"]
    assert NODE.get() == "c"


@on_both_loops
async def test_on_start_runs_once_before_the_first_message_and_without_one(stage: Stage) -> None:
    told, untold = list[Any](), list[Any]()
    ref, silent = Starter.launch(stage, told), Starter.launch(stage, untold)
    ref.tell(1)
    await ref.ask(2)
    assert told == ["started", 1, 2]
    assert untold == ["started"]
    assert silent.is_alive()


@on_both_loops
async def test_an_error_in_on_start_ends_the_actor(stage: Stage) -> None:
    class Stillborn(Recorder):
        async def on_start(self) -> None:
            await raise_value_error(self)

    notes: list[Any] = []
    ref = Stillborn.launch(stage, notes)
    with pytest.raises(ActorDeadError):
        await ref.ask("too late")
    assert [str(note) for note in notes] == ["broken"]


@on_both_loops
async def test_an_error_in_a_last_hook_is_logged_and_the_actor_ends(stage: Stage) -> None:
    class Clumsy(AsyncActor):
        async def on_receive(self, message: Any) -> Any:
            await raise_value_error(self)

        async def on_stop(self) -> None:
            await raise_value_error(self)

        async def on_failure(self, error: BaseException) -> None:
            raise RuntimeError("again") from error

    stopping, failing = Clumsy.launch(stage), Clumsy.launch(stage)
    with structlog.testing.capture_logs() as logs:
        assert await stopping.stop() is True
        failing.tell("fail")
        assert await failing.stop() is True
    assert [line["event"] for line in logs] == ["actor_stop_failed", "actor_failed", "actor_failure_hook_failed"]
    assert len(stage) == 0


@on_both_loops
async def test_a_spawned_task_leaves_the_inbox_responsive_and_ends_with_its_actor(stage: Stage) -> None:
    gate = Gate()

    async def work(actor: AsyncActor) -> "asyncio.Task[str]":
        return actor.spawn(gate(actor), name="work")

    ref = Recorder.launch(stage)
    task = await ref.ask(work)
    await gate.entered.wait()
    assert await ref.ask("responsive") == "responsive"
    await ref.stop()
    with pytest.raises(asyncio.CancelledError):
        await task


@on_both_loops
async def test_an_error_in_a_spawned_task_ends_the_actor_after_the_mail_before_it(stage: Stage) -> None:
    async def work(actor: AsyncActor) -> None:
        actor.actor_ref.tell("result")
        await raise_value_error(actor)

    async def begin(actor: Any) -> Any:
        actor.spawn(work(actor), name="work")
        return actor.ended

    notes: list[Any] = []
    ref = Recorder.launch(stage, notes)
    await (await ref.ask(begin)).wait()
    assert [str(note) for note in notes[1:]] == ["result", "broken"]
    assert not ref.is_alive()


@on_both_loops
async def test_a_dead_actor_spawns_nothing(stage: Stage) -> None:
    async def myself(actor: AsyncActor) -> AsyncActor:
        return actor

    ref = Recorder.launch(stage)
    actor = await ref.ask(myself)
    await ref.stop()
    with pytest.raises(ActorDeadError, match="spawns nothing"):
        actor.spawn(raise_value_error(actor), name="too late")


@on_both_loops
async def test_the_stage_stops_actors_first_newest_first_and_then_its_own_tasks(stage: Stage) -> None:
    notes: list[Any] = []

    class Named(AsyncActor):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        async def on_receive(self, message: Any) -> Any:
            return message

        async def on_stop(self) -> None:
            notes.append(self.name)

    async def serve() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            notes.append("service")

    stage.spawn(serve(), name="service")
    for name in ("old", "new"):
        await Named.launch(stage, name).ask("alive")
    assert await stage.stop_all(5) == []
    assert notes == ["new", "old", "service"]
    assert await stage.stop_all(5) == []


@on_both_loops
async def test_the_stage_waits_for_an_actor_that_is_already_stopping(stage: Stage) -> None:
    gate, notes = Gate(), list[str]()

    class Slow(Recorder):
        async def on_stop(self) -> None:
            await gate(self)
            notes.append("tidied up")

    stopping = Slow.launch(stage).stop()
    await gate.entered.wait()
    all_stopped = asyncio.create_task(stage.stop_all(5))
    gate.opened.set()
    assert await all_stopped == []
    assert await stopping is True
    assert notes == ["tidied up"]


@on_both_loops
async def test_the_stage_cancels_who_does_not_stop_in_time(stage: Stage) -> None:
    gate = Gate()
    ref = Recorder.launch(stage)
    reply = ref.ask(gate)
    await gate.entered.wait()
    assert await stage.stop_all(0) == [ref.actor_urn]
    with pytest.raises(ActorDeadError):
        await reply


def test_an_error_in_a_task_of_the_stage_is_reported() -> None:
    async def perform() -> list[str]:
        reports: list[str] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context["message"]))
        stage = Stage()
        task = stage.spawn(raise_value_error(None), name="sweeper")  # type: ignore[arg-type] # needs no actor
        await asyncio.wait({task})
        await stage.stop_all(5)
        return reports

    assert asyncio.run(perform()) == ["sweeper failed"]


@on_both_loops
async def test_a_failed_actor_is_dead_before_its_hook_runs(stage: Stage) -> None:
    class Witness(Recorder):
        async def on_failure(self, error: BaseException) -> None:
            self.notes.append(self.actor_ref.is_alive())

    notes: list[Any] = []
    ref = Witness.launch(stage, notes)
    ref.tell(raise_value_error)
    await ref.stop()
    assert notes == [raise_value_error, False]


@on_both_loops
async def test_what_a_spawned_task_sets_in_its_context_stays_there(stage: Stage) -> None:
    async def move() -> str:
        before = NODE.get()
        NODE.set("moved")
        return before

    async def myself(actor: AsyncActor) -> AsyncActor:
        return actor

    async def where(_: AsyncActor) -> str:
        return NODE.get()

    NODE.set("launch")
    ref = Recorder.launch(stage)
    NODE.set("elsewhere")
    actor = await ref.ask(myself)
    assert await actor.spawn(move(), name="move") == "launch"
    assert await ref.ask(where) == "launch"


@on_both_loops
async def test_the_end_of_a_task_is_noticed_in_the_context_of_its_owner(stage: Stage) -> None:
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    owner = contextvars.copy_context()
    owner.run(NODE.set, "owner")
    NODE.set("caller")
    stage.own(
        asyncio.Event().wait(), name="task", context=owner, on_done=lambda _: ended.set_result(NODE.get())
    ).cancel()
    assert await ended == "owner"


@on_both_loops
async def test_an_error_in_a_task_of_an_actor_that_stops_is_logged(stage: Stage) -> None:
    async def fail_when_cancelled() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("broken")

    async def begin(actor: AsyncActor) -> None:
        actor.spawn(raise_value_error(actor), name="fails behind the stop")
        actor.spawn(fail_when_cancelled(), name="fails after the end")
        actor.stop()
        await asyncio.get_running_loop().run_in_executor(None, int)

    with structlog.testing.capture_logs() as logs:
        await Recorder.launch(stage).ask(begin)
        await stage.stop_all(5)
    assert [line["event"] for line in logs] == ["actor_task_failed"] * 2
