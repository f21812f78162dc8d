"""The statements of `sql/queries/*.sql`, by name.

A statement begins with `-- name: claim(session_id, process_ids)`; `$1`, `$2`, ... stand for the declared parameters in
this order, and it ends where the next one begins.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files

from msgspec import Struct

_HEADER = re.compile(r"^-- name: *(?P<name>\w+)\((?P<parameters>[\w, ]*)\) *$", re.MULTILINE)
_PLACEHOLDER = re.compile(r"\$(\d+)")


class QueryError(Exception):
    """A file of statements does not hold together."""


class Statement(Struct, frozen=True):
    """A named statement and the names of its parameters in their order."""

    text: str
    parameters: tuple[str, ...]


class Queries(Mapping[str, str]):
    """The text of each statement by its name; `parameters` tells what a statement takes."""

    def __init__(self, statements: Mapping[str, Statement]) -> None:
        self._statements = dict(statements)

    def __getitem__(self, name: str) -> str:
        return self._statements[name].text

    def __iter__(self) -> Iterator[str]:
        return iter(self._statements)

    def __len__(self) -> int:
        return len(self._statements)

    def parameters(self, name: str) -> tuple[str, ...]:
        """The declared parameters of a statement."""
        return self._statements[name].parameters


@cache
def load_queries() -> Queries:
    """Read every statement that ships with the package.

    Raises:
        QueryError: a file is malformed, or a name is taken twice.
    """
    statements: dict[str, Statement] = {}
    for file in sorted(files("understudy").joinpath("sql/queries").iterdir(), key=lambda entry: entry.name):
        if not file.name.endswith(".sql"):
            continue
        for name, statement in parse(file.read_text(encoding="utf-8"), file.name).items():
            if name in statements:
                raise QueryError(f"{file.name}: the name {name} is taken")
            statements[name] = statement
    return Queries(statements)


def parse(source: str, origin: str) -> dict[str, Statement]:
    """Split a file into its statements; `origin` names the file in errors.

    Raises:
        QueryError: the file has text before its first header, a repeated name, or placeholders that do not match
            the declared parameters.
    """
    headers = list(_HEADER.finditer(source))
    if _without_comments(source[: headers[0].start()] if headers else source):
        raise QueryError(f"{origin}: a statement has no '-- name: ...(...)' line")
    ends = [header.start() for header in headers[1:]] + [len(source)]
    statements: dict[str, Statement] = {}
    for header, end in zip(headers, ends, strict=True):
        name, text = header["name"], source[header.end() : end].strip().rstrip(";").rstrip()
        parameters = tuple(part.strip() for part in header["parameters"].split(",") if part.strip())
        if name in statements:
            raise QueryError(f"{origin}: the name {name} is taken")
        used = {int(number) for number in _PLACEHOLDER.findall(_without_comments(text))}
        if used != set(range(1, len(parameters) + 1)):
            raise QueryError(f"{origin}: {name} declares {len(parameters)} parameters and uses {sorted(used)}")
        statements[name] = Statement(text, parameters)
    return statements


def _without_comments(text: str) -> str:
    return re.sub(r"--[^\n]*", "", text).strip()
