"""How much work a schema makes: the validator itself has no bound, and a few references can ask it for centuries.

Without references and `unevaluated…` a schema costs at most its size times the size of the value. With them one part
may be applied to one value over and over, and calls nest: such schemas are first walked here, with a budget.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import unquote

REFERENCES_MAX = 500
STEPS_MAX = 50_000
STEPS_PER_VALUE_MAX = 4
NESTING_MAX = 500

_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_UNEVALUATED = frozenset({"unevaluatedItems", "unevaluatedProperties"})
_HERE = frozenset({"not", "if", "then", "else"})
_HERE_LISTS = frozenset({"allOf", "anyOf", "oneOf"})
_HERE_MAPS = frozenset({"dependentSchemas", "dependencies"})
_MEMBERS = frozenset({"additionalProperties", "unevaluatedProperties"})
_ELEMENTS = frozenset({"items", "contains", "additionalItems", "unevaluatedItems"})
_SINGLE = _HERE | _MEMBERS | _ELEMENTS | {"propertyNames", "contentSchema"}
_LISTS = _HERE_LISTS | {"prefixItems"}
_MAPS = _HERE_MAPS | {"properties", "patternProperties", "$defs", "definitions"}


class Keyword(NamedTuple):
    """One keyword of a schema: the path to its argument, and the argument."""

    path: tuple[str | int, ...]
    argument: Any

    @property
    def name(self) -> str | int:
        """The keyword itself."""
        return self.path[-1]


class SchemaCost:
    """The keywords of a schema, and what checking a value by it would take."""

    def __init__(self, schema: dict[str, Any] | bool) -> None:
        self._root = schema
        self.keywords = tuple(_keywords(schema))
        self._size = count_values(schema)
        self._anchors = {
            keyword.argument: _at(schema, keyword.path[:-1])
            for keyword in self.keywords
            if keyword.name in ("$anchor", "$dynamicAnchor") and isinstance(keyword.argument, str)
        }
        self._is_bounded = not any(
            keyword.name in _REFERENCES or keyword.name in _UNEVALUATED for keyword in self.keywords
        )

    @property
    def references(self) -> list[Keyword]:
        """The keywords that point at another schema."""
        return [keyword for keyword in self.keywords if keyword.name in _REFERENCES]

    def work(self, value: object) -> int:
        """The product of both sizes."""
        return self._size * count_values(value)

    def is_excessive(self, value: object) -> bool:
        """Whether checking `value` would take too many steps, or nest too deep for the stack."""
        if self._is_bounded:
            return False
        steps_left = STEPS_MAX + STEPS_PER_VALUE_MAX * count_values(value)
        visits: list[tuple[Any, Any, int, int]] = [(self._root, value, 1, 0)]
        while visits:
            schema, current, weight, nesting = visits.pop()
            if not isinstance(schema, dict):
                continue
            # Each `unevaluated…` has the validator look at everything below it once more.
            weight <<= len(_UNEVALUATED & schema.keys())
            before = len(visits)
            visits.extend((part, member, weight, nesting + 1) for part, member in self._applied(schema, current))
            steps_left -= weight * (1 + len(visits) - before)
            if steps_left < 0 or nesting > NESTING_MAX:
                return True
        return False

    def _applied(self, schema: dict[str, Any], value: Any) -> Iterator[tuple[Any, Any]]:
        """The subschemas that one step applies, each with its part of the value; rather too many than too few."""
        members = value.values() if isinstance(value, dict) else ()
        elements = value if isinstance(value, list) else ()
        for keyword, argument in schema.items():
            if keyword in _HERE:
                yield argument, value
            elif keyword in _REFERENCES and isinstance(argument, str):
                yield self._target(argument), value
            elif keyword in _HERE_LISTS and isinstance(argument, list):
                yield from ((part, value) for part in argument)
            elif keyword in _HERE_MAPS and isinstance(argument, dict):
                yield from ((part, value) for part in argument.values())
            elif keyword in _MEMBERS:
                yield from ((argument, member) for member in members)
            elif keyword in _ELEMENTS:
                yield from ((argument, element) for element in elements)
            elif keyword == "prefixItems" and isinstance(argument, list):
                yield from zip(argument, elements, strict=False)
            elif keyword == "properties" and isinstance(argument, dict) and isinstance(value, dict):
                yield from ((part, value[name]) for name, part in argument.items() if name in value)
            elif keyword == "patternProperties" and isinstance(argument, dict):
                yield from ((part, member) for part in argument.values() for member in members)
            elif keyword == "propertyNames" and isinstance(value, dict):
                yield from ((argument, name) for name in value)

    def _target(self, reference: str) -> Any:
        fragment = unquote(reference[1:])
        if fragment and not fragment.startswith("/"):
            return self._anchors.get(fragment)
        keys = [key.replace("~1", "/").replace("~0", "~") for key in fragment.split("/")[1:]]
        return _at(self._root, keys)


def count_values(value: object) -> int:
    """The number of values in a JSON value, itself included."""
    if isinstance(value, dict):
        return 1 + sum(map(count_values, value.values()))
    if isinstance(value, list):
        return 1 + sum(map(count_values, value))
    return 1


def _keywords(schema: object, path: tuple[str | int, ...] = ()) -> Iterator[Keyword]:
    """Every keyword of every subschema; not the data in `const`, `enum`, `default` and `examples`."""
    if not isinstance(schema, dict):
        return
    for name, argument in schema.items():
        here = (*path, name)
        yield Keyword(here, argument)
        if name in _SINGLE:
            yield from _keywords(argument, here)
        elif name in _LISTS and isinstance(argument, list):
            for index, part in enumerate(argument):
                yield from _keywords(part, (*here, index))
        elif name in _MAPS and isinstance(argument, dict):
            for key, part in argument.items():
                yield from _keywords(part, (*here, key))


def _at(value: Any, keys: Any) -> Any:
    for key in keys:
        if isinstance(value, list):
            index = int(key) if str(key).isdecimal() else len(value)
            value = value[index] if index < len(value) else None
        else:
            value = value.get(key) if isinstance(value, dict) else None
    return value
