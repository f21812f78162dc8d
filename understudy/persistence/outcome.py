"""What an error of the database means for a batch, and what a row that is read back means for its change."""

from enum import Enum, auto
from uuid import UUID

import asyncpg

from understudy.domain.ports import Verdict
from understudy.persistence.batch import Rows
from understudy.persistence.pool import Record


class Fault(Enum):
    """What to do about an error."""

    REPEAT = auto()
    """Nothing happened, by bad luck: again."""
    POISON = auto()
    """Nothing happened, because a value cannot be stored: find it."""
    UNKNOWN = auto()
    """It may have happened: a new connection, and read back."""
    EXHAUSTED = auto()
    """Nothing happened, and nothing will until somebody frees a resource or repairs the database: later."""


_BY_STATE = {
    "40001": Fault.REPEAT,
    "40P01": Fault.REPEAT,
    "55P03": Fault.REPEAT,
}
_BY_CLASS = {
    "08": Fault.UNKNOWN,
    "0A": Fault.UNKNOWN,  # the plan of a prepared statement has become invalid: a new connection plans anew
    "21": Fault.POISON,
    "22": Fault.POISON,
    "23": Fault.POISON,
    "25": Fault.UNKNOWN,
    "40": Fault.UNKNOWN,
    "54": Fault.POISON,
    "57": Fault.UNKNOWN,
}


def fault_of(error: Exception) -> Fault | None:
    """What to do about an error; None when it is none of the database's."""
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        return _BY_STATE.get(state) or _BY_CLASS.get(state[:2], Fault.EXHAUSTED)
    if isinstance(error, (OSError, EOFError, asyncpg.InterfaceError, asyncpg.InternalClientError)):
        return Fault.UNKNOWN
    return None


def poison_reason(error: Exception) -> str:
    """Why a change cannot be stored, without the values in it, which the database's message may repeat."""
    state = getattr(error, "sqlstate", None)
    code = f" (SQLSTATE {state})" if state else ""
    return f"the database cannot store it: {type(error).__name__}{code}"


def verdict_of(rows: Rows, row: Record | None, batch: UUID) -> Verdict | None:
    """What became of a change, by its process's row; None when it has not been applied and still could be."""
    if row is None:
        return Verdict.FENCED
    if row["last_batch"] == batch:
        return Verdict.APPLIED
    if row["owner_epoch"] != rows.tenure.epoch or row["owner_claim"] != rows.tenure.claim:
        return Verdict.FENCED
    return None if row["version"] == rows.version else Verdict.DIVERGED
