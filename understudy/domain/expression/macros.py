"""`&&`, `||`, and the macros that walk a list or the keys of a map.

As CEL says, a false operand of `&&` (a true one of `||`) decides in spite of errors in the others, and `all()` and
`exists()` are `&&` and `||` over the elements. A limit is never absorbed.
"""

from collections.abc import Callable, Collection
from typing import Any, Final, NamedTuple

from understudy.domain.expression.errors import ExpressionError
from understudy.domain.expression.frame import Frame, Run
from understudy.domain.expression.kinds import described, is_map

ABSORBED_ERROR_COST: Final = 10  # steps: raising and catching takes as long


def logic(operator: str, operands: tuple[Run, ...], position: int) -> Run:
    """All operands of a chain of `&&` or of `||`."""
    decisive: bool = operator == "||"

    def run(frame: Frame) -> Any:
        failure: ExpressionError | None = None
        for operand in operands:
            try:
                value = operand(frame)
            except ExpressionError as error:
                failure = _absorbed(error, failure, frame)
                continue
            if value is decisive:
                return decisive
            if type(value) is not bool:
                failure = failure or _not_bool(f"'{operator}'", value, position)
        if failure is not None:
            raise failure
        return not decisive

    return run


class Loop(NamedTuple):
    """What the macros have in common; `cost` is the steps of one turn."""

    name: str
    target: Run
    slot: int
    cost: int
    position: int

    def elements(self, frame: Frame) -> Collection[Any]:
        """What the loop walks over, all turns paid in advance."""
        target = self.target(frame)
        if type(target) is not list and not is_map(target):
            reason = f"{self.name}() walks a list or the keys of a map, not {described(target)}"
            raise ExpressionError("type", reason, self.position)
        frame.budget.charge(self.cost * len(target))
        elements: Collection[Any] = target
        return elements


def quantifier(loop: Loop, test: Run) -> Run:
    """`all` and `exists`."""
    decisive: bool = loop.name == "exists"

    def run(frame: Frame) -> Any:
        slots, slot = frame.slots, loop.slot
        failure: ExpressionError | None = None
        for element in loop.elements(frame):
            slots[slot] = element
            try:
                value = test(frame)
            except ExpressionError as error:
                failure = _absorbed(error, failure, frame)
                continue
            if value is decisive:
                return decisive
            if type(value) is not bool:
                failure = failure or _not_bool(f"{loop.name}()", value, loop.position)
        if failure is not None:
            raise failure
        return not decisive

    return run


def exists_one(loop: Loop, test: Run) -> Run:
    """Whether exactly one element passes."""
    select = filtered(loop, test)
    return lambda frame: len(select(frame)) == 1


def filtered(loop: Loop, test: Run) -> Run:
    """`filter`: the elements that pass."""
    return mapped(loop, test, lambda frame: frame.slots[loop.slot])


def mapped(loop: Loop, test: Run | None, body: Run) -> Run:
    """`map`: the body's value for each element that passes."""

    def run(frame: Frame) -> list[Any]:
        slots, slot = frame.slots, loop.slot
        values = []
        for element in loop.elements(frame):
            slots[slot] = element
            if test is not None:
                value = test(frame)
                if value is False:
                    continue
                if value is not True:
                    raise _not_bool(f"{loop.name}()", value, loop.position)
            values.append(body(frame))
        return values

    return run


def macro(loop: Loop, bodies: tuple[Run, ...]) -> Run:
    """The macro of this name."""
    if loop.name == "map":
        return mapped(loop, bodies[0] if len(bodies) > 1 else None, bodies[-1])
    build: Callable[[Loop, Run], Run] = _PREDICATES[loop.name]
    return build(loop, bodies[0])


def _absorbed(error: ExpressionError, earlier: ExpressionError | None, frame: Frame) -> ExpressionError:
    if error.is_limit:
        raise error
    frame.budget.charge(ABSORBED_ERROR_COST)
    return earlier or error


def _not_bool(where: str, value: Any, position: int) -> ExpressionError:
    return ExpressionError("type", f"{where} takes a bool, not {described(value)}", position)


_PREDICATES: Final = {"all": quantifier, "exists": quantifier, "exists_one": exists_one, "filter": filtered}
