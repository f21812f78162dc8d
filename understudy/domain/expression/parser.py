from typing import Final

from msgspec.structs import replace

from understudy.domain.expression.errors import ExpressionError
from understudy.domain.expression.lexer import INT_MAX, LENGTH_MAX, Token, tokenize
from understudy.domain.expression.nodes import (
    Call,
    Chain,
    Conditional,
    Has,
    Index,
    ListOf,
    Literal,
    Logic,
    Macro,
    MapOf,
    Node,
    Path,
    Select,
    Unary,
)

DEPTH_MAX: Final = 50
NODES_MAX: Final = 500

MACROS: Final = {
    ("all", 2),
    ("exists", 2),
    ("exists_one", 2),
    ("filter", 2),
    ("map", 2),
    ("map", 3),
}
_LEVELS: Final = {
    "||": 1,
    "&&": 2,
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">=", "in"), 3),
    **dict.fromkeys(("+", "-"), 4),
    **dict.fromkeys(("*", "/", "%"), 5),
}
_RESERVED: Final = frozenset(
    {"as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package"}
    | {"namespace", "return", "var", "void", "while"}
)


def parse(source: str) -> Node:
    """The tree of an expression."""
    if len(source) > LENGTH_MAX:
        raise ExpressionError("limit.length", f"an expression has at most {LENGTH_MAX} characters")
    tokens, _ = tokenize(source)
    if tokens[0].kind == "end":
        raise ExpressionError("syntax", "the expression is empty", 0)
    return _Parser(tokens).whole()


