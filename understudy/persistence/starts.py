"""Natural batching of starts: those that arrive while a round trip is out share the next one.

Nothing waits for a batch to fill, and no task runs in the background: a caller that finds the lane free leads a batch
for all who wait, then calls the next one to lead.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

from understudy.domain.errors import Invalid
from understudy.domain.identity import TENANT, shard_of
from understudy.domain.state import STATE_SCHEMA
from understudy.domain.views import NewProcess, Submitted
from understudy.persistence.rows import encode, json_or_null
from understudy.persistence.statements import Statements, errors_named
from understudy.persistence.submission import submitted

BATCH_SIZE_MAX = 200
BATCH_BYTES_MAX = 1_048_576


class Starts:
    """Inserts processes, many in one statement; what cannot be stored fails alone."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements
        self._waiting: deque[_Start] = deque()
        self._is_out = False

    async def add(self, process: NewProcess) -> Submitted:
        """Insert one process; returns when it is committed.

        Raises:
            Invalid: the process cannot be stored.
            Unreachable: it may or may not be stored; the same call again is safe.
        """
        with errors_named():
            start = _Start(process)
        self._waiting.append(start)
        try:
            while start.outcome is None:
                if self._is_out:
                    await start.turn.wait()
                    start.turn.clear()
                else:
                    await self._lead()
        except asyncio.CancelledError as error:
            start.outcome = error
            with suppress(ValueError):
                self._waiting.remove(start)
            if not self._is_out:
                self._call_next()
            raise
        if isinstance(start.outcome, BaseException):
            raise start.outcome
        return start.outcome

    async def _lead(self) -> None:
        batch = self._next_batch()
        self._is_out = True
        try:
            await self._insert(batch)
        except Exception as error:  # noqa: BLE001 - each caller of the batch gets it, whatever it is
            for start in batch:
                start.settle(error)
        finally:
            self._is_out = False
            # Without an outcome are those whose row somebody else was making, and all of them when the leader was
            # cancelled: they go again, and find what was stored.
            self._waiting.extendleft(start for start in reversed(batch) if start.outcome is None)
            self._call_next()

    def _call_next(self) -> None:
        if self._waiting:
            self._waiting[0].turn.set()

    def _next_batch(self) -> list["_Start"]:
        batch: dict[UUID, _Start] = {}
        held: list[_Start] = []
        size = 0
        while self._waiting and len(batch) < BATCH_SIZE_MAX and size < BATCH_BYTES_MAX:
            start = self._waiting.popleft()
            if start.process_id in batch:
                # One statement cannot say which of two calls with the same id came first.
                held.append(start)
            else:
                batch[start.process_id] = start
                size += start.size
        self._waiting.extendleft(reversed(held))
        return list(batch.values())

    async def _insert(self, batch: Sequence["_Start"]) -> None:
        columns = zip(*(start.columns for start in batch), strict=True)
        try:
            rows = await self._statements.rows("start_processes", TENANT, *columns, STATE_SCHEMA)
        except Invalid as error:
            if len(batch) == 1:
                batch[0].settle(error)
                return
            middle = len(batch) // 2
            await self._insert(batch[:middle])
            await self._insert(batch[middle:])
            return
        found = {row["process_id"]: row for row in rows}
        for start in batch:
            if (row := found.get(start.process_id)) is not None:
                kept = (row["request_hash"], row["first_status"])
                start.settle(submitted(row["is_new"], start.request_hash, *kept))


class _Start:
    """One caller's process on its way; `turn` is set when there is an outcome, or when the lane is free to lead."""

    def __init__(self, process: NewProcess) -> None:
        definition, labels, given = process.definition, encode(process.labels), json_or_null(process.input)
        self.process_id = process.process_id
        self.request_hash = process.request_hash
        self.columns: tuple[Any, ...] = (
            process.process_id,
            shard_of(process.process_id),
            definition.name,
            definition.version,
            definition.digest,
            process.content,
            process.key,
            labels,
            given,
            process.request_hash,
            process.first_status,
        )
        self.size = sum(len(part) for part in (labels, given, process.content) if part is not None)
        self.turn = asyncio.Event()
        self.outcome: Submitted | BaseException | None = None

    def settle(self, outcome: Submitted | Exception) -> None:
        self.outcome = outcome
        self.turn.set()
