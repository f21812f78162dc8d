"""A change as rows: encoded once, by its author, so that whatever is wrong with it concerns nobody else."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import UNSET, Struct

from understudy.domain.evolution import evolve
from understudy.domain.facts import ActivityFact, AnyFact
from understudy.domain.ports import Change, Tenure
from understudy.domain.state import STATE_SCHEMA, Execution, State, subscriptions_of, timers_of
from understudy.persistence.rows import body_of, detail_of, encode, json_or_null, storable

_ROW_SIZE = 200
"""The bytes of a row apart from its JSON, roughly."""

_WIDTHS = (9, 2, 11, 3, 1, 3, 1, 5)
"""The columns of each table in `Rows.tables`, without the place of the transition that they belong to."""

Row = tuple[Any, ...]


class Rows(Struct, frozen=True):
    """What a change writes: its process's row, and the rows of the other tables in the order of the statement."""

    process_id: UUID
    tenure: Tenure
    version: int
    process: Row
    tables: tuple[Sequence[Row], ...]
    size: int


def rows_of(change: Change) -> Rows:
    """The rows of a change.

    Raises:
        Exception: anything that an encoder finds wrong with a value, or `evolve` with a fact.
    """
    before, after = change.before, change.after
    facts = [_fact_row(seq, fact) for seq, fact in enumerate(change.facts, before.seq + 1)]
    executions = [_execution_row(execution, position) for execution, position in _changed(change)]
    process = _process_row(change)
    timers, timers_gone = _timer_rows(before, after)
    waits, waits_gone = _subscription_rows(before, after)
    outbox = [
        (idx, event.event_id, event.type, event.key, json_or_null(event.data))
        for idx, event in enumerate(change.publish)
    ]
    consumed = [(used.message_id, used.outcome) for used in change.consumed]
    tables = (facts, consumed, executions, timers, timers_gone, waits, waits_gone, outbox)
    # What is large in a fact stands in its execution or in the process once more.
    size = _ROW_SIZE * (1 + sum(map(len, tables))) + 2 * sum([len(row[-1]) for row in facts])
    return Rows(after.process_id, change.tenure, change.version, process, tables, size)


def parameters_of(batch: UUID, node: str, group: Sequence[Rows]) -> list[Any]:
    """The parameters of the statement `commit` for a group of changes, each of another process."""
    parameters: list[Any] = [batch, node, STATE_SCHEMA, *zip(*[rows.process for rows in group], strict=True)]
    for table, width in enumerate(_WIDTHS):
        places: list[int] = []
        gathered: list[Row] = []
        for place, rows in enumerate(group, 1):
            found = rows.tables[table]
            if found:
                gathered += found
                places += [place] * len(found)
        parameters.append(places)
        parameters += zip(*gathered, strict=True) if gathered else [()] * width
    return parameters


def _process_row(change: Change) -> Row:
    after = change.after
    return (
        after.process_id,
        change.tenure.epoch,
        change.tenure.claim,
        change.version,
        after.state,
        after.paused,
        after.is_ready and not after.state.is_terminal,
        body_of(after),
        json_or_null(after.output),
        json_or_null(after.failure),
        after.started_at,
        after.updated_at,
        after.ended_at,
    )


def _fact_row(seq: int, fact: AnyFact) -> Row:
    kind = fact.__struct_config__.tag
    own = fact.own
    data = storable({name: getattr(fact, name) for name in own}) if own else b"{}"
    if isinstance(fact, ActivityFact):
        return seq, fact.at, kind, fact.origin, fact.target, fact.activity, fact.execution_id, fact.attempt, data
    return seq, fact.at, kind, fact.origin, fact.target, None, None, None, data


def _execution_row(execution: Execution, position: int) -> Row:
    return (
        execution.execution_id,
        execution.activity,
        execution.type,
        execution.visit,
        execution.attempt,
        execution.state,
        execution.started_at,
        execution.ended_at,
        None if execution.output is UNSET else storable(execution.output),
        json_or_null(execution.failure),
        detail_of(execution, position),
    )


def _changed(change: Change) -> Iterator[tuple[Execution, int]]:
    earlier = change.before.executions
    changed: list[tuple[Execution, int]] = []
    is_repeated = False
    for position, (activity, execution) in enumerate(change.after.executions.items()):
        known = earlier.get(activity)
        if known is execution:
            continue
        changed.append((execution, position))
        if known is None:
            is_repeated |= execution.visit > 1
        elif known.visit != execution.visit:
            is_repeated |= known.ended_at is None or execution.visit > known.visit + 1
    return _with_replaced(change) if is_repeated else iter(changed)


def _with_replaced(change: Change) -> Iterator[tuple[Execution, int]]:
    """Also the visits that came and went within the change, of which `after` knows nothing."""
    state = change.before
    touched: dict[UUID, Execution] = {}
    for fact in change.facts:
        state = evolve(state, fact)
        if isinstance(fact, ActivityFact):
            touched[fact.execution_id] = state.executions[fact.activity]
    positions = {activity: position for position, activity in enumerate(change.after.executions)}
    return ((execution, positions[execution.activity]) for execution in touched.values())


def _timer_rows(before: State, after: State) -> tuple[list[Row], list[Row]]:
    old, new = timers_of(before), timers_of(after)
    if old == new:
        return [], []
    set_rows: list[tuple[str, datetime, bytes]] = [
        (ident, timer.due_at, encode({"kind": timer.kind})) for ident, timer in new.items() if old.get(ident) != timer
    ]
    return list(set_rows), [(ident,) for ident in old if ident not in new]


def _subscription_rows(before: State, after: State) -> tuple[list[Row], list[Row]]:
    old = subscriptions_of(before)
    new = {} if after.state.is_terminal else subscriptions_of(after)
    if old == new:
        return [], []
    set_rows = [(ident, awaited.type, awaited.key) for ident, awaited in new.items() if old.get(ident) != awaited]
    return list(set_rows), [(ident,) for ident in old if ident not in new]
