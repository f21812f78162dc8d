"""Tables of the model database: rows are replaced, never changed, so that a transaction can be undone."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import Struct

Row = dict[str, Any]
Key = Any


class Record(dict[str, Any]):
    """A row of an answer, by name of column or position."""

    def __getitem__(self, column: int | str) -> Any:
        return list(self.values())[column] if isinstance(column, int) else super().__getitem__(column)


class Table:
    """Rows by primary key; a key that is a tuple leads with what its rows are looked up by."""

    def __init__(self, undo: list["Undo"]) -> None:
        self._rows: dict[Key, Row] = {}
        self._groups: dict[Any, dict[Key, None]] = {}
        self._undo = undo

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, key: Key) -> bool:
        return key in self._rows

    def __getitem__(self, key: Key) -> Row:
        return self._rows[key]

    def get(self, key: Key) -> Row | None:
        return self._rows.get(key)

    def items(self) -> list[tuple[Key, Row]]:
        return list(self._rows.items())

    def rows(self) -> Iterable[Row]:
        return self._rows.values()

    def of(self, group: Any) -> Iterator[tuple[Key, Row]]:
        """The rows whose key begins with this."""
        return ((key, self._rows[key]) for key in list(self._groups.get(group, ())))

    def put(self, key: Key, row: Row) -> None:
        self._undo.append((self, key, self._rows.get(key)))
        self.set(key, row)

    def change(self, key: Key, **columns: Any) -> Row:
        row = self._rows[key] | columns
        self.put(key, row)
        return row

    def remove(self, key: Key) -> None:
        self._undo.append((self, key, self._rows.get(key)))
        self.set(key, None)

    def set(self, key: Key, row: Row | None) -> None:
        """Write without a trace: for undoing."""
        if row is not None:
            self._rows[key] = row
            if isinstance(key, tuple):
                self._groups.setdefault(key[0], {})[key] = None
            return
        if self._rows.pop(key, None) is not None and isinstance(key, tuple):
            self._groups[key[0]].pop(key, None)


Undo = tuple[Table, Key, Row | None]


class Applied(Struct):
    """A transition that the database took: the world's own evidence, beside the tables."""

    at: float
    db_at: datetime
    process_id: UUID
    version: int
    epoch: int
    claim: UUID
    session: UUID
    node: str
    state: str
    was_lost: bool = False
    """A failover took it back."""


class Granted(Struct):
    """A claim that the database granted."""

    at: float
    process_id: UUID
    epoch: int
    claim: UUID
    session: UUID
    before: UUID | None
    was_lost: bool = False
