"""Clients of the real service: each follows its order to the end and writes down every call, Jepsen style."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from uuid import UUID

from msgspec import Struct

from tests.simulation.broker import pause
from tests.simulation.loop import SimLoop
from tests.simulation.workload import Order
from understudy.domain.errors import UnderstudyError, Unreachable
from understudy.domain.states import ActivityState, ProcessState
from understudy.domain.views import ProcessView
from understudy.runtime.calls import AnswerRequest, Call, EventRequest, StartRequest
from understudy.runtime.service import Service

Answer = TypeVar("Answer")

EVENTS = {"payment": "payment.received"}


class Op(Struct):
    """One call: `ok`, `fail` (it has no effect), or `info` (nobody knows)."""

    kind: str
    order: int
    key: str
    invoked_at: float
    outcome: str = "info"
    ended_at: float | None = None
    result: Any = None
    error: str = ""


class Sight(Struct, frozen=True):
    """A process as a client saw it."""

    at: float
    version: int
    state: ProcessState


class Client:
    """Follows orders; `log` is its evidence."""

    def __init__(self, loop: SimLoop, service: Service, seed: int) -> None:
        self.loop = loop
        self.service = service
        self.log: list[Op] = []
        self.processes: dict[int, UUID] = {}
        self.sights: dict[int, list[Sight]] = {}
        self.parked: set[int] = set()
        self.lost = 0
        self.is_quiet = False
        """Nothing breaks any more: what was seen now stays."""
        self._random = random.Random(f"{seed}:client")

    async def follow(self, order: Order) -> None:
        """Start the process, give it what it waits for, and see it end."""
        await pause(self.loop, order.begins)
        process_id = await self._insist("start", order, "start", lambda: self._start(order))
        began = self.loop.time()
        if order.starts_twice:
            self.loop.begin(self._start_again(order), name=f"again-{order.number}")
        if order.is_early and order.definition in EVENTS:
            await self._announce(order)
        sights = self.sights.setdefault(order.number, [])
        while True:
            await pause(self.loop, self._random.uniform(0.5, 2.0))
            view = await self._look(order, process_id)
            sights.append(Sight(self.loop.time(), view.version, view.state))
            if view.state.is_terminal or await self._attend(order, view):
                if self.is_quiet:
                    return
                # A failover may take back what was seen.
                continue
            if order.cancels_after is not None and self.loop.time() - began > order.cancels_after:
                await self._cancel(order, process_id)

    async def _look(self, order: Order, process_id: UUID) -> ProcessView:
        """The process; one that a failover has lost is started again, under the same key."""
        while True:
            op = await self._try("look", order, "", lambda: self.service.process(process_id))
            if op.outcome == "ok":
                view: ProcessView = op.result
                return view
            if op.outcome == "fail":
                self.lost += 1
                await self._insist("start", order, "start", lambda: self._start(order))
            await pause(self.loop, self._random.uniform(0.2, 1.0))

    async def _start(self, order: Order) -> UUID:
        request = StartRequest(order.definition, {"n": order.number % 4}, key=order.key)
        started = await self.service.start(request, Call("POST", "/processes", key=f"order-{order.number}"))
        known = self.processes.setdefault(order.number, started.process.process_id)
        assert known == started.process.process_id, "one key made two processes"
        return known

    async def _start_again(self, order: Order) -> None:
        await pause(self.loop, self._random.uniform(0, 10))
        await self._try("start", order, "start", lambda: self._start(order))

    async def _attend(self, order: Order, view: ProcessView) -> bool:
        """Give the process what it waits for; whether it waits for an operator, which nobody is."""
        for execution in view.executions:
            if execution.state is not ActivityState.WAITING or execution.waiting is None:
                continue
            if execution.waiting.kind == "operator":
                self.parked.add(order.number)
                return True
            if execution.waiting.kind == "manual":
                answers = [self._answer(order, view, execution.activity, who) for who in "ab"[: 1 + order.is_double]]
                await asyncio.gather(*answers)
            elif order.definition in EVENTS and execution.waiting.event is not None:
                await self._announce(order)
        return False

    async def _answer(self, order: Order, view: ProcessView, activity: str, who: str) -> None:
        path = f"/processes/{view.process_id}/activities/{activity}/resume"
        call = Call("POST", path, key=f"{order.number}-{activity}-{who}", by=who)
        request = AnswerRequest(output={"by": who})
        await self._try("answer", order, who, lambda: self.service.answer(view.process_id, activity, request, call))

    async def _announce(self, order: Order) -> None:
        request = EventRequest(EVENTS[order.definition], key=order.key, id=f"event-{order.number}", data={"paid": 1})
        for _ in range(1 + order.is_double):
            await self._try("event", order, "event", lambda: self.service.announce(request, Call("POST", "/events")))

    async def _cancel(self, order: Order, process_id: UUID) -> None:
        call = Call("POST", f"/processes/{process_id}/cancel", key=f"cancel-{order.number}")
        for _ in range(1 + order.is_double):
            await self._try("cancel", order, "cancel", lambda: self.service.cancel(process_id, "enough", call))

    # Every call is written down

    async def _insist(self, kind: str, order: Order, key: str, perform: Callable[[], Awaitable[Answer]]) -> Answer:
        while True:
            op = await self._try(kind, order, key, perform)
            if op.outcome == "ok":
                answer: Answer = op.result
                return answer
            await pause(self.loop, self._random.uniform(0.2, 1.0))

    async def _try(self, kind: str, order: Order, key: str, perform: Callable[[], Awaitable[Any]]) -> Op:
        op = Op(kind, order.number, key, self.loop.time())
        if kind != "look":
            self.log.append(op)
        try:
            op.result = await perform()
        except Unreachable as error:
            op.error = str(error)
        except UnderstudyError as error:
            op.outcome, op.error = "fail", f"{type(error).__name__}: {error}"
        else:
            op.outcome = "ok"
        op.ended_at = self.loop.time()
        return op
