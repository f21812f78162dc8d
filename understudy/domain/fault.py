"""What is wrong with a value, and where."""

from collections.abc import Collection
from difflib import get_close_matches
from typing import NamedTuple

from understudy.domain.pointer import shown

FAULTS_MAX = 100

# Comparing takes the more time the more two names are alike; these bounds keep a hostile definition below a second.
_COMPARISONS_MAX = 2_000
_COMPARED_LENGTH_MAX = 40
_LISTED_MAX = 12


class Fault(NamedTuple):
    """One thing that is wrong: the JSON pointer of the exact value and a sentence about it."""

    pointer: str
    message: str


class Faults(list[Fault]):
    """Collects faults in the order they are found, at most `FAULTS_MAX` of them."""

    def __init__(self) -> None:
        super().__init__()
        self._comparisons_left = _COMPARISONS_MAX

    def add(self, pointer: str, message: str) -> None:
        """Keep a fault, unless there are too many to read already."""
        if len(self) < FAULTS_MAX:
            self.append(Fault(pointer, message))

    def add_unknown(self, pointer: str, noun: str, name: str, known: Collection[str]) -> str | None:
        """Keep that `name` is none of the `known` names; suggests the nearest, and returns it if there is one."""
        near = self._nearest(name, known)
        if near is not None:
            rest = f"; did you mean {shown(near)}?"
        elif 0 < len(known) <= _LISTED_MAX:
            rest = f"; known are {', '.join(map(shown, known))}."
        else:
            rest = "."
        self.add(pointer, f"There is no {noun} {shown(name)}{rest}")
        return near

    def _nearest(self, name: str, known: Collection[str]) -> str | None:
        self._comparisons_left -= len(known)
        if len(name) > _COMPARED_LENGTH_MAX or self._comparisons_left < 0:
            return None
        comparable = {known_name.lower(): known_name for known_name in known if len(known_name) <= _COMPARED_LENGTH_MAX}
        return next((comparable[near] for near in get_close_matches(name.lower(), comparable, n=1)), None)
