"""What errors and rows mean for a batch."""

from typing import Any
from uuid import UUID

import asyncpg
import pytest

from understudy.domain.ports import Tenure, Verdict
from understudy.persistence.batch import Rows
from understudy.persistence.outcome import Fault, fault_of, poison_reason, verdict_of

MINE, OTHER = UUID(int=1), UUID(int=2)
ROWS = Rows(UUID(int=3), Tenure(7, MINE), 5, (), (), 0)


def row(**changes: Any) -> dict[str, Any]:
    return {"version": 5, "owner_epoch": 7, "owner_claim": MINE, "last_batch": None} | changes


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (row(), None),
        (row(version=6, last_batch=MINE), Verdict.APPLIED),
        (row(version=6, last_batch=MINE, owner_claim=None), Verdict.APPLIED),
        (row(version=6, last_batch=OTHER), Verdict.DIVERGED),
        (row(version=4), Verdict.DIVERGED),
        (row(owner_epoch=8), Verdict.FENCED),
        (row(owner_claim=OTHER), Verdict.FENCED),
        (row(owner_claim=None), Verdict.FENCED),
        (row(version=6, owner_claim=OTHER, last_batch=OTHER), Verdict.FENCED),
        (None, Verdict.FENCED),
    ],
)
def test_a_row_that_is_read_back_tells_what_became_of_a_change(
    found: dict[str, Any] | None, verdict: Verdict | None
) -> None:
    assert verdict_of(ROWS, found, MINE) is verdict


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (asyncpg.SerializationError(), Fault.REPEAT),
        (asyncpg.DeadlockDetectedError(), Fault.REPEAT),
        (asyncpg.LockNotAvailableError(), Fault.REPEAT),
        (asyncpg.StatementCompletionUnknownError(), Fault.UNKNOWN),
        (asyncpg.UntranslatableCharacterError(), Fault.POISON),
        (asyncpg.UniqueViolationError(), Fault.POISON),
        (asyncpg.ProgramLimitExceededError(), Fault.POISON),
        (asyncpg.DataError("invalid input for query argument $1"), Fault.POISON),
        (asyncpg.ReadOnlySQLTransactionError(), Fault.UNKNOWN),
        (asyncpg.AdminShutdownError(), Fault.UNKNOWN),
        (asyncpg.QueryCanceledError(), Fault.UNKNOWN),
        (asyncpg.ConnectionDoesNotExistError(), Fault.UNKNOWN),
        (asyncpg.InvalidCachedStatementError(), Fault.UNKNOWN),
        (asyncpg.InterfaceError("connection is closed"), Fault.UNKNOWN),
        (asyncpg.TargetServerAttributeNotMatched(), Fault.UNKNOWN),
        (ConnectionResetError(), Fault.UNKNOWN),
        (TimeoutError(), Fault.UNKNOWN),
        (asyncpg.DiskFullError(), Fault.EXHAUSTED),
        (asyncpg.TooManyConnectionsError(), Fault.EXHAUSTED),
        (asyncpg.UndefinedTableError(), Fault.EXHAUSTED),
        (asyncpg.InternalServerError(), Fault.EXHAUSTED),
        (KeyError("a bug"), None),
    ],
)
def test_an_error_tells_what_to_do(error: Exception, fault: Fault | None) -> None:
    assert fault_of(error) is fault


def test_the_reason_of_a_poison_row_has_none_of_its_values() -> None:
    error = asyncpg.NumericValueOutOfRangeError('value "99999999999" is out of range for type integer')

    assert poison_reason(error) == "the database cannot store it: NumericValueOutOfRangeError (SQLSTATE 22003)"