class _Parser:
    """Recursive descent; only brackets recurse, so that the depth of the call stack is the depth of the brackets."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._index = 0
        self._depth = 0
        self._nodes = 0

    def whole(self) -> Node:
        node = self._expression()
        if self._current.kind != "end":
            raise self._unexpected()
        return node

    @property
    def _current(self) -> Token:
        return self._tokens[self._index]

    def _next(self) -> Token:
        token = self._tokens[self._index]
        self._index += 1
        return token

    def _at(self, operator: str) -> bool:
        token = self._tokens[self._index]
        return token.kind == "operator" and token.value == operator

    def _accept(self, operator: str) -> bool:
        if self._at(operator):
            self._index += 1
            return True
        return False

    def _expect(self, operator: str) -> None:
        if not self._accept(operator):
            raise self._unexpected(f"'{operator}'")

    def _unexpected(self, wanted: str | None = None) -> ExpressionError:
        token = self._current
        found = "the expression ends too early" if token.kind == "end" else f"unexpected {token.text[:40]}"
        reason = f"{found}: {wanted} is expected here" if wanted else found
        return ExpressionError("syntax", reason, token.position)

    def _count(self, position: int, nodes: int = 1) -> int:
        self._nodes += nodes
        if self._nodes > NODES_MAX:
            raise ExpressionError("limit.nodes", f"an expression has at most {NODES_MAX} parts", position)
        return position

    def _expression(self) -> Node:
        self._depth += 1
        position = self._current.position
        if self._depth > DEPTH_MAX:
            raise ExpressionError("limit.depth", f"an expression is nested at most {DEPTH_MAX} deep", position)
        node = self._operation()
        branches: list[tuple[Node, Node]] = []
        while self._at("?"):
            position = self._count(self._next().position)
            value = self._operation()
            self._expect(":")
            branches.append((node, value))
            node = self._operation()
        self._depth -= 1
        return Conditional(tuple(branches), node, position) if branches else node

    def _operation(self) -> Node:
        """Binary operators of all levels in one loop; `chains` are the open ones, each tighter than the one before."""
        chains: list[_OpenChain] = []
        while True:
            operand = self._unary()
            token = self._current
            level = _LEVELS.get(token.value, 0) if token.kind == "operator" else 0
            while chains and chains[-1].level > level:
                operand = chains.pop().closed(operand)
            if level == 0:
                return operand
            if not chains or chains[-1].level < level:
                chains.append(_OpenChain(level, operand))
            else:
                chains[-1].extend(operand)
            chains[-1].expect(token.value, self._count(token.position))
            self._next()

    def _unary(self) -> Node:
        for operator in ("!", "-"):
            if self._at(operator):
                position = self._current.position
                count = 0
                while self._accept(operator):
                    count += 1
                return self._negated(operator, count, self._count(position))
        return self._member(self._primary())

    def _negated(self, operator: str, count: int, position: int) -> Node:
        token = self._current
        if operator == "-" and token.kind == "int":
            # The minus belongs to the literal: the smallest integer has no positive counterpart.
            self._next()
            number: Node = Literal(-token.value, self._count(token.position))
            count -= 1
            operand = self._member(number)
        else:
            operand = self._member(self._primary())
        return Unary(operator, count, operand, position) if count else operand

    def _primary(self) -> Node:
        token = self._next()
        position = self._count(token.position)
        match token.kind:
            case "literal":
                return Literal(token.value, position)
            case "int":
                if token.value > INT_MAX:
                    raise ExpressionError("overflow", "the integer does not fit in 64 bits", position)
                return Literal(token.value, position)
            case "name":
                if token.value in _RESERVED:
                    raise ExpressionError("syntax", f"'{token.value}' is a reserved word", position)
                if self._accept("("):
                    return self._call(token.value, self._list(")"), position)
                return Path(token.value, (), position, ())
        match token.value:
            case "(":
                node = self._expression()
                self._expect(")")
                return node
            case "[":
                return ListOf(tuple(self._list("]")), position)
            case "{":
                return MapOf(tuple(self._entries()), position)
        self._index -= 1
        raise self._unexpected("a value")

    def _member(self, node: Node) -> Node:
        while True:
            if self._accept("."):
                token = self._next()
                if token.kind != "name":
                    self._index -= 1
                    raise self._unexpected("a name")
                position = self._count(token.position)
                if self._accept("("):
                    node = _method(token.value, node, self._list(")"), position)
                else:
                    node = _select(node, token.value, position)
            elif self._at("["):
                position = self._count(self._next().position)
                index = self._expression()
                self._expect("]")
                if isinstance(index, Literal) and isinstance(index.value, str):
                    node = _select(node, index.value, position)
                else:
                    node = Index(node, index, position)
            else:
                return node

    def _list(self, close: str) -> list[Node]:
        elements: list[Node] = []
        while not self._accept(close):
            elements.append(self._expression())
            if not self._at(close):
                self._expect(",")
                if close == ")" and self._at(close):
                    raise self._unexpected("a value")
        return elements

    def _entries(self) -> list[tuple[Node, Node]]:
        entries: list[tuple[Node, Node]] = []
        while not self._accept("}"):
            key = self._expression()
            self._expect(":")
            entries.append((key, self._expression()))
            if not self._at("}"):
                self._expect(",")
        return entries

    def _call(self, name: str, arguments: list[Node], position: int) -> Node:
        if name != "has":
            return Call(name, tuple(arguments), is_method=False, position=position)
        match arguments:
            case [Path(root, [*keys, key], start, positions)]:
                return Has(Path(root, tuple(keys), start, positions[:-1]), key, position)
            case [Select(target, key)]:
                return Has(target, key, position)
        raise ExpressionError("syntax", "has() takes one argument of the form value.key", position)


class _OpenChain:
    """Operands of one level whose last one is not known yet."""

    def __init__(self, level: int, first: Node) -> None:
        self.level = level
        self._first = first
        self._links: list[tuple[str, Node, int]] = []
        self._operator = ""
        self._position = 0

    def expect(self, operator: str, position: int) -> None:
        self._operator, self._position = operator, position

    def extend(self, operand: Node) -> None:
        self._links.append((self._operator, operand, self._position))

    def closed(self, operand: Node) -> Node:
        self.extend(operand)
        if self._operator in {"&&", "||"}:
            operands = (self._first, *(link[1] for link in self._links))
            return Logic(self._operator, operands, self._position)
        return Chain(self._first, tuple(self._links), self._position)


def _select(target: Node, key: str, position: int) -> Node:
    if isinstance(target, Path):
        return replace(target, keys=(*target.keys, key), key_positions=(*target.key_positions, position))
    return Select(target, key, position)


def _method(name: str, target: Node, arguments: list[Node], position: int) -> Node:
    if (name, len(arguments)) not in MACROS:
        return Call(name, (target, *arguments), is_method=True, position=position)
    match arguments:
        case [Path(variable, ()), *bodies]:
            return Macro(name, target, variable, tuple(bodies), position)
    raise ExpressionError("syntax", f"the first argument of {name}() is the name of the variable", position)
