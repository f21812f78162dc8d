"""The service over stores in memory: what a repeated call is answered, and what is refused."""

from hashlib import sha256
from typing import Any
from uuid import UUID

import pytest
from msgspec import json
from msgspec.structs import replace

from tests.factories import T0, definition, manual, transform
from tests.fakes.events import FakeEvents
from tests.fakes.store import Store
from understudy.domain.errors import Invalid, KeyReused, TooLarge
from understudy.domain.state import DefinitionRef, Execution, Waiting
from understudy.domain.states import ActivityState, ProcessState
from understudy.domain.stores import Retained
from understudy.domain.views import NewProcess, ProcessView, PublishedDefinition, Submitted
from understudy.runtime.calls import AnswerRequest, Call, EventRequest, StartRequest
from understudy.runtime.completion import Completions
from understudy.runtime.plans import Plans
from understudy.runtime.service import VALUE_SIZE_MAX, Pokes, Service, Stores


class FakeProcesses:
    """Processes that nobody runs."""

    def __init__(self) -> None:
        self.started: dict[UUID, NewProcess] = {}

    async def start(self, process: NewProcess) -> Submitted:
        known = self.started.setdefault(process.process_id, process)
        is_same = known.request_hash == process.request_hash
        is_new = known is process
        return Submitted(is_replay=not is_new and is_same, conflicts=not is_same, first_status=known.first_status)

    async def find(self, process_id: UUID) -> ProcessView | None:
        known = self.started.get(process_id)
        return None if known is None else known.view(T0)


class FakeDefinitions:
    """Published definitions by name, the latest last."""

    def __init__(self) -> None:
        self.published: list[PublishedDefinition] = []

    async def publish(self, name: str, digest: bytes, content: bytes) -> tuple[PublishedDefinition, bool]:
        self.published.append(PublishedDefinition(name, len(self.published) + 1, digest, content, T0))
        return self.published[-1], True

    async def find(self, name: str, version: int | None = None) -> PublishedDefinition | None:
        fitting = [found for found in self.published if found.name == name and version in (None, found.version)]
        return fitting[-1] if fitting else None

    async def content(self, digest: bytes) -> bytes | None:
        return next((found.content for found in self.published if found.digest == digest), None)


class FakeKeys:
    """Idempotency keys; `forget` is what a crash between an effect and its key amounts to."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], Retained] = {}

    async def recall(self, scope: str, key: str) -> Retained | None:
        return self.kept.get((scope, key))

    async def remember(self, scope: str, key: str, call: Retained) -> Retained:
        return self.kept.setdefault((scope, key), call)

    def forget(self) -> None:
        self.kept.clear()


class Desk:
    """A service, and what it stands on."""

    def __init__(self) -> None:
        self.store = Store()
        self.processes, self.definitions, self.keys = FakeProcesses(), FakeDefinitions(), FakeKeys()
        stores: Any = Stores(self.processes, None, self.definitions, FakeEvents(self.store), self.keys)  # type: ignore[arg-type] # in part
        plans = Plans(self.definitions)  # type: ignore[arg-type] # in part
        completions = Completions(self.processes, self.store.clock)  # type: ignore[arg-type] # nobody waits
        self.service = Service(stores, plans, completions, self.store.clock, Pokes(_poke, _poke))

    async def publish(self, raw: dict[str, Any]) -> None:
        await self.service.publish(raw["name"], raw, Call("PUT", f"/definitions/{raw['name']}"))


async def _poke(process_ids: Any) -> None:
    """Nobody is there to be told."""


START = Call("POST", "/processes", "order-7")
EVENT = Call("POST", "/events", "paid-7")


@pytest.fixture
def desk() -> Desk:
    return Desk()


async def test_a_repeated_start_is_answered_although_a_newer_version_refuses_its_input(desk: Desk) -> None:
    await desk.publish(definition(transform("a")))
    request = StartRequest("test", {"n": 1})
    first = await desk.service.start(request, START)
    await desk.publish(definition(transform("a"), input={"type": "object", "required": ["sku"]}))
    again = await desk.service.start(request, START)
    assert (again.process.process_id, again.status, again.is_replay) == (first.process.process_id, 201, True)
    assert again.process.definition.version == 1
    with pytest.raises(KeyReused):
        await desk.service.start(StartRequest("test", {"n": 2}), START)
    with pytest.raises(Invalid, match="schema"):
        await desk.service.start(request, Call("POST", "/processes", "order-8"))
    assert len(desk.processes.started) == 1


async def test_an_event_whose_key_was_used_for_another_one_is_refused_even_before_its_key_is_kept(desk: Desk) -> None:
    await desk.service.announce(EventRequest("paid", data=1), EVENT)
    desk.keys.forget()
    with pytest.raises(KeyReused):
        await desk.service.announce(EventRequest("paid", data=2), EVENT)
    again = await desk.service.announce(EventRequest("paid", data=1), EVENT)
    assert len(desk.store.events) == 1
    assert again.event_id in desk.store.events


async def test_an_event_id_that_was_used_before_is_accepted_and_ignored(desk: Desk) -> None:
    first = await desk.service.announce(EventRequest("paid", id="7", data=1), EVENT)
    again = await desk.service.announce(EventRequest("paid", id="7", data=2), Call("POST", "/events", "paid-8"))
    assert first.event_id == again.event_id
    assert desk.store.events[first.event_id].data == 1


async def test_the_error_of_an_answer_is_limited_like_its_output(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    started = await desk.service.start(StartRequest(definition(manual("ask"))), Call("POST", "/processes"))
    ask = Execution(UUID(int=1), "ask", "manual", 1, 1, ActivityState.WAITING, T0, T0, waiting=Waiting("manual", T0))
    waiting = replace(started.process, state=ProcessState.WAITING, executions=(ask,))

    async def find(_: UUID) -> ProcessView:
        return waiting

    monkeypatch.setattr(desk.processes, "find", find)
    call = Call("POST", f"/processes/{waiting.process_id}/activities/ask/resume")
    for answer in (AnswerRequest(output="x" * VALUE_SIZE_MAX), AnswerRequest("fail", error="x" * VALUE_SIZE_MAX)):
        with pytest.raises(TooLarge):
            await desk.service.answer(waiting.process_id, "ask", answer, call)


async def test_an_inline_definition_with_faults_starts_nothing(desk: Desk) -> None:
    faulty = definition(manual("a"), manual("a"))
    for _ in range(2):
        with pytest.raises(Invalid, match="faults"):
            await desk.service.start(StartRequest(faulty), Call("POST", "/processes"))
    sound = definition(manual("a"))
    started = await desk.service.start(StartRequest(sound), Call("POST", "/processes"))
    digest = sha256(json.encode(sound, order="deterministic")).digest()
    assert started.process.definition == DefinitionRef("test", None, digest)
