import math
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from understudy.domain.expression.budget import Budget
from understudy.domain.expression.errors import ExpressionError
from understudy.domain.expression.kinds import INT_MAX, INT_MIN, NUMBERS, described, integer


def double(value: float) -> float:
    """A number as a double."""
    try:
        return float(value)
    except OverflowError:
        raise ExpressionError("overflow", "the integer does not fit in 64 bits") from None


def _timed(operation: Callable[[Any, Any], Any], left: Any, right: Any) -> Any:
    try:
        return operation(left, right)
    except OverflowError:
        raise ExpressionError("overflow", "the time is out of range") from None


def _mismatch(operator: str, left: Any, right: Any) -> ExpressionError:
    texts = operator == "+" and str in {type(left), type(right)}
    hint = "; use string() or ${…} in a text" if texts else ""
    return ExpressionError("type", f"'{operator}' does not take {described(left)} and {described(right)}{hint}")


def add(left: Any, right: Any, budget: Budget) -> Any:
    """`left + right`: numbers, strings, lists, times."""
    left_type, right_type = type(left), type(right)
    if left_type in NUMBERS and right_type in NUMBERS:
        if left_type is right_type:
            total = left + right
            return total if left_type is float or INT_MIN <= total <= INT_MAX else integer(total)
        return double(left) + double(right)
    if left_type is str and right_type is str:
        budget.build(len(left) + len(right))
        return left + right
    if left_type is list and right_type is list:
        budget.build_list(len(left) + len(right))
        return left + right
    if timedelta in {left_type, right_type} and {left_type, right_type} <= {timedelta, datetime}:
        return _timed(lambda one, other: one + other, left, right)
    raise _mismatch("+", left, right)


def subtract(left: Any, right: Any, _: Budget) -> Any:
    """`left - right`: numbers and times."""
    left_type, right_type = type(left), type(right)
    if left_type in NUMBERS and right_type in NUMBERS:
        return integer(left - right) if left_type is right_type is int else double(left) - double(right)
    if left_type in {timedelta, datetime} and right_type in {timedelta, left_type}:
        return _timed(lambda one, other: one - other, left, right)
    raise _mismatch("-", left, right)


def multiply(left: Any, right: Any, _: Budget) -> Any:
    """`left * right`."""
    left_type, right_type = type(left), type(right)
    if left_type in NUMBERS and right_type in NUMBERS:
        if left_type is right_type is int:
            return integer(integer(left) * integer(right))
        return double(left) * double(right)
    raise _mismatch("*", left, right)


def divide(left: Any, right: Any, _: Budget) -> Any:
    """`left / right`: integers towards zero, doubles as IEEE 754 says."""
    left_type, right_type = type(left), type(right)
    if left_type is right_type is int:
        if right == 0:
            raise ExpressionError("division", "division by zero")
        quotient = abs(left) // abs(right)
        return integer(quotient if (left < 0) is (right < 0) else -quotient)
    if left_type not in NUMBERS or right_type not in NUMBERS:
        raise _mismatch("/", left, right)
    dividend, divisor = double(left), double(right)
    if divisor != 0:
        return dividend / divisor
    if dividend == 0 or math.isnan(dividend):
        return math.nan
    return math.copysign(math.inf, dividend) * math.copysign(1.0, divisor)


def modulo(left: Any, right: Any, _: Budget) -> Any:
    """`left % right`: integers only, with the sign of the dividend."""
    if type(left) is not int or type(right) is not int:
        raise _mismatch("%", left, right)
    if right == 0:
        raise ExpressionError("division", "modulus by zero")
    remainder = abs(left) % abs(right)
    return remainder if left >= 0 else -remainder


def negate(value: Any) -> Any:
    """`-value`."""
    if type(value) is int:
        return integer(-value)
    if type(value) is float:
        return -value
    raise ExpressionError("type", f"'-' does not take {described(value)}")
