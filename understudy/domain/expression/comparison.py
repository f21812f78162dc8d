from collections.abc import Iterable, Mapping
from typing import Any, Final

from understudy.domain.expression.budget import Budget
from understudy.domain.expression.errors import ExpressionError
from understudy.domain.expression.kinds import JSON_DEPTH_MAX, NUMBERS, SCALARS, described, is_map

COMPARED_PER_STEP: Final = 1024  # characters
ELEMENTS_PER_STEP: Final = 4
_DIFFERENT: Final = ((True, False),)


def charge_text(text: str, budget: Budget) -> None:
    """Pays for comparing or hashing a text; short ones are part of the step that uses them."""
    if len(text) > COMPARED_PER_STEP:
        budget.charge(len(text) // COMPARED_PER_STEP)


def equal(left: Any, right: Any, budget: Budget) -> bool:
    """Deep equality: numbers by value, values of different types are different."""
    left_type, right_type = type(left), type(right)
    if left_type is right_type:
        if left_type is str:
            charge_text(left, budget)
            return bool(left == right)
        if left_type in SCALARS:
            return bool(left == right)
    elif left_type in SCALARS or right_type in SCALARS:
        return left_type in NUMBERS and right_type in NUMBERS and bool(left == right)
    return _equal_deep(left, right, budget)


def _equal_deep(left: Any, right: Any, budget: Budget) -> bool:
    level = [(left, right)]
    for _ in range(JSON_DEPTH_MAX):
        following: list[tuple[Any, Any]] = []
        for one, other in level:
            for first, second in _pairs(one, other, budget):
                if type(first) not in SCALARS and type(second) not in SCALARS:
                    following.append((first, second))
                elif not equal(first, second, budget):
                    return False
        if not following:
            return True
        level = following
    raise ExpressionError("limit.depth", f"values nested deeper than {JSON_DEPTH_MAX} cannot be compared")


def _pairs(one: Any, other: Any, budget: Budget) -> Iterable[tuple[Any, Any]]:
    """What has to be equal for two containers to be equal; something different when they differ anyhow."""
    are_lists = type(one) is list and type(other) is list
    if (are_lists or (is_map(one) and is_map(other))) and len(one) == len(other):
        budget.charge(len(one) // 2 + 4)
        if are_lists:
            return zip(one, other, strict=True)
        for key in one:
            charge_text(key, budget)
        if all(key in other for key in one):
            return ((value, other[key]) for key, value in one.items())
    return _DIFFERENT


def unequal(left: Any, right: Any, budget: Budget) -> bool:
    """The opposite of `equal`."""
    return not equal(left, right, budget)


def less(left: Any, right: Any, budget: Budget) -> bool:
    """`left < right`."""
    _require_order("<", left, right, budget)
    return bool(left < right)


def less_or_equal(left: Any, right: Any, budget: Budget) -> bool:
    """`left <= right`."""
    _require_order("<=", left, right, budget)
    return bool(left <= right)


def greater(left: Any, right: Any, budget: Budget) -> bool:
    """`left > right`."""
    _require_order(">", left, right, budget)
    return bool(left > right)


def greater_or_equal(left: Any, right: Any, budget: Budget) -> bool:
    """`left >= right`."""
    _require_order(">=", left, right, budget)
    return bool(left >= right)


def _require_order(operator: str, left: Any, right: Any, budget: Budget) -> None:
    left_type, right_type = type(left), type(right)
    if left_type in NUMBERS and right_type in NUMBERS:
        return
    if left_type is not right_type or left_type not in SCALARS or left is None:
        raise ExpressionError("type", f"'{operator}' does not compare {described(left)} with {described(right)}")
    if left_type is str:
        charge_text(left, budget)


def contained(needle: Any, container: Any, budget: Budget) -> bool:
    """`needle in container`: an element of a list, a key of a map."""
    if type(container) is list:
        length = len(container)
        if type(needle) is str:
            # Python's own search: a string equals nothing but a string.
            budget.charge(length // 16 + length * (len(needle) // COMPARED_PER_STEP))
            return needle in container
        budget.charge(length // ELEMENTS_PER_STEP if type(needle) in SCALARS else length)
        return any(equal(needle, element, budget) for element in container)
    if is_map(container):
        if type(needle) is not str:
            return False
        charge_text(needle, budget)
        return needle in container
    hint = "; use contains()" if type(container) is str else ""
    raise ExpressionError("type", f"'in' searches a list or a map, not {described(container)}{hint}")


def indexed(target: Any, index: Any, budget: Budget) -> Any:
    """`target[index]`: an element of a list, the value of a key."""
    if type(target) is list:
        if type(index) is not int:
            raise ExpressionError("type", f"a list is indexed by an int, not by {described(index)}")
        if not 0 <= index < len(target):
            raise ExpressionError("missing", "the index is outside the list")
        return target[index]
    if type(index) is not str:
        raise ExpressionError("type", f"{described(target)} cannot be indexed by {described(index)}")
    charge_text(index, budget)
    return member(target, index, "such key")


def member(target: Any, key: str, named: str) -> Any:
    """The value of a key; `named` is what the message calls it, which must not come from the scope."""
    if type(target) is not dict and not isinstance(target, Mapping):
        raise ExpressionError("type", f"{described(target)} has no keys: there is no {named}")
    try:
        return target[key]
    except KeyError:
        raise ExpressionError("missing", f"there is no {named}") from None
