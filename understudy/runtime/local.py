import asyncio
from collections import deque
from collections.abc import Sequence
from itertools import islice
from uuid import UUID

import structlog

from understudy.actors.crew import Crew, contained
from understudy.domain.carrier import Receive
from understudy.domain.ports import Clock
from understudy.domain.views import OutboxRow

log = structlog.get_logger("carrier")

IDS_MAX = 200
WAITING_MAX = 100_000
DISMISS_SECONDS = 5.0
FAILED_PAUSE_SECONDS = 1.0


class Switchboard:
    """What the carriers of one event loop share: the processes that wait to be looked at, and who can be told."""

    def __init__(self) -> None:
        self.dropped = 0
        self._waiting: dict[UUID, None] = {}
        self._carriers: deque[LocalCarrier] = deque()
        self._is_due = False

    def offer(self, process_ids: Sequence[UUID]) -> None:
        """Let these processes wait; beyond the bound they are dropped, and the sweepers say them again."""
        self.dropped += _gather(self._waiting, process_ids)
        self.serve_soon()

    def join(self, carrier: "LocalCarrier") -> None:
        """Let a carrier take part."""
        self._carriers.append(carrier)
        self.serve_soon()

    def leave(self, carrier: "LocalCarrier") -> None:
        """Let a carrier take no part any more."""
        if carrier in self._carriers:
            self._carriers.remove(carrier)

    def carrier_of(self, session_id: UUID) -> "LocalCarrier | None":
        """The carrier of a session, if it takes part."""
        return next((carrier for carrier in self._carriers if carrier.session_id == session_id), None)

    def serve_soon(self) -> None:
        """Hand out what waits when the running callbacks are through, so that what they say goes together."""
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._serve)

    def _serve(self) -> None:
        self._is_due = False
        for _ in range(len(self._carriers)):
            if not self._waiting:
                return
            carrier = self._carriers[0]
            self._carriers.rotate(-1)
            if carrier.is_taking and carrier.has_room:
                carrier.look_at(_take(self._waiting))
        if self._waiting and any(carrier.is_taking and carrier.has_room for carrier in self._carriers):
            self.serve_soon()


class LocalCarrier:
    """Carries pokes within one event loop: a node alone, or several on one switchboard. It knows no outside."""

    def __init__(
        self,
        clock: Clock,
        switchboard: Switchboard | None = None,
        *,
        prefetch: int = 50,
        grace_seconds: float = 2.0,
    ) -> None:
        self.session_id: UUID | None = None
        self.deliveries = 0
        self.failed_deliveries = 0
        self.dropped = 0
        self._clock = clock
        self._switchboard = switchboard or Switchboard()
        self._prefetch = prefetch
        self._grace_seconds = grace_seconds
        self._receive: Receive | None = None
        self._own: dict[UUID, None] = {}
        self._crew = Crew()
        self._looking: set[asyncio.Task[None]] = set()
        self._is_held = False
        self._is_stopped = False

    @property
    def is_taking(self) -> bool:
        """Whether shared pokes are taken at this moment."""
        return not self._is_held and not self._is_stopped

    @property
    def has_room(self) -> bool:
        """Whether one more delivery may be looked at."""
        return len(self._looking) < self._prefetch

    async def open(self) -> None:
        """Begin to publish: there is nothing to open."""

    async def start(self, session_id: UUID, receive: Receive) -> None:
        """Begin to take shared pokes and those for this session."""
        if self.session_id is None and not self._is_stopped:
            self.session_id, self._receive = session_id, receive
            self._switchboard.join(self)

    async def poke(self, process_ids: Sequence[UUID]) -> None:
        """Say to whichever node is free: look at these processes."""
        self._switchboard.offer(process_ids)

    async def direct(self, session_id: UUID, process_ids: Sequence[UUID]) -> bool:
        """Say to one session: look at these processes; false when it takes no part."""
        carrier = self._switchboard.carrier_of(session_id)
        if carrier is not None:
            carrier.tell(process_ids)
        return carrier is not None

    async def announce(self, row: OutboxRow) -> bool:  # noqa: ARG002 - the port's
        """There is no outside, so that nothing is left to be done."""
        return True

    def hold(self, *, is_held: bool) -> None:
        """Stop or go on taking shared pokes."""
        self._is_held = is_held
        if not is_held and self.session_id is not None:
            self._switchboard.serve_soon()

    async def stop(self) -> None:
        """Take nothing more, let what is looked at end within the grace period; the rest waits for others."""
        if self._is_stopped:
            return
        self._is_stopped = True
        self._switchboard.leave(self)
        if self._looking:
            await asyncio.wait(self._looking, timeout=self._grace_seconds)
        await self._crew.dismiss(DISMISS_SECONDS)

    def tell(self, process_ids: Sequence[UUID]) -> None:
        """Look at these processes, which were meant for this session."""
        self.dropped += _gather(self._own, process_ids)
        self._look_at_own()

    def look_at(self, process_ids: tuple[UUID, ...]) -> None:
        """Look at these processes; when that cannot be finished they wait again for whoever is free."""
        self.deliveries += 1
        task = self._crew.spawn(self._look(process_ids), name="local:look")
        self._looking.add(task)
        task.add_done_callback(self._looked)

    def _look_at_own(self) -> None:
        while self._own and self.has_room and not self._is_stopped:
            self.look_at(_take(self._own))

    def _looked(self, task: asyncio.Task[None]) -> None:
        self._looking.discard(task)
        self._look_at_own()
        if not self._is_stopped:
            self._switchboard.serve_soon()

    async def _look(self, process_ids: tuple[UUID, ...]) -> None:
        assert self._receive is not None, "told before the start"
        try:
            await contained(self._receive(process_ids))
        except asyncio.CancelledError:
            self._switchboard.offer(process_ids)
            raise
        except Exception:
            self.failed_deliveries += 1
            log.exception("receive_failed", processes=len(process_ids))
            try:
                await self._clock.sleep(FAILED_PAUSE_SECONDS * (0.5 + self._clock.fraction()))
            finally:
                self._switchboard.offer(process_ids)


def _gather(waiting: dict[UUID, None], process_ids: Sequence[UUID]) -> int:
    """Let processes wait, each once; how many found no room."""
    dropped = 0
    for process_id in process_ids:
        if len(waiting) < WAITING_MAX or process_id in waiting:
            waiting[process_id] = None
        else:
            dropped += 1
    return dropped


def _take(waiting: dict[UUID, None]) -> tuple[UUID, ...]:
    taken = tuple(islice(waiting, IDS_MAX))
    for process_id in taken:
        del waiting[process_id]
    return taken
