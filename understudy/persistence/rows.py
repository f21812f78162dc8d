"""Between rows and the domain's values: the state of a process and its executions come back as they were written.

Values of users stand in columns of type `json`, which keep the order of keys and the form of numbers. An output that is
SQL NULL is none at all; a JSON null is an output.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from msgspec import UNSET, Struct

from understudy.domain.errors import Invalid
from understudy.domain.failure import Failure
from understudy.domain.messages import Answered, CancelRequested, Delivery, EventArrived, InboxMessage
from understudy.domain.state import DefinitionRef, Execution, State, Waiting
from understudy.domain.states import ActivityState, ProcessState
from understudy.persistence.pool import Record

encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode
decode: Callable[[bytes], Any] = msgspec.json.Decoder().decode


class Body(Struct, frozen=True, omit_defaults=True):
    """What of a state has no column of its own; the table's default is the body of a process not begun."""

    seq: int = 0
    active: tuple[UUID, ...] = ()
    last: str | None = None
    deadline_at: datetime | None = None


class Detail(Struct, frozen=True, omit_defaults=True):
    """What of an execution has no column of its own; `position` is the place of its activity by first start."""

    position: int
    attempt_started_at: datetime
    generation: int = 0
    is_unknown: bool = False
    next_attempt_at: datetime | None = None
    deadline_at: datetime | None = None
    waiting: Waiting | None = None


_decode_body = msgspec.json.Decoder(Body).decode
_decode_detail = msgspec.json.Decoder(Detail).decode
_decode_failure = msgspec.json.Decoder(Failure).decode
_message_decoders: dict[str, Callable[[bytes], InboxMessage]] = {
    str(EventArrived.__struct_config__.tag): msgspec.json.Decoder(EventArrived).decode,
    str(Answered.__struct_config__.tag): msgspec.json.Decoder(Answered).decode,
    str(CancelRequested.__struct_config__.tag): msgspec.json.Decoder(CancelRequested).decode,
}

_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def storable(value: Any) -> bytes:
    """The JSON of a value.

    Raises:
        Invalid: it has none, or there is a NUL in it, which PostgreSQL would take in but could not turn into text.
    """
    try:
        encoded = encode(value)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise Invalid(f"the database cannot store this as JSON: {type(error).__name__}") from error
    if b"\\u0000" in encoded and _NUL.search(encoded):
        raise Invalid("the database cannot store this as JSON: a text contains the character NUL")
    return encoded


def json_or_null(value: Any) -> bytes | None:
    """The JSON of a value; SQL NULL for None."""
    return None if value is None else storable(value)


def value_of(column: bytes | None) -> Any:
    """The value of a JSON column; None for SQL NULL."""
    return None if column is None else decode(column)


def failure_of(column: bytes | None) -> Failure | None:
    """The error that a JSON column holds."""
    return None if column is None else _decode_failure(column)


def body_of(state: State) -> bytes:
    """The `body` of a process's row."""
    return encode(Body(state.seq, state.active, state.last, state.deadline_at))


def detail_of(execution: Execution, position: int) -> bytes:
    """The `detail` of an execution's row."""
    return encode(
        Detail(
            position,
            execution.attempt_started_at,
            execution.generation,
            execution.is_unknown,
            execution.next_attempt_at,
            execution.deadline_at,
            execution.waiting,
        )
    )


def definition_of(row: Record) -> DefinitionRef:
    """The definition that a process's row is pinned to."""
    return DefinitionRef(row["definition_name"], row["definition_version"], row["definition_digest"])


def executions_of(rows: Iterable[Record]) -> dict[str, Execution]:
    """The executions of one process by activity, in the order of first starts, from one row for each activity."""
    found = sorted((_execution(row) for row in rows), key=lambda pair: (pair[0], pair[1].started_at))
    return {execution.activity: execution for _, execution in found}


def _execution(row: Record) -> tuple[int, Execution]:
    detail = _decode_detail(row["detail"])
    output = row["output"]
    return detail.position, Execution(
        execution_id=row["execution_id"],
        activity=row["activity"],
        type=row["type"],
        visit=row["visit"],
        attempt=row["attempt"],
        state=ActivityState(row["state"]),
        started_at=row["started_at"],
        attempt_started_at=detail.attempt_started_at,
        ended_at=row["ended_at"],
        output=UNSET if output is None else decode(output),
        failure=failure_of(row["error"]),
        generation=detail.generation,
        is_unknown=detail.is_unknown,
        next_attempt_at=detail.next_attempt_at,
        deadline_at=detail.deadline_at,
        waiting=detail.waiting,
    )


def state_of(row: Record, executions: Mapping[str, Execution]) -> State:
    """The state of a process from its row and its latest executions."""
    body = _decode_body(row["body"])
    return State(
        process_id=row["process_id"],
        definition=definition_of(row),
        key=row["key"],
        input=value_of(row["input"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        state=ProcessState(row["state"]),
        paused=row["paused"],
        seq=body.seq,
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        deadline_at=body.deadline_at,
        executions=executions,
        active=body.active,
        last=body.last,
        output=value_of(row["output"]),
        failure=failure_of(row["error"]),
    )


def inbox_row_of(message: InboxMessage) -> tuple[str, bytes]:
    """The `kind` and the `body` of the inbox row that carries a message.

    Raises:
        Invalid: something in the message cannot be stored.
    """
    return str(message.__struct_config__.tag), storable(message)


def delivery_of(row: Record) -> Delivery:
    """The delivery that an inbox row stands for.

    Raises:
        msgspec.ValidationError: the row is of a kind or shape that this version does not know.
    """
    decoder = _message_decoders.get(row["kind"])
    if decoder is None:
        raise msgspec.ValidationError(f"an inbox row of the unknown kind {row['kind']!r}")
    return Delivery(row["msg_id"], decoder(row["body"]), row["created_at"])
