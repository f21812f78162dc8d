from typing import Any, Final

from understudy.domain.expression.budget import CHARACTERS_PER_STEP, Budget
from understudy.domain.expression.comparison import charge_text
from understudy.domain.expression.errors import ExpressionError
from understudy.domain.expression.kinds import described

# CPython searches long texts in linear time, but short texts, and short needles in longer ones, by a method whose worst
# case is the product of both lengths.
_QUADRATIC: Final = ((30_000, 100), (2_500, 2_500))  # lengths of text and needle
_COMPARED_PER_STEP: Final = 4_096


def _charge_search(text: str, needle: str, budget: Budget, passes: int = 1) -> None:
    steps = len(text) // CHARACTERS_PER_STEP
    for text_length, needle_length in _QUADRATIC:
        steps += min(len(text), text_length) * min(len(needle), needle_length) // _COMPARED_PER_STEP
    budget.charge(steps * passes)


def contains(budget: Budget, text: str, needle: str) -> bool:
    """`text.contains(needle)`."""
    _charge_search(text, needle, budget)
    return needle in text


def starts_with(budget: Budget, text: str, prefix: str) -> bool:
    """`text.startsWith(prefix)`."""
    charge_text(prefix, budget)
    return text.startswith(prefix)


def ends_with(budget: Budget, text: str, suffix: str) -> bool:
    """`text.endsWith(suffix)`."""
    charge_text(suffix, budget)
    return text.endswith(suffix)


def lower_ascii(budget: Budget, text: str) -> str:
    """`text.lowerAscii()`."""
    budget.build(len(text))
    return text.encode("utf-8", "surrogatepass").lower().decode("utf-8", "surrogatepass")


def upper_ascii(budget: Budget, text: str) -> str:
    """`text.upperAscii()`."""
    budget.build(len(text))
    return text.encode("utf-8", "surrogatepass").upper().decode("utf-8", "surrogatepass")


def trim(budget: Budget, text: str) -> str:
    """`text.trim()`: without Unicode white space at both ends."""
    budget.build(len(text))
    return text.strip()


def substring(budget: Budget, text: str, start: int, end: int | None = None) -> str:
    """`text.substring(start[, end])`, in code points."""
    stop = len(text) if end is None else end
    if not 0 <= start <= stop <= len(text):
        raise ExpressionError("value", "substring() was given a range that is not within the string")
    budget.build(stop - start)
    return text[start:stop]


def character_at(_: Budget, text: str, index: int) -> str:
    """`text.charAt(index)`; the empty string just behind the end."""
    if not 0 <= index <= len(text):
        raise ExpressionError("value", "charAt() was given an index outside the string")
    return text[index : index + 1]


def index_of(budget: Budget, text: str, needle: str, start: int = 0) -> int:
    """`text.indexOf(needle[, start])`, -1 when there is none."""
    if not 0 <= start <= len(text):
        raise ExpressionError("value", "indexOf() was given a start outside the string")
    _charge_search(text, needle, budget)
    return text.find(needle, start)


def last_index_of(budget: Budget, text: str, needle: str) -> int:
    """`text.lastIndexOf(needle)`, -1 when there is none."""
    _charge_search(text, needle, budget)
    budget.charge(len(needle) // CHARACTERS_PER_STEP)
    # Backwards through reversed copies: str.rfind takes time in the product of both lengths.
    found = text[::-1].find(needle[::-1])
    return -1 if found < 0 else len(text) - found - len(needle)


def replace(budget: Budget, text: str, old: str, new: str, count: int = -1) -> str:
    """`text.replace(old, new[, count])`."""
    _charge_search(text, old, budget, passes=3)
    matches = text.count(old)
    matches = matches if count < 0 else min(matches, count)
    budget.build(len(text) + matches * (len(new) - len(old)))
    budget.charge(matches // 8)
    return text.replace(old, new, matches)


def split(budget: Budget, text: str, separator: str, limit: int = -1) -> list[str]:
    """`text.split(separator[, limit])`; an empty separator splits into characters, the last part keeps the rest."""
    _charge_search(text, separator, budget, passes=2)
    if limit == 0:
        return []
    parts = len(text) if separator == "" else text.count(separator) + 1
    parts = parts if limit < 0 else min(parts, limit)
    budget.build_list(parts)
    if separator:
        return text.split(separator, parts - 1)
    return [*text[: max(parts - 1, 0)], text[parts - 1 :]] if text else []


def join(budget: Budget, parts: list[Any], separator: str = "") -> str:
    """`parts.join([separator])` of strings."""
    budget.charge(len(parts) // 8)
    for part in parts:
        if type(part) is not str:
            raise ExpressionError("type", f"join() takes a list of strings, not of {described(part)}")
    budget.build(sum(map(len, parts)) + len(separator) * max(len(parts) - 1, 0))
    return separator.join(parts)
