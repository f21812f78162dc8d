"""One test for each trap of pykka on an event loop (numbered 1 to 8)."""

import asyncio
import gc
import importlib.metadata
import threading
import tracemalloc
import weakref
from typing import Any

import pykka
import pytest
import structlog.testing
from pykka.messages import _ActorStop

from tests.contract.actor_stage import Gate, Recorder, Starter, drain_of, on_both_loops, raise_value_error
from understudy.actors.crew import HandlerCancelledError
from understudy.actors.loop import ActorDeadError, AsyncActor, AsyncFuture, Stage


async def test_pykka_is_the_release_this_was_written_for() -> None:
    assert importlib.metadata.version("pykka").startswith("4.5.")
    assert pykka.Actor.__abstractmethods__ == {"_create_actor_inbox", "_create_future", "_start_actor_loop"}
    stock = {
        "_actor_loop",
        "_actor_loop_setup",
        "_actor_loop_running",
        "_actor_loop_teardown",
        "_handle_failure",
        "_stop",
    }
    assert stock <= vars(pykka.Actor).keys() & vars(AsyncActor).keys()
    assert _ActorStop() == ()


@on_both_loops
async def test_an_actor_is_pykkas(stage: Stage) -> None:
    ref = Recorder.launch(stage)
    assert issubclass(Recorder, pykka.Actor)
    assert isinstance(ref, pykka.ActorRef)
    assert isinstance(ref.ask(1), pykka.Future)
    assert ref.actor_class is Recorder
    assert str(ref) == f"Recorder ({ref.actor_urn})"


@on_both_loops
async def test_trap_1_ask_and_get_never_block(stage: Stage) -> None:
    reply = Recorder.launch(stage).ask("hello")
    with pytest.raises(asyncio.InvalidStateError):
        reply.get()
    with pytest.raises(TypeError, match=r"asyncio\.timeout"):
        reply.get(timeout=1)
    assert await reply == "hello"
    assert reply.get() == "hello"


@on_both_loops
async def test_trap_1_a_future_refuses_hooks(stage: Stage) -> None:
    with pytest.raises(TypeError, match="await the reply"):
        Recorder.launch(stage).ask(1).map(lambda value: value + 1)


@on_both_loops
async def test_trap_2_a_cancelled_drain_ends_its_actor_and_no_other(stage: Stage) -> None:
    gate, notes = Gate(), list[Any]()
    victim, other = Recorder.launch(stage, notes), Recorder.launch(stage)
    handling, waiting = victim.ask(gate), victim.ask("rest")
    stopping = victim.stop()
    await gate.entered.wait()
    drain_of(victim).cancel()
    for reply in (handling, waiting):
        with pytest.raises(ActorDeadError):
            await reply
    assert await stopping is True
    assert not victim.is_alive()
    assert notes == [gate]
    assert await other.ask("alive") == "alive"
    assert stage.refs == [other]


@on_both_loops
async def test_trap_2_a_drain_cancelled_before_its_first_step_leaves_no_asker_waiting(stage: Stage) -> None:
    ref = Recorder.launch(stage)
    reply = ref.ask("never handled")
    drain_of(ref).cancel()
    with pytest.raises(ActorDeadError):
        await reply
    assert len(stage) == 0


@on_both_loops
async def test_trap_2_a_cancellation_from_inside_a_handler_is_an_ordinary_error(stage: Stage) -> None:
    async def await_what_is_cancelled(_: AsyncActor) -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    notes: list[Any] = []
    ref = Recorder.launch(stage, notes)
    with pytest.raises(HandlerCancelledError):
        await ref.ask(await_what_is_cancelled)
    assert await ref.ask("alive") == "alive"
    ref.tell(await_what_is_cancelled)
    assert await ref.stop() is True
    assert isinstance(notes[-1], HandlerCancelledError)


@on_both_loops
async def test_trap_3_stop_is_awaited_and_tells_whether_it_stopped_anything(stage: Stage) -> None:
    notes: list[Any] = []
    ref = Recorder.launch(stage, notes)
    ref.tell("before")
    first, second = ref.stop(), ref.stop()
    after = ref.ask("after")
    assert ref.is_alive()
    assert (await first, await second) == (True, True)
    with pytest.raises(ActorDeadError):
        await after
    assert notes == ["before", "stopped"]
    assert not ref.is_alive()
    assert await ref.stop() is False


@on_both_loops
async def test_trap_3_an_actor_that_awaits_its_own_stop_does_not_deadlock(stage: Stage) -> None:
    async def stop_myself(actor: Any) -> str:
        assert await actor.actor_ref.stop() is True
        return "last words"

    notes: list[Any] = []
    ref = Recorder.launch(stage, notes)
    words, ended = ref.ask(stop_myself), ref.stop()
    assert await words == "last words"
    assert await ended is True
    assert notes == [stop_myself, "stopped"]


