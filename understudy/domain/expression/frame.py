from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from understudy.domain.expression.budget import Budget


class Frame:
    """One evaluation: the scope, the budget, and a slot for each macro variable that is alive."""

    __slots__ = ("budget", "scope", "slots")

    def __init__(self, scope: Mapping[str, Any], budget: Budget, slot_count: int) -> None:
        self.scope = scope
        self.budget = budget
        self.slots: list[Any] = [None] * slot_count


Run: TypeAlias = Callable[[Frame], Any]


class Code(NamedTuple):
    """A compiled part, and the steps it takes apart from what its macros and functions take by the size of values."""

    run: Run
    cost: int
