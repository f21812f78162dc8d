from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from understudy.domain.expression.budget import CHARACTERS_PER_STEP, Budget
from understudy.domain.expression.compiler import Expression, compile_expression
from understudy.domain.expression.errors import ExpressionError
from understudy.domain.expression.kinds import JSON_DEPTH_MAX
from understudy.domain.expression.lexer import LENGTH_MAX, tokenize
from understudy.domain.expression.rendering import UNTOUCHED, Meter, plain, text_of
from understudy.domain.pointer import pointer_of

References: TypeAlias = frozenset[tuple[str, ...]]
Build: TypeAlias = Callable[[Mapping[str, Any], Meter], Any]
Escape: TypeAlias = Callable[[str, str], str]

_OPENING: Final = "${"


class TemplateFault(NamedTuple):
    """What is wrong in a template; `pointer` is the JSON pointer inside it, empty for the value itself."""

    pointer: str
    message: str


class TemplateError(Exception):
    """A value that is not a template, with all its faults."""

    def __init__(self, faults: tuple[TemplateFault, ...]) -> None:
        super().__init__(
            "; ".join(f"{fault.pointer}: {fault.message}" if fault.pointer else fault.message for fault in faults)
        )
        self.faults = faults


class Template(msgspec.Struct, frozen=True, eq=False):
    """A JSON value whose strings may hold expressions."""

    references: References
    is_constant: bool
    _build: Build
    _path: Expression | None

    def render(self, scope: Mapping[str, Any], budget: Budget | None = None) -> Any:
        """Plain JSON; parts may be shared with the scope and with the template itself, so nobody may change them.

        Raises:
            ExpressionError: An expression has no value, or the whole is too large or nested too deep.
        """
        if budget is None:
            budget = Budget()
        if self._path is None:
            return self._build(scope, Meter(budget))
        value = self._path.evaluate(scope, budget)
        return value if type(value) in UNTOUCHED else _finished(value, self._path, Meter(budget), 0)


class Text(msgspec.Struct, frozen=True, eq=False):
    """A text that may hold expressions; `prefix` stands literally before the first one, `next_literal` after it."""

    references: References
    is_constant: bool
    prefix: str
    next_literal: str
    _parts: tuple[str | Expression, ...]

    def render(self, scope: Mapping[str, Any], budget: Budget | None = None, escape: Escape | None = None) -> str:
        """The text; `escape(text so far, interpolated text)` gives what is to be inserted.

        Raises:
            ExpressionError: An expression has no value, or the text gets too long.
        """
        if self.is_constant:
            return self.prefix
        return _rendered(self._parts, scope, Meter(budget or Budget()), escape)


def compile_template(value: Any) -> Template:
    """Compiles a JSON value.

    Raises:
        TemplateError: Some of its expressions cannot be compiled, or it is nested too deep.
    """
    compiler = _Compiler()
    part = compiler.part(value, "", 0)
    compiler.check()
    constant = part.value
    return Template(
        references=frozenset(compiler.references),
        is_constant=part.build is None,
        _build=part.build or (lambda _scope, _meter: constant),
        _path=part.path,
    )


def compile_text(value: str) -> Text:
    """Compiles a string that has to stay one.

    Raises:
        TemplateError: Some of its expressions cannot be compiled.
    """
    compiler = _Compiler()
    parts = compiler.parts(value, "")
    compiler.check()
    is_constant = not any(isinstance(part, Expression) for part in parts)
    prefix = parts[0] if parts and isinstance(parts[0], str) else ""
    next_literal = next((part for part in parts[1:] if isinstance(part, str)), "")
    return Text(frozenset(compiler.references), is_constant, prefix, next_literal, tuple(parts))


class _Part(NamedTuple):
    """A compiled part of a template: a constant, or what builds the value; `path` if it is nothing but a path."""

    value: Any
    build: Build | None = None
    path: Expression | None = None