@on_both_loops
async def test_trap_3_stop_waits_for_the_message_that_is_being_handled(stage: Stage) -> None:
    gate, notes = Gate(), list[Any]()
    ref = Recorder.launch(stage, notes)
    reply = ref.ask(gate)
    await gate.entered.wait()
    stopping = ref.stop()
    gate.opened.set()
    assert await reply == "through"
    assert await stopping is True
    assert notes == [gate, "stopped"]


@on_both_loops
async def test_trap_4_the_stage_keeps_an_actor_alive_and_a_ref_does_not(stage: Stage) -> None:
    async def myself(actor: AsyncActor) -> "weakref.ref[AsyncActor]":
        return weakref.ref(actor)

    ref = Recorder.launch(stage)
    actor = await ref.ask(myself)
    gc.collect()
    assert await ref.ask("still here") == "still here"
    await ref.stop()
    await stage.stop_all(5)
    gc.collect()
    assert actor() is None
    with pytest.raises(ActorDeadError):
        ref.tell("gone")
    with pytest.raises(ActorDeadError):
        await ref.ask("gone")


@on_both_loops
async def test_trap_5_an_error_in_an_ask_goes_to_the_asker_and_the_actor_lives_on(stage: Stage) -> None:
    ref = Recorder.launch(stage)
    with pytest.raises(ValueError, match="broken"):
        await ref.ask(raise_value_error)
    assert await ref.ask("alive") == "alive"


@on_both_loops
async def test_trap_5_an_error_in_a_tell_ends_the_actor_and_answers_who_waits(stage: Stage) -> None:
    notes: list[Any] = []
    ref = Recorder.launch(stage, notes)
    with structlog.testing.capture_logs() as logs:
        ref.tell(raise_value_error)
        ref.tell("dropped")
        waiting = ref.ask("answered")
        with pytest.raises(ActorDeadError):
            await waiting
    assert [str(note) for note in notes[1:]] == ["broken"]
    assert not ref.is_alive()
    assert len(stage) == 0
    assert [(line["event"], line["actor"]) for line in logs] == [("actor_failed", str(ref))]


@on_both_loops
async def test_trap_5_an_asker_that_was_cancelled_harms_nobody(stage: Stage) -> None:
    gate = Gate()
    ref = Recorder.launch(stage)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await ref.ask(gate)
    gate.opened.set()
    assert await ref.ask("alive") == "alive"


async def test_trap_5_a_future_takes_its_first_answer() -> None:
    reply: AsyncFuture[int] = AsyncFuture()
    reply.set(1)
    reply.set(2)
    reply.set_exception((ValueError, ValueError("late"), None))
    assert await reply == 1


@on_both_loops
async def test_trap_6_pykkas_registry_is_never_touched(stage: Stage) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("pykka's registry scans a list of every actor of the operating system process")

    with pytest.MonkeyPatch.context() as patch:
        for name in ("register", "unregister", "stop_all", "get_by_urn"):
            patch.setattr(pykka.ActorRegistry, name, refuse)
        stopping, failing = Starter.launch(stage), Starter.launch(stage)
        failing.tell(raise_value_error)
        assert await stopping.ask("alive") == "alive"
        assert await stopping.stop() is True
        assert await failing.stop() is False
    with pytest.raises(TypeError, match="launch"):
        Recorder.start()


@on_both_loops
async def test_trap_6_two_stages_know_nothing_of_each_other(stage: Stage) -> None:
    elsewhere = Stage("elsewhere")
    here, there = Recorder.launch(stage), Recorder.launch(elsewhere)
    assert here.actor_urn != there.actor_urn
    assert stage.find(here.actor_urn) is here
    assert stage.find(there.actor_urn) is None
    await elsewhere.stop_all(5)
    assert (here.is_alive(), there.is_alive()) == (True, False)
    assert (len(stage), len(elsewhere)) == (1, 0)


@on_both_loops
async def test_trap_7_an_idle_actor_has_no_task_no_thread_and_less_than_700_bytes(stage: Stage) -> None:
    class Idle(AsyncActor):
        async def on_receive(self, message: Any) -> Any:
            return message

    await Idle.launch(stage).ask("warm up")
    number, tasks, threads = 2000, len(asyncio.all_tasks()), threading.active_count()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for _ in range(number):
        await Idle.launch(stage).ask("first and last")
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (after - before) / number < 700
    assert (len(asyncio.all_tasks()), threading.active_count()) == (tasks, threads)


@on_both_loops
async def test_trap_8_messages_do_not_inspect_the_actor_and_proxies_are_refused(stage: Stage) -> None:
    class Private(Recorder):
        @property
        def secret(self) -> str:
            raise AssertionError("pykka's proxy reads every attribute")

    ref = Private.launch(stage)
    ref.tell("unseen")
    assert await ref.ask("unseen") == "unseen"
    with pytest.raises(TypeError, match="tell and ask"):
        ref.proxy()
