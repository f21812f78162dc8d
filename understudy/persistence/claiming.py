"""Claims: those that gather while one statement is under way are the next statement."""

from asyncio import Event, Future
from collections import deque
from collections.abc import Mapping
from uuid import UUID

import msgspec
from msgspec import Struct

from understudy.domain.errors import Stopped
from understudy.domain.messages import Delivery
from understudy.domain.ports import Claimed, Clock, Tenure
from understudy.domain.state import STATE_SCHEMA
from understudy.persistence.line import Line
from understudy.persistence.pool import Database, Record
from understudy.persistence.queries import Queries
from understudy.persistence.rows import delivery_of, executions_of, state_of
from understudy.persistence.statements import errors_named

CLAIMS_MAX = 500


class _Wish(Struct, eq=False):
    session_id: UUID
    claims: Mapping[UUID, UUID]
    granted: "Future[list[Claimed]]"


class Claims:
    """Takes processes into ownership, with their state and what waits in their inbox."""

    def __init__(self, database: Database, clock: Clock, queries: Queries) -> None:
        self._line = Line(database, queries)
        self._clock = clock
        self._waiting: deque[_Wish] = deque()
        self._asked: list[_Wish] = []
        self._wake = Event()

    def ask(self, session_id: UUID, claims: Mapping[UUID, UUID], granted: "Future[list[Claimed]]") -> None:
        """Queue claims (process id -> token); the answer holds those granted."""
        self._waiting.append(_Wish(session_id, claims, granted))
        self._wake.set()

    async def run(self) -> None:
        """Claim what has gathered, again and again."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                self._asked = self._take()
                try:
                    with errors_named():
                        granted = await self._claim(self._asked)
                except Exception as error:  # noqa: BLE001 - the callers wait for whatever has become of their claims
                    self._line.drop()
                    for wish in self._asked:
                        if not wish.granted.done():
                            wish.granted.set_exception(error)
                    continue
                for wish in self._asked:
                    if not wish.granted.done():
                        wish.granted.set_result([granted[ident] for ident in wish.claims if ident in granted])

    def disconnect(self) -> None:
        """Drop the connection; what waits for it fails."""
        self._line.drop()

    def abandon(self) -> None:
        """Tell everyone who waits that nothing more will come."""
        self._line.drop()
        for wish in (*self._asked, *self._waiting):
            if not wish.granted.done():
                wish.granted.set_exception(Stopped())
        self._waiting.clear()

    def _take(self) -> list[_Wish]:
        """What fits into one statement: claims of one session, each process once."""
        taken: list[_Wish] = []
        known: set[UUID] = set()
        while self._waiting:
            wish = self._waiting[0]
            if taken and (wish.session_id != taken[0].session_id or len(known) + len(wish.claims) > CLAIMS_MAX):
                break
            if not known.isdisjoint(wish.claims):
                break
            known.update(wish.claims)
            taken.append(self._waiting.popleft())
        return taken

    async def _claim(self, wishes: list[_Wish]) -> dict[UUID, Claimed]:
        claims = {ident: claim for wish in wishes for ident, claim in wish.claims.items()}
        if not claims:
            return {}
        rows = await self._line.rows("claim", wishes[0].session_id, [*claims], [*claims.values()], STATE_SCHEMA)
        if not rows:
            return {}
        self._clock.learn(rows[0]["db_now"])
        executions = await self._by_process("latest_executions", [row["process_id"] for row in rows if row["version"]])
        inbox = await self._by_process("deliveries", [row["process_id"] for row in rows if row["has_inbox"]])
        granted: dict[UUID, Claimed] = {}
        unreadable: list[tuple[UUID, UUID, str]] = []
        for row in rows:
            ident = row["process_id"]
            try:
                granted[ident] = _claimed(row, executions.get(ident, []), inbox.get(ident, []))
            except (ValueError, msgspec.MsgspecError) as error:
                unreadable.append((ident, row["owner_claim"], f"its stored state cannot be read: {error}"))
        if unreadable:
            # Given up for good: a process that no version of the program at hand can read would be claimed for ever.
            await self._line.rows("quarantine", *zip(*unreadable, strict=True))
        return granted

    async def _by_process(self, name: str, process_ids: list[UUID]) -> dict[UUID, list[Record]]:
        found: dict[UUID, list[Record]] = {}
        for row in await self._line.rows(name, process_ids) if process_ids else ():
            found.setdefault(row["process_id"], []).append(row)
        return found


def _claimed(row: Record, executions: list[Record], inbox: list[Record]) -> Claimed:
    deliveries: tuple[Delivery, ...] = tuple(delivery_of(message) for message in inbox)
    return Claimed(
        state=state_of(row, executions_of(executions)),
        tenure=Tenure(row["owner_epoch"], row["owner_claim"]),
        version=row["version"],
        claim_fails=row["claim_fails"],
        deliveries=deliveries,
        db_now=row["db_now"],
    )
