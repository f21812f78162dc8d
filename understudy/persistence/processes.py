"""The gateway's side of processes in PostgreSQL: it inserts and reads, it never updates."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from understudy.domain.facts import HistoryRow
from understudy.domain.identity import TENANT
from understudy.domain.state import Execution
from understudy.domain.states import ProcessState
from understudy.domain.views import NewProcess, ProcessView, Query, RecordedRow, Submitted
from understudy.persistence.pool import Database, Record
from understudy.persistence.rows import decode, definition_of, encode, executions_of, failure_of, value_of
from understudy.persistence.starts import Starts
from understudy.persistence.statements import Statements


class Processes:
    """Implements the port of the same name."""

    def __init__(self, database: Database) -> None:
        self._statements = Statements(database)
        self._starts = Starts(self._statements)

    async def start(self, process: NewProcess) -> Submitted:
        """Insert a process, its first history row and, for an inline definition, its content.

        Raises:
            Invalid: the process cannot be stored.
            Unreachable: it may or may not be stored; the same call again is safe.
        """
        return await self._starts.add(process)

    async def find(self, process_id: UUID) -> ProcessView | None:
        """A process with the latest visit of each activity, all as of one moment."""
        rows = await self._statements.rows("find_process", process_id)
        if not rows:
            return None
        executions = executions_of(row for row in rows if row["execution_id"] is not None).values()
        return _view(_Prefixed(rows[0]), tuple(sorted(executions, key=lambda execution: execution.started_at)))

    async def search(self, query: Query) -> list[ProcessView]:
        """Processes, newest first, without their executions.

        `created_after` belongs to its range and `created_before` does not, so that ranges can be put end to end.
        """
        before_at, before_id = query.before or (None, None)
        rows = await self._statements.planned(
            "search_processes",
            TENANT,
            query.state,
            query.definition,
            query.definition_version,
            query.key,
            None if query.label is None else encode(dict([query.label])),
            query.created_after,
            query.created_before,
            before_at,
            before_id,
            query.limit,
        )
        return [_view(row) for row in rows]

    async def history(self, process_id: UUID, after: int, limit: int) -> list[RecordedRow]:
        """History rows with a seq above `after`, in order."""
        return [_recorded(row) for row in await self._statements.rows("process_history", process_id, after, limit)]

    async def executions(self, process_id: UUID) -> list[Execution]:
        """Every execution of a process, all visits, in order of their start."""
        rows = await self._statements.rows("process_executions", process_id)
        return [execution for row in rows for execution in executions_of([row]).values()]

    async def ended(self, process_ids: Sequence[UUID]) -> list[UUID]:
        """Which of these processes have ended."""
        return await self._statements.column("ended_processes", process_ids)


class _Prefixed:
    """The process's part of a row that also holds an execution."""

    def __init__(self, row: Record) -> None:
        self._row = row

    def __getitem__(self, column: int | str) -> Any:
        return self._row[f"p_{column}"]


def _view(row: Record, executions: tuple[Execution, ...] = ()) -> ProcessView:
    return ProcessView(
        process_id=row["process_id"],
        definition=definition_of(row),
        key=row["key"],
        labels=decode(row["labels"]),
        state=ProcessState(row["state"]),
        paused=row["paused"],
        version=row["version"],
        input=value_of(row["input"]),
        output=value_of(row["output"]),
        failure=failure_of(row["error"]),
        created_at=row["created_at"],
        started_at=row["started_at"],
        updated_at=row["updated_at"],
        ended_at=row["ended_at"],
        quarantined=row["quarantined"],
        owner_session=row["owner_session"],
        owner_epoch=row["owner_epoch"],
        executions=executions,
    )


def _recorded(row: Record) -> RecordedRow:
    recorded = HistoryRow(
        type=row["type"],
        at=row["at"],
        origin=row["origin"],
        target=row["target"],
        activity=row["activity"],
        execution_id=row["execution_id"],
        attempt=row["attempt"],
        data=decode(row["data"]),
    )
    return RecordedRow(row["seq"], recorded, row["version"], row["node"], row["epoch"])
