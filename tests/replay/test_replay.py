"""Histories that earlier versions recorded fold to the state they recorded, for ever.

A file holds the state of a process when it was created, the rows of its history in order, and its state at the end of
them. Files are added and never changed: a history that does not fold any more is a process that cannot be taken over.
"""

from pathlib import Path
from typing import get_args

import msgspec
import pytest
from msgspec import Struct

from understudy.domain.evolution import evolve
from understudy.domain.facts import AnyFact, HistoryRow, fact_of, row_of
from understudy.domain.state import State

HISTORIES = sorted((Path(__file__).parent / "histories").glob("*.json"))


class Recording(Struct, forbid_unknown_fields=True):
    """A recorded history."""

    created: State
    rows: list[HistoryRow]
    state: State


def read(path: Path) -> Recording:
    return msgspec.json.decode(path.read_bytes(), type=Recording)


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
def test_a_recorded_history_folds_to_its_state(path: Path) -> None:
    recording = read(path)
    state = recording.created
    for row in recording.rows:
        state = evolve(state, fact_of(row))
    assert state == recording.state
    assert state.seq == recording.created.seq + len(recording.rows)


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
def test_a_recorded_row_is_still_written_so(path: Path) -> None:
    """Fields may come, none may change or go."""
    for row in read(path).rows:
        written = msgspec.json.decode(msgspec.json.encode(row_of(fact_of(row))))
        recorded = msgspec.json.decode(msgspec.json.encode(row))
        data = {name: written["data"][name] for name in recorded["data"]}
        assert {**written, "data": data} == recorded


def test_every_kind_of_fact_is_recorded() -> None:
    kinds = {kind.__struct_config__.tag for kind in get_args(AnyFact)}
    assert {row.type for path in HISTORIES for row in read(path).rows} == kinds
