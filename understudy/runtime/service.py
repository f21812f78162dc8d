"""What the product does for its callers, whatever they speak: publish, start, read, answer, cancel, announce.

The gateway only inserts and reads. Every fact is committed before the call is answered; the poke that follows is a
wake-up that may be lost.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any
from uuid import UUID

from msgspec import Struct, json

from understudy.domain.cache import NO_CACHE, Cache
from understudy.domain.errors import Conflict, Invalid, KeyReused, NotFound, Stale, TooLarge, Unreachable
from understudy.domain.failure import Category, Failure
from understudy.domain.fault import Fault
from understudy.domain.identity import TENANT, answer_id, event_id_for, execution_id, message_id_for, process_id_for
from understudy.domain.messages import Answered, CancelRequested
from understudy.domain.ports import Clock, Events, Poke
from understudy.domain.state import DefinitionRef, Execution
from understudy.domain.states import ActivityState
from understudy.domain.stores import Definitions, Inbox, Keys, Processes, Retained
from understudy.domain.validation import faults_of, parse_definition
from understudy.domain.views import (
    NewEvent,
    NewProcess,
    ProcessView,
    PublishedDefinition,
    Query,
    RecordedRow,
    Submitted,
)
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
from understudy.runtime.completion import Completions
from understudy.runtime.hot import HotProcesses
from understudy.runtime.plans import Plans, digest_of
from understudy.runtime.replays import Replays

VALUE_SIZE_MAX = 1_048_576


class Pokes(Struct, frozen=True):
    """How to say that there is work: for a process that nobody can hold yet, and for one that may live somewhere."""

    new: Poke
    known: Poke


class Stores(Struct, frozen=True):
    """The stores a gateway needs, and what it remembers of them."""

    processes: Processes
    inbox: Inbox
    definitions: Definitions
    events: Events
    keys: Keys
    cache: Cache = NO_CACHE


def _hash(value: Any) -> bytes:
    return sha256(json.encode(value, order="deterministic")).digest()


def _keyed_hash(call: Call, value: Any) -> bytes:
    """A hash whose halves are the key's and the body's, for rows that exist once whoever calls."""
    return sha256((call.key or "").encode()).digest()[:16] + _hash(value)[:16]


def _limit(value: Any, pointer: str) -> None:
    size = len(json.encode(value))
    if size > VALUE_SIZE_MAX:
        raise TooLarge(f"{pointer} has {size} bytes, over the limit of {VALUE_SIZE_MAX}")


class Service:
    """The calls of product.md section 4, without HTTP."""

    def __init__(self, stores: Stores, plans: Plans, completions: Completions, clock: Clock, pokes: Pokes) -> None:
        self._stores = stores
        self._processes = HotProcesses(stores.processes, stores.cache, clock)
        self._replays = Replays(stores.keys, stores.cache)
        self._plans = plans
        self._completions = completions
        self._clock = clock
        self._pokes = pokes

    # Definitions

    def validate(self, raw: Any) -> list[Fault]:
        """Every fault of a definition."""
        return faults_of(raw)

    async def publish(self, name: str, raw: Any, call: Call) -> Published:
        """Publish a definition under its name.

        Raises:
            Invalid: the definition has faults.
            KeyReused: the idempotency key was used for other content.
        """
        request_hash, digest = _hash(raw), digest_of(raw)
        replayed = await self._replays.hint(call, request_hash) or await self._replays.recall(call, request_hash)
        if replayed is not None:
            version = await self._stores.definitions.find(name, int(replayed.resource))
            if version is not None and version.digest == digest:
                return Published(version, replayed.first_status, is_replay=True)
        faults = faults_of(raw)
        if isinstance(raw, dict) and isinstance(raw.get("name"), str) and raw["name"] != name:
            faults = [*faults, Fault("/name", f"the path says {name!r}")]
        if faults:
            raise Invalid("the definition has faults", faults)
        definition, is_new = await self._stores.definitions.publish(name, digest, json.encode(raw))
        self._plans.keep(definition.digest, parse_definition(raw))
        status = 201 if is_new else 200
        await self._replays.remember(call, Retained(request_hash, status, str(definition.version)))
        return Published(definition, status)

    async def definition(self, name: str, version: int | None = None) -> PublishedDefinition:
        """A version of a definition, or its latest.

        Raises:
            NotFound: there is none.
        """
        found = await self._stores.definitions.find(name, version)
        if found is None:
            raise NotFound(f"no definition {name}" + ("" if version is None else f"@{version}"))
        return found

    async def definitions(self, limit: int, after: str | None) -> list[PublishedDefinition]:
        """The latest versions, by name."""
        return await self._stores.definitions.latest(limit, after)

    async def versions(self, name: str, limit: int, before: int | None) -> list[PublishedDefinition]:
        """The versions of a definition, latest first.

        Raises:
            NotFound: there is no such definition.
        """
        await self.definition(name)
        return await self._stores.definitions.versions(name, limit, before)

    # Processes

    async def start(self, request: StartRequest, call: Call) -> Started:
        """Start a process: when this returns it is durable.

        Raises:
            NotFound: the definition does not exist.
            Invalid: the definition or the input has faults.
            KeyReused: the idempotency key was used for another body.
            TooLarge: the input is over its limit.
        """
        _limit(request.input, "/input")
        ref, content = await self._resolve(request.definition)
        process_id = process_id_for(TENANT, call.scope, call.key) if call.key else self._clock.new_id(ordered=True)
        plan = await self._plans.load(ref.digest) if content is None else self._plans.known(ref.digest)
        if plan is not None and plan.input_schema is not None:
            faults = plan.input_schema.faults(request.input, "/input")
            # A repeat is answered as before, even if a version that was published since refuses its input.
            if faults and (call.key is None or await self._processes.find(process_id) is None):
                raise Invalid("the input does not match the definition's schema", faults)
        request_hash = _hash(request)
        replayed = await self._replays.hint(call, request_hash)
        if replayed is not None and (known := await self._processes.find(process_id)) is not None:
            return Started(known, replayed.first_status, is_replay=True)
        process = NewProcess(process_id, ref, content, request.key, request.labels, request.input, request_hash)
        submitted = await self._processes.start(process)
        if submitted.conflicts:
            raise KeyReused("this Idempotency-Key was used with another body")
        if not submitted.is_replay:
            await self._pokes.new([process_id])
        status = submitted.first_status or process.first_status
        await self._replays.note(call, Retained(request_hash, status, str(process_id)))
        try:
            return Started(await self.process(process_id), status, submitted.is_replay)
        except Unreachable:
            # It is durable, and a caller who is not told its id might start another one.
            return Started(process.view(self._clock.now()), status, submitted.is_replay)

    async def _resolve(self, definition: str | dict[str, Any]) -> tuple[DefinitionRef, bytes | None]:
        if isinstance(definition, str):
            name, _, version = definition.partition("@")
            if version and not (version.isascii() and version.isdigit() and len(version) < 10):
                raise Invalid(
                    "the definition cannot be found", [Fault("/definition", "write it as name or name@version")]
                )
            found = await self.definition(name, int(version) if version else None)
            return DefinitionRef(found.name, found.version, found.digest), None
        digest = digest_of(definition)
        if self._plans.known(digest) is None:
            faults = [Fault(f"/definition{fault.pointer}", fault.message) for fault in faults_of(definition)]
            if faults:
                raise Invalid("the definition has faults", faults)
            self._plans.keep(digest, parse_definition(definition))
        return DefinitionRef(definition["name"], None, digest), json.encode(definition)

    async def glance(self, process_id: UUID) -> ProcessView:
        """A process as it was a moment ago, for those who only look; never older than it was shown before.

        Raises:
            NotFound: there is none with this id.
        """
        return _existing(process_id, await self._processes.glance(process_id))

    async def process(self, process_id: UUID) -> ProcessView:
        """A process.

        Raises:
            NotFound: there is none with this id.
        """
        return _existing(process_id, await self._processes.find(process_id))

    async def wait(self, process_id: UUID, seconds: float) -> ProcessView:
        """A process when it has ended, or as it is when the time is over."""
        process = await self.process(process_id)
        if not process.state.is_terminal and seconds > 0:
            await self._completions.wait(process_id, seconds)
            process = await self.process(process_id)
        return process

    async def search(self, query: Query) -> list[ProcessView]:
        """Processes, newest first."""
        return await self._processes.search(query)

    async def history(self, process_id: UUID, after: int, limit: int) -> list[RecordedRow]:
        """The history of a process above a seq.

        Raises:
            NotFound: there is no such process.
        """
        rows = await self._processes.history(process_id, after, limit)
        if not rows:
            await self.process(process_id)
        return rows

    async def activities(self, process_id: UUID) -> list[Execution]:
        """Every execution of a process, all visits, in order of their start."""
        executions = await self._processes.executions(process_id)
        await self.process(process_id)
        return executions

    # Commands

    async def answer(self, process_id: UUID, activity: str, request: AnswerRequest, call: Call) -> Accepted:
        """Answer a manual activity.

        Raises:
            NotFound: no such process or activity.
            Conflict: it does not wait for an answer, or has one.
            Invalid: the form refuses the answer.
            Stale, TooLarge, KeyReused: see the errors.
        """
        process = await self.process(process_id)
        plan = await self._plans.load(process.definition.digest)
        step = plan.steps.get(activity)
        if step is None:
            raise NotFound(f"the definition has no activity {activity!r}")
        execution = next((found for found in process.executions if found.activity == activity), None)
        request_hash = _keyed_hash(call, request)
        if (
            execution is not None
            and call.key is not None
            and await self._is_repeat(process_id, execution, request_hash)
        ):
            return Accepted(process, is_replay=True)
        _check_version(process, call)
        if execution is None or execution.state is not ActivityState.WAITING or step.type != "manual":
            raise Conflict(f"activity {activity} does not wait for an answer")
        _limit(request.output, "/output")
        _limit(request.error, "/error")
        message = _answer_message(request, execution, call)
        if request.outcome == "complete" and step.form is not None:
            faults = step.form.faults(request.output, "/output")
            if faults:
                raise Invalid("the form does not accept the answer", faults)
        message_id = answer_id(execution.execution_id)
        submitted = await self._stores.inbox.submit(process_id, message_id, message, request_hash)
        return await self._accepted(process, submitted, request_hash, call, f"activity {activity} was answered before")

    async def _is_repeat(self, process_id: UUID, execution: Execution, request_hash: bytes) -> bool:
        """Whether this key answered this visit or an earlier one: in a loop, a repeat must not answer the next."""
        for visit in range(execution.visit if execution.type == "manual" else 0, 0, -1):
            message_id = answer_id(execution_id(process_id, execution.activity, visit))
            if _is_replay(await self._stores.inbox.recall(process_id, message_id), request_hash):
                return True
        return False

    async def cancel(self, process_id: UUID, reason: str | None, call: Call) -> Accepted:
        """Ask a process to end now.

        Raises:
            NotFound: there is no such process.
            Conflict: it has ended, or is being cancelled.
            Stale, KeyReused: see the errors.
        """
        process = await self.process(process_id)
        request_hash = _keyed_hash(call, {"reason": reason})
        message_id = message_id_for(process_id, "cancel", str(process.definition.digest.hex()), "once")
        if call.key is not None and _is_replay(await self._stores.inbox.recall(process_id, message_id), request_hash):
            return Accepted(process, is_replay=True)
        _check_version(process, call)
        if process.state.is_terminal:
            raise Conflict(f"the process is {process.state}")
        message = CancelRequested(reason, call.by)
        submitted = await self._stores.inbox.submit(process_id, message_id, message, request_hash)
        return await self._accepted(process, submitted, request_hash, call, "the process is being cancelled")

    async def _accepted(
        self, process: ProcessView, submitted: Submitted, request_hash: bytes, call: Call, conflict: str
    ) -> Accepted:
        if submitted.is_replay or submitted.conflicts:
            if call.key is not None and _is_replay(submitted, request_hash):
                return Accepted(process, is_replay=True)
            raise Conflict(conflict)
        await self._pokes.known([process.process_id])
        return Accepted(process)

    # Events

    async def announce(self, request: EventRequest, call: Call, process_id: UUID | None = None) -> EventAccepted:
        """Take an external event down and hand it to whoever waits for it.

        Raises:
            NotFound: the addressee does not exist.
            KeyReused: the idempotency key was used for another body.
            TooLarge: its data are over the limit.
        """
        _limit(request.data, "/data")
        if process_id is not None:
            await self.process(process_id)
        request_hash = _hash(request)
        hint = await self._replays.hint(call, request_hash)
        replayed = await self._replays.recall(call, request_hash) if hint is None else None
        if replayed is not None:
            return EventAccepted(UUID(replayed.resource), 0, replayed.first_status, is_replay=True)
        if request.id is not None:
            event_id = event_id_for(TENANT, request.id)
        elif call.key is not None:
            event_id = event_id_for(TENANT, f"{call.scope}\n{call.key}")
        else:
            event_id = self._clock.new_id(ordered=True)
        event = NewEvent(event_id, request.type, request.key, request.data, process_id, request_hash)
        submitted = await self._stores.events.accept(event)
        if submitted.conflicts and request.id is None:
            raise KeyReused("this Idempotency-Key was used with another body")
        if hint is not None and submitted.is_replay:
            return EventAccepted(event_id, 0, hint.first_status, is_replay=True)
        reached = [] if submitted.is_replay or submitted.conflicts else await self._stores.events.deliver(event_id)
        if reached:
            await self._pokes.known(reached)
        await self._replays.remember(call, Retained(request_hash, 202, str(event_id)))
        return EventAccepted(event_id, len(reached))


def _existing(process_id: UUID, found: ProcessView | None) -> ProcessView:
    if found is None:
        raise NotFound(f"no process {process_id}")
    return found


def _is_replay(earlier: Submitted | None, request_hash: bytes) -> bool:
    """Whether the row that is kept came from the same key and body; the same key with another body is refused."""
    if earlier is None or earlier.request_hash is None or earlier.request_hash[:16] != request_hash[:16]:
        return False
    if earlier.request_hash != request_hash:
        raise KeyReused("this Idempotency-Key was used with another body")
    return True


def _check_version(process: ProcessView, call: Call) -> None:
    if call.if_match is not None and call.if_match != process.version:
        raise Stale(f"the process is at version {process.version}, the call is based on {call.if_match}")


def _answer_message(request: AnswerRequest, execution: Execution, call: Call) -> Answered:
    failure = None
    if request.outcome == "fail":
        failure = _rejection(request.error)
    return Answered(execution.activity, execution.execution_id, request.outcome, request.output, failure, call.by)


def _rejection(error: Any) -> Failure:
    """The error of an answer `fail`: a text is its message, an object may hold message and details."""
    if isinstance(error, str):
        return Failure("manual.rejected", Category.EXECUTION, error)
    if isinstance(error, Mapping):
        message = error.get("message")
        text = message if isinstance(message, str) else "answered with fail"
        return Failure("manual.rejected", Category.EXECUTION, text, error.get("details"))
    return Failure("manual.rejected", Category.EXECUTION, "answered with fail", error)
