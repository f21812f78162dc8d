import re
from typing import Any, Final, NamedTuple

from understudy.domain.expression.errors import ExpressionError

INT_MAX: Final = 2**63 - 1
LENGTH_MAX: Final = 4096

_TOKEN: Final = re.compile(
    r"""
    (?P<space>[ \t\n\f\r]+|//[^\n]*)
    |(?P<number>(?:0[xX][0-9a-fA-F]+|(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)[_a-zA-Z0-9]*)
    |(?P<raw>(?:[bB]?[rR]|[rR][bB])(?:\"{3}[\s\S]*?\"{3}|'{3}[\s\S]*?'{3}|"[^"\r\n]*"|'[^'\r\n]*'))
    |(?P<quoted>[bB]?(?:\"{3}(?:[^\\]|\\[\s\S])*?\"{3}|'{3}(?:[^\\]|\\[\s\S])*?'{3}
        |"(?:[^"\\\r\n]|\\[^\r\n])*"|'(?:[^'\\\r\n]|\\[^\r\n])*'))
    |(?P<name>[_a-zA-Z][_a-zA-Z0-9]*)
    |(?P<operator>&&|\|\||[=!<>]=|[-+*/%<>!?:.,()\[\]{}])
    """,
    re.VERBOSE,
)
_INTEGER: Final = re.compile(r"0[xX][0-9a-fA-F]+|[0-9]+")
_DOUBLE: Final = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_ESCAPE: Final = re.compile(
    r"""\\(?:(?P<plain>[abfnrtv\\?"'`])|[xX](?P<x>[0-9a-fA-F]{2})|u(?P<u>[0-9a-fA-F]{4})|U(?P<U>[0-9a-fA-F]{8})"""
    r"""|(?P<octal>[0-3][0-7]{2})|[\s\S])"""
)
_PLAIN_ESCAPES: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_CONSTANTS: Final = {"true": True, "false": False, "null": None}


class Token(NamedTuple):
    """`kind` is `int`, `literal`, `name`, `operator` or `end`; `value` what it means; `text` how it is written."""

    kind: str
    value: Any
    position: int
    text: str


def tokenize(source: str, *, until_brace: bool = False) -> tuple[list[Token], int]:
    """The tokens of an expression, closed by one of kind `end`, and where they end.

    With `until_brace` the expression ends before the first `}` that it has not opened itself.
    """
    tokens: list[Token] = []
    position = depth = 0
    while position < len(source):
        match = _TOKEN.match(source, position)
        if match is None:
            raise _unexpected(source, position)
        kind, text = str(match.lastgroup), match.group()
        if kind == "operator":
            depth += (text == "{") - (text == "}")
            if until_brace and depth < 0:
                return [*tokens, Token("end", None, position, "")], position
        if kind != "space":
            tokens.append(_token(kind, text, position))
        position = match.end()
    if until_brace:
        raise ExpressionError("syntax", "'${' is not closed by '}'", position)
    return [*tokens, Token("end", None, position, "")], position


def _token(kind: str, text: str, position: int) -> Token:
    match kind:
        case "number":
            return _number(text, position)
        case "raw" | "quoted":
            return Token("literal", _string(text, position, is_raw=kind == "raw"), position, text)
        case "name" if text in _CONSTANTS:
            return Token("literal", _CONSTANTS[text], position, text)
        case "name" if text == "in":
            return Token("operator", text, position, text)
        case _:
            return Token(kind, text, position, text)


def _number(text: str, position: int) -> Token:
    if _INTEGER.fullmatch(text):
        is_hexadecimal = text[1:2] in {"x", "X"}
        value = int(text, 16 if is_hexadecimal else 10)
        # One more than the largest integer may follow a minus sign; the parser decides.
        if value > INT_MAX + 1:
            raise ExpressionError("overflow", "the integer does not fit in 64 bits", position)
        return Token("int", value, position, text)
    if _DOUBLE.fullmatch(text):
        number = float(text)
        if number == float("inf"):
            raise ExpressionError("overflow", "the number is too large for a double", position)
        return Token("literal", number, position, text)
    if _INTEGER.fullmatch(text[:-1]) and text[-1] in "uU":
        raise ExpressionError("unsupported", "unsigned integers are not offered: leave the 'u' out", position)
    raise ExpressionError("syntax", "malformed number", position)


def _string(text: str, position: int, *, is_raw: bool) -> str:
    body = text.lstrip("rRbB")
    if "b" in text[: len(text) - len(body)].lower():
        raise ExpressionError("unsupported", "bytes are not offered: JSON has none", position)
    quotes = 3 if len(body) >= 6 and body[:3] in {'"""', "'''"} else 1
    value = body[quotes:-quotes]
    if not is_raw and "\\" in value:
        start = position + len(text) - len(body) + quotes
        value = _ESCAPE.sub(lambda match: _unescaped(match, start + match.start()), value)
    for character in value:
        if character == "\0" or "\ud800" <= character <= "\udfff":
            raise ExpressionError("syntax", "a string may hold neither NUL nor half of a surrogate pair", position)
    return value


def _unescaped(match: re.Match[str], position: int) -> str:
    if (plain := match["plain"]) is not None:
        return _PLAIN_ESCAPES.get(plain, plain)
    digits = match["x"] or match["u"] or match["U"]
    code = int(digits, 16) if digits else int(match["octal"], 8) if match["octal"] else -1
    if not 0 <= code <= 0x10FFFF:
        raise ExpressionError("syntax", "unknown escape in a string", position)
    return chr(code)


def _unexpected(source: str, position: int) -> ExpressionError:
    character = source[position]
    if character in {'"', "'"}:
        return ExpressionError("syntax", "the string is not closed", position)
    name = f"'{character}'" if character.isprintable() else f"U+{ord(character):04X}"
    return ExpressionError("syntax", f"unexpected character {name}", position)
