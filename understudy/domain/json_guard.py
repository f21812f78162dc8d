"""The border for JSON: what passes can be stored in PostgreSQL, computed with and encoded again.

Malformed text is told apart from content that is well-formed and refused, as the API answers 400 to the one and 422 to
the other.
"""

import json
import re
from collections.abc import Sequence
from itertools import accumulate
from math import isfinite
from typing import Any, NoReturn, TypeAlias

import msgspec

from understudy.domain.pointer import pointer_of, shown

DEPTH_MAX = 64
INTEGER_MIN = -(2**63)
INTEGER_MAX = 2**63 - 1
VALUES_MAX = 2**21
"""More values than a body of 2 MiB can hold; a small value that contains itself many times over must not pass."""

# The closing quote is optional: an unterminated string ends the text, and is not tried again from each quote in it.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_DEPTH_CHANGE = {byte: 1 if byte in b"[{" else -1 for byte in b"[]{}"}
_DIGITS_TO_ZERO = bytes(ord("0") if byte in b"0123456789" else byte for byte in range(256))
_LONG_INTEGER = b"0" * 19  # the bounds of 64 bits have 19 digits

_Refusal: TypeAlias = tuple[str, list[str | int]]

_decode = msgspec.json.Decoder().decode


class JsonError(ValueError):
    """Text that is not JSON (`malformed`), or JSON that is refused at `pointer`."""

    def __init__(self, message: str, pointer: str = "", *, malformed: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.pointer = pointer
        self.malformed = malformed


def decode_json(body: bytes) -> Any:
    """The value of a JSON text, under the rules of `check_json` and without repeated keys; raises JsonError."""
    if body.count(b"[") + body.count(b"{") > DEPTH_MAX and _depth(body) > DEPTH_MAX:
        raise JsonError(f"The JSON is nested deeper than {DEPTH_MAX} levels.")
    try:
        value = _decode(body)
    except (ValueError, RecursionError) as error:
        _explain(body, error)
    # The decoder settles syntax, UTF-8, surrogates and overflow; the rest is looked for where the bytes hint at it.
    if b"\\u0000" in body or _LONG_INTEGER in body.translate(_DIGITS_TO_ZERO):
        check_json(value)
    keys = _count_keys(value)
    if body.count(b":") != keys and _STRING.sub(b"", body).count(b":") != keys:
        json.loads(body, object_pairs_hook=_refuse_repeated_keys)
    return value


def check_json(value: Any) -> None:
    """Pass a value of JSON types, finite numbers, 64-bit integers, clean text, at most 64 levels; raises JsonError."""
    found = _Inspection().refusal(value, DEPTH_MAX)
    if found is not None:
        message, path = found
        raise JsonError(message, pointer_of(reversed(path)))


class _Inspection:
    """One walk over a value; the path of what it refuses is collected on the way out, innermost key first."""

    def __init__(self) -> None:
        self._values_left = VALUES_MAX

    def refusal(self, value: Any, depth_left: int) -> _Refusal | None:
        """What is wrong first, if anything."""
        kind = type(value)
        if kind is str:
            return _text_refusal(value)
        if kind is int:
            return None if INTEGER_MIN <= value <= INTEGER_MAX else ("The integer does not fit into 64 bits.", [])
        if kind is float:
            return None if isfinite(value) else ("The number is not finite.", [])
        if value is None or kind is bool:
            return None
        if kind is not dict and kind is not list and kind is not tuple:
            return f"A value of type {kind.__name__} is not JSON.", []
        self._values_left -= len(value)
        if self._values_left < 0:
            return f"There are more than {VALUES_MAX} values.", []
        if depth_left == 0:
            return f"The value is nested deeper than {DEPTH_MAX} levels.", []
        return self._object(value, depth_left - 1) if kind is dict else self._array(value, depth_left - 1)

    def _object(self, value: dict[Any, Any], depth_left: int) -> _Refusal | None:
        for key, member in value.items():
            if type(key) is not str:
                return f"A key of type {type(key).__name__} is not JSON.", []
            found = _text_refusal(key)
            if found is None:
                found = self.refusal(member, depth_left)
                if found is not None:
                    found[1].append(key)
            if found is not None:
                return found
        return None

    def _array(self, value: Sequence[Any], depth_left: int) -> _Refusal | None:
        for index, member in enumerate(value):
            found = self.refusal(member, depth_left)
            if found is not None:
                found[1].append(index)
                return found
        return None


def _text_refusal(text: str) -> _Refusal | None:
    if "\0" in text:
        return "The text contains the character NUL (\\u0000).", []
    if not text.isascii() and _SURROGATE.search(text):
        return "The text contains half of a surrogate pair.", []
    return None


def _depth(body: bytes) -> int:
    brackets = _STRING.sub(b"", body).translate(None, _NOT_BRACKETS)
    return max(accumulate(map(_DEPTH_CHANGE.__getitem__, brackets)), default=0)


def _count_keys(value: Any) -> int:
    count = 0
    if type(value) is dict:
        count = len(value)
        value = value.values()
    elif type(value) is not list:
        return 0
    for member in value:
        if type(member) is dict or type(member) is list:
            count += _count_keys(member)
    return count


def _explain(body: bytes, error: Exception) -> NoReturn:
    """Raise the refusal of what is JSON (1e999, half a surrogate pair, endless digits), else that it is malformed."""
    detail = str(error).removeprefix("JSON is malformed: ")
    try:
        check_json(json.loads(body.decode(), parse_constant=_refuse_constant, parse_int=_parse_integer))
    except JsonError:
        raise
    except UnicodeDecodeError:
        detail = "it is not UTF-8"
    except (ValueError, RecursionError):
        pass
    raise JsonError(f"The text is not JSON: {detail}.", malformed=True) from None


def _refuse_constant(name: str) -> NoReturn:
    raise JsonError(f"The text is not JSON: there is no number {name}.", malformed=True)


def _parse_integer(digits: str) -> int:
    # Python refuses to convert thousands of digits, and a refusal needs no exact value.
    return int(digits[: len(str(INTEGER_MIN))])


def _refuse_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for key, member in pairs:
        if key in members:
            raise JsonError(f"The key {shown(key)} stands more than once in one object.")
        members[key] = member
    return members