class _Compiler:
    """Collects the faults and the references of one value."""

    def __init__(self) -> None:
        self.references: set[tuple[str, ...]] = set()
        self._faults: list[TemplateFault] = []

    def check(self) -> None:
        if self._faults:
            raise TemplateError(tuple(self._faults))

    def part(self, value: Any, pointer: str, depth: int) -> _Part:
        if isinstance(value, str):
            return self._string(value, pointer, depth)
        if not isinstance(value, dict | list):
            return _Part(value)
        if depth == JSON_DEPTH_MAX:
            self._faults.append(TemplateFault(pointer, f"nested deeper than {JSON_DEPTH_MAX}"))
            return _Part(None)
        if isinstance(value, list):
            return _list(
                [self.part(element, pointer + pointer_of((index,)), depth + 1) for index, element in enumerate(value)]
            )
        return _map(
            {key: self.part(element, pointer + pointer_of((key,)), depth + 1) for key, element in value.items()}
        )

    def _string(self, text: str, pointer: str, depth: int) -> _Part:
        parts = tuple(self.parts(text, pointer))
        match parts:
            case ():
                return _Part("")
            case (str(constant),):
                return _Part(constant)
            case (Expression() as expression,):
                build = _whole(expression, depth)
                return _Part(None, build, expression if expression.is_path else None)
        return _Part(None, _interpolated(parts))

    def parts(self, text: str, pointer: str) -> list[str | Expression]:
        """Literal texts and expressions in turn; text that cannot be told apart from an expression ends the search."""
        parts: list[str | Expression] = []
        literal, position = "", 0
        while (start := text.find(_OPENING, position)) >= 0:
            if start > position and text[start - 1] == "$":
                literal += text[position : start - 1] + _OPENING
                position = start + len(_OPENING)
                continue
            literal += text[position:start]
            if literal:
                parts.append(literal)
            literal = ""
            source = text[start + len(_OPENING) : start + len(_OPENING) + LENGTH_MAX + 1]
            try:
                position = start + len(_OPENING) + _end(source) + 1
            except ExpressionError as error:
                self._faults.append(TemplateFault(pointer, error.within(source).message))
                return parts
            self._add(parts, source[: position - start - len(_OPENING) - 1], pointer)
        if literal := literal + text[position:]:
            parts.append(literal)
        return parts

    def _add(self, parts: list[str | Expression], source: str, pointer: str) -> None:
        try:
            expression = compile_expression(source)
        except ExpressionError as error:
            self._faults.append(TemplateFault(pointer, error.message))
        else:
            self.references |= expression.references
            parts.append(expression)


def _end(source: str) -> int:
    """Where the expression that `source` begins with is closed."""
    try:
        return tokenize(source, until_brace=True)[1]
    except ExpressionError as error:
        if len(source) > LENGTH_MAX and error.position == len(source):
            raise ExpressionError("limit.length", f"an expression has at most {LENGTH_MAX} characters", 0) from None
        raise


def _list(parts: list[_Part]) -> _Part:
    if all(part.build is None for part in parts):
        return _Part([part.value for part in parts])
    return _Part(
        None,
        lambda scope, meter: [part.value if part.build is None else part.build(scope, meter) for part in parts],
    )


def _map(parts: dict[str, _Part]) -> _Part:
    if all(part.build is None for part in parts.values()):
        return _Part({key: part.value for key, part in parts.items()})
    return _Part(
        None,
        lambda scope, meter: {
            key: part.value if part.build is None else part.build(scope, meter) for key, part in parts.items()
        },
    )


def _whole(expression: Expression, depth: int) -> Build:
    def build(scope: Mapping[str, Any], meter: Meter) -> Any:
        return _finished(expression.evaluate(scope, meter.budget), expression, meter, depth)

    return build


def _finished(value: Any, expression: Expression, meter: Meter, depth: int) -> Any:
    try:
        return plain(value, meter, depth)
    except ExpressionError as error:
        error.within(expression.source)
        raise


def _interpolated(parts: tuple[str | Expression, ...]) -> Build:
    return lambda scope, meter: _rendered(parts, scope, meter, None)


def _rendered(
    parts: tuple[str | Expression, ...], scope: Mapping[str, Any], meter: Meter, escape: Escape | None
) -> str:
    pieces: list[str] = []
    for part in parts:
        if isinstance(part, str):
            pieces.append(part)
            continue
        value = part.evaluate(scope, meter.budget)
        try:
            piece = text_of(value, meter.budget)
            if escape is not None:
                pieces = ["".join(pieces)]
                meter.budget.charge(len(pieces[0]) // CHARACTERS_PER_STEP)
                piece = escape(pieces[0], piece)
            meter.add(len(piece))
        except ExpressionError as error:
            error.within(part.source)
            raise
        pieces.append(piece)
    return "".join(pieces)
