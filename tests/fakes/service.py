"""An in-memory service with the signatures of the real one: it keeps what it is told and runs nothing by itself."""

import asyncio
import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID, uuid5

import msgspec

from understudy.domain.errors import Conflict, Invalid, KeyReused, NotFound, Stale
from understudy.domain.fault import Fault
from understudy.domain.identity import execution_id
from understudy.domain.state import DefinitionRef, Execution
from understudy.domain.states import ActivityState, ProcessState
from understudy.domain.views import ProcessView, PublishedDefinition, Query, RecordedRow
from understudy.runtime.calls import (
    Accepted,
    AnswerRequest,
    Call,
    EventAccepted,
    EventRequest,
    Published,
    Started,
    StartRequest,
)
from understudy.runtime.plans import digest_of
from understudy.runtime.service import Service

Answer = TypeVar("Answer")

EPOCH = datetime(2026, 11, 25, 8, 30, tzinfo=UTC)
SPACE = UUID(int=7)


class FakeService(Service):
    """Tests look at `calls`, set `failure` to let every call fail, and change processes with `put`."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.queries: list[Query] = []
        self.failure: Exception | None = None
        self.processes: dict[UUID, ProcessView] = {}
        self.rows: dict[UUID, list[RecordedRow]] = {}
        self.published: dict[str, list[PublishedDefinition]] = {}
        self.waits: asyncio.Queue[UUID] = asyncio.Queue()
        self._answers: dict[tuple[str, str], tuple[Any, Any]] = {}
        self._changed = asyncio.Condition()
        self._ids = (uuid5(SPACE, str(number)) for number in itertools.count(1))

    async def put(self, process: ProcessView) -> None:
        self.processes[process.process_id] = process
        async with self._changed:
            self._changed.notify_all()

    def new_process(self, **fields: Any) -> ProcessView:
        number = len(self.processes)
        created = EPOCH + timedelta(seconds=number)
        defaults: dict[str, Any] = {
            "process_id": next(self._ids),
            "definition": DefinitionRef("order", 1, b"\1" * 32),
            "key": None,
            "labels": {},
            "state": ProcessState.CREATED,
            "paused": False,
            "version": 0,
            "input": None,
            "output": None,
            "failure": None,
            "created_at": created,
            "started_at": None,
            "updated_at": created,
            "ended_at": None,
            "quarantined": None,
            "owner_session": None,
            "owner_epoch": 0,
        }
        process = ProcessView(**defaults | fields)
        self.processes[process.process_id] = process
        return process

    def _enter(self, call: Call | None = None) -> None:
        if self.failure is not None:
            raise self.failure
        if call is not None:
            self.calls.append(call)

    def _replay(self, call: Call, body: Any, make: Callable[[], Answer]) -> tuple[Answer, bool]:
        if call.key is None:
            return make(), False
        place = (call.scope, call.key)
        is_replay = place in self._answers
        first_body, first_answer = self._answers.setdefault(place, (body, None if is_replay else make()))
        if first_body != body:
            raise KeyReused("this Idempotency-Key was used with another body")
        return first_answer, is_replay

    def validate(self, raw: Any) -> list[Fault]:
        self._enter()
        if not isinstance(raw, dict):
            return [Fault("", "This must be an object.")]
        known = {"name", "activities"}
        return [Fault(f"/{name}", f"There is no field '{name}'.") for name in raw if name not in known]

    async def publish(self, name: str, raw: Any, call: Call) -> Published:
        self._enter(call)
        faults = self.validate(raw)
        if faults:
            raise Invalid("the definition has faults", faults)

        def make() -> Published:
            versions = self.published.setdefault(name, [])
            digest = digest_of(raw)
            for version in versions:
                if version.digest == digest:
                    return Published(version, 200)
            version = PublishedDefinition(name, len(versions) + 1, digest, msgspec.json.encode(raw), EPOCH)
            versions.append(version)
            return Published(version, 201)

        published, is_replay = self._replay(call, raw, make)
        return msgspec.structs.replace(published, is_replay=is_replay)

    async def definition(self, name: str, version: int | None = None) -> PublishedDefinition:
        self._enter()
        versions = self.published.get(name, [])
        found = [one for one in versions if version in (None, one.version)]
        if not found:
            raise NotFound(f"no definition {name}")
        return found[-1]

    async def definitions(self, limit: int, after: str | None) -> list[PublishedDefinition]:
        self._enter()
        return [self.published[name][-1] for name in sorted(self.published) if name > (after or "")][:limit]

    async def versions(self, name: str, limit: int, before: int | None) -> list[PublishedDefinition]:
        await self.definition(name)
        return [one for one in reversed(self.published[name]) if before is None or one.version < before][:limit]

    async def start(self, request: StartRequest, call: Call) -> Started:
        self._enter(call)
        if request.definition == "absent":
            raise NotFound("no definition absent")
        process, is_replay = self._replay(
            call,
            request,
            lambda: self.new_process(key=request.key, labels=request.labels, input=request.input),
        )
        return Started(self.processes[process.process_id], 201, is_replay)

    async def process(self, process_id: UUID) -> ProcessView:
        self._enter()
        if process_id not in self.processes:
            raise NotFound(f"no process {process_id}")
        return self.processes[process_id]

    async def glance(self, process_id: UUID) -> ProcessView:
        return await self.process(process_id)

    async def wait(self, process_id: UUID, seconds: float) -> ProcessView:
        process = await self.process(process_id)
        self.waits.put_nowait(process_id)
        try:
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(lambda: self.processes[process_id].state.is_terminal)
        except TimeoutError:
            return process
        return self.processes[process_id]

    async def search(self, query: Query) -> list[ProcessView]:
        self._enter()
        self.queries.append(query)
        found = sorted(self.processes.values(), key=lambda one: (one.created_at, one.process_id), reverse=True)
        before = query.before
        return [one for one in found if before is None or (one.created_at, one.process_id) < before][: query.limit]

    async def history(self, process_id: UUID, after: int, limit: int) -> list[RecordedRow]:
        await self.process(process_id)
        return [row for row in self.rows.get(process_id, []) if row.seq > after][:limit]

    async def activities(self, process_id: UUID) -> list[Execution]:
        return list((await self.process(process_id)).executions)

    async def answer(self, process_id: UUID, activity: str, request: AnswerRequest, call: Call) -> Accepted:
        self._enter(call)
        process = await self.process(process_id)
        execution = next((one for one in process.executions if one.activity == activity), None)
        if execution is None:
            raise NotFound(f"the definition has no activity {activity!r}")
        if execution.state is not ActivityState.WAITING:
            raise Conflict(f"activity {activity} does not wait for an answer")
        return self._command(process, request, call)

    async def cancel(self, process_id: UUID, reason: str | None, call: Call) -> Accepted:
        self._enter(call)
        process = await self.process(process_id)
        if process.state.is_terminal:
            raise Conflict(f"the process is {process.state}")
        return self._command(process, reason, call)

    def _command(self, process: ProcessView, body: Any, call: Call) -> Accepted:
        if call.if_match not in (None, process.version):
            raise Stale(f"the process is at version {process.version}, the call is based on {call.if_match}")
        accepted, is_replay = self._replay(call, body, lambda: Accepted(process))
        return msgspec.structs.replace(accepted, is_replay=is_replay)

    async def announce(self, request: EventRequest, call: Call, process_id: UUID | None = None) -> EventAccepted:
        self._enter(call)
        if process_id is not None:
            await self.process(process_id)
        accepted, is_replay = self._replay(call, request, lambda: EventAccepted(next(self._ids), 1))
        return msgspec.structs.replace(accepted, is_replay=is_replay)


def execution(process_id: UUID, activity: str, **fields: Any) -> Execution:
    """A first visit that runs, unless told otherwise."""
    defaults: dict[str, Any] = {
        "execution_id": execution_id(process_id, activity, 1),
        "activity": activity,
        "type": "manual",
        "visit": 1,
        "attempt": 1,
        "state": ActivityState.RUNNING,
        "started_at": EPOCH,
        "attempt_started_at": EPOCH,
    }
    return Execution(**defaults | fields)
