"""What an expression consists of, as the parser hands it to the compiler.

Chains of operators of one precedence, of `&&` or `||`, of `? :` and of names are flat: a long chain is wide, not deep.
"""

from typing import Any, TypeAlias

from msgspec import Struct


class Literal(Struct, frozen=True):
    """A number, a string, a boolean or null."""

    value: Any
    position: int


class Path(Struct, frozen=True):
    """A name followed by constant keys: `a.b["c"]`."""

    root: str
    keys: tuple[str, ...]
    position: int
    key_positions: tuple[int, ...]


class Select(Struct, frozen=True):
    """A constant key of a computed value: `f(x).key`."""

    target: "Node"
    key: str
    position: int


class Index(Struct, frozen=True):
    """`target[index]` with a computed index."""

    target: "Node"
    key: "Node"
    position: int


class Has(Struct, frozen=True):
    """`has(target.key)`."""

    target: "Node"
    key: str
    position: int


class Call(Struct, frozen=True):
    """`name(arguments)`, or `arguments[0].name(…)` when it is a method."""

    name: str
    arguments: tuple["Node", ...]
    is_method: bool
    position: int


class Macro(Struct, frozen=True):
    """`target.name(variable, …)`, its expressions evaluated for each element."""

    name: str
    target: "Node"
    variable: str
    bodies: tuple["Node", ...]
    position: int


class Unary(Struct, frozen=True):
    """`!` or `-`, written so many times."""

    operator: str
    times: int
    operand: "Node"
    position: int


class Chain(Struct, frozen=True):
    """`first op operand op operand …`, from left to right; each link is (operator, operand, position)."""

    first: "Node"
    links: tuple[tuple[str, "Node", int], ...]
    position: int


class Logic(Struct, frozen=True):
    """Operands joined by `&&` or by `||`."""

    operator: str
    operands: tuple["Node", ...]
    position: int


class Conditional(Struct, frozen=True):
    """`condition ? value : condition ? value : otherwise`."""

    branches: tuple[tuple["Node", "Node"], ...]
    otherwise: "Node"
    position: int


class ListOf(Struct, frozen=True):
    """`[element, …]`."""

    elements: tuple["Node", ...]
    position: int


class MapOf(Struct, frozen=True):
    """`{key: value, …}`."""

    entries: tuple[tuple["Node", "Node"], ...]
    position: int


Node: TypeAlias = (
    Literal | Path | Select | Index | Has | Call | Macro | Unary | Chain | Logic | Conditional | ListOf | MapOf
)
