"""The style of the house as a test: sizes, names, comments, and one home for each technology."""

import ast
import io
import os
import re
import tokenize
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
HIDDEN_BUT_OURS = {".ci", ".github", ".gitignore", ".dockerignore"}
GENERATED = {"__pycache__", "dist", "build"}

# Rule -> the places it spares, each as a report begins ("understudy/cli/watch.py" or "…/watch.py:12"). It only shrinks.
EXCEPTIONS: dict[str, frozenset[str]] = {}
EXCEPTIONS_MAX = 0

MODULE_LINES_MAX = {"understudy": 400, "tests": 600, "bench": 600}
FUNCTION_LINES_MAX = 60
METHOD_LINES_WITHOUT_DOCSTRING_MAX = 15

BANNED_WORDS = {"manager", "managers", "helper", "helpers", "util", "utils", "common", "misc", "base", "data", "info"}
NAMES_OF_OTHERS = {"data_received"}  # asyncio calls it

NARRATION = re.compile(r"\b(no longer|previously|now uses)\b|\bnew:", re.IGNORECASE)
MARKERS = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" * 3, "HA" + "CK")) + r")\b")
MACHINE_PATH = re.compile(r"(?<![\w.}\])-])/(" + "|".join(("ro" + "ot", "ho" + "me", "wo" + "rk")) + r")(?![\w-])")
REGISTRY_HOSTS = re.compile(
    "|".join(
        re.escape(".".join(host))
        for host in (
            ("pypi", "org"),
            ("pythonhosted", "org"),
            ("npmjs", "org"),
            ("proxy", "golang", "org"),
            ("crates", "io"),
            ("rubygems", "org"),
            ("deb", "debian", "org"),
        )
    )
)

# Imported name -> the folders and files of understudy/ that may use it; an empty tuple stands for none.
HOMES: dict[str, tuple[str, ...]] = {
    "pykka": ("actors/loop.py",),
    "asyncpg": ("persistence/",),
    "redis": ("persistence/",),
    "aio_pika": ("runtime/rabbit.py",),
    # Nodes live at private addresses, which the guarded client of the executors refuses: peers.py has one of its own.
    "aiohttp": ("executors/egress.py", "runtime/peers.py", "http/", "cli/"),
    "aiohttp.ClientSession": ("executors/egress.py", "runtime/peers.py", "cli/"),
    "aiohttp.request": (),
    "aiohttp.web": ("http/", "cli/"),
}
# Each holds its tasks and ends them itself: the crew of a stage, lanes that no cancellation may cut, rooms off stage.
TASK_HOMES = ("actors/crew.py", "persistence/committer.py", "embedded/", "cli/")


class Module(NamedTuple):
    """A Python file: its path from the root, its source and its tree."""

    path: str
    source: str
    tree: ast.Module


class Named(NamedTuple):
    """A function or class and whether it stands in a class."""

    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    is_member: bool

    @property
    def lines(self) -> int:
        return (self.node.end_lineno or self.node.lineno) - self.node.lineno + 1

    @property
    def is_public(self) -> bool:
        return not self.node.name.startswith("_")


@cache
def files() -> tuple[str, ...]:
    """Every file of the project; what tools leave behind is hidden or generated."""

    def is_ours(name: str) -> bool:
        return name in HIDDEN_BUT_OURS or not (name.startswith(".") or name in GENERATED or name.endswith(".egg-info"))

    found: list[str] = []
    for folder, subfolders, names in os.walk(ROOT):
        subfolders[:] = filter(is_ours, subfolders)
        found += [Path(folder, name).relative_to(ROOT).as_posix() for name in names if is_ours(name)]
    return tuple(sorted(found))


@cache
def modules(*folders: str) -> tuple[Module, ...]:
    """The Python files of these folders, or of all that have sizes."""
    chosen = tuple(f"{folder}/" for folder in folders or MODULE_LINES_MAX)
    sources = {path: (ROOT / path).read_text(encoding="utf-8") for path in files() if path.endswith(".py")}
    return tuple(Module(path, text, ast.parse(text)) for path, text in sources.items() if path.startswith(chosen))


@cache
def texts() -> tuple[tuple[str, str], ...]:
    """The text files of the project."""
    found: list[tuple[str, str]] = []
    for path in files():
        try:
            found.append((path, (ROOT / path).read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            continue
    return tuple(found)


def named_in(tree: ast.AST, *, is_member: bool = False) -> Iterator[Named]:
    """Every function and class below a node."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield Named(child, is_member)
        yield from named_in(child, is_member=isinstance(child, ast.ClassDef))


def dotted(node: ast.AST) -> str:
    """The source of a name or attribute such as `asyncio.sleep`, empty for anything else."""
    return ast.unparse(node) if isinstance(node, ast.Name | ast.Attribute) else ""


def used_in(module: Module) -> Iterator[tuple[int, str]]:
    """Every imported name in full and every attribute of one, with its line, whatever the file calls it."""
    imported: dict[str, str] = {}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            source = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            for alias in node.names:
                name, bound = source + alias.name, alias.asname or alias.name.partition(".")[0]
                yield node.lineno, name
                imported[bound] = name if source or alias.asname else bound
    for node in ast.walk(module.tree):
        first, _, rest = dotted(node).partition(".")
        if rest and first in imported:
            yield node.lineno, f"{imported[first]}.{rest}"  # type: ignore[attr-defined] # a name has a line


def words_of(name: str) -> set[str]:
    """The words of a name in snake or camel case, in lower case."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def matches(pattern: re.Pattern[str], path: str, text: str) -> Iterator[str]:
    """`path:line: text` for each line in which the pattern occurs."""
    for number, line in enumerate(text.splitlines(), 1):
        if pattern.search(line):
            yield f"{path}:{number}: {line.strip()[:100]}"


def check(rule: str, faults: Iterable[str]) -> None:
    """Fail with one line for each fault that is not excepted and for each exception that is not needed."""
    spared, found = EXCEPTIONS.get(rule, frozenset()), list(faults)
    lines = [fault for fault in found if not fault.startswith(tuple(spared))]
    lines += [
        f"{place}: the exception is not needed" for place in spared if not any(f.startswith(place) for f in found)
    ]
    if lines:
        pytest.fail(f"{rule}:\n  " + "\n  ".join(sorted(lines)), pytrace=False)


def test_exceptions_only_shrink() -> None:
    assert sum(map(len, EXCEPTIONS.values())) <= EXCEPTIONS_MAX


def test_the_rules_see_the_project() -> None:
    paths = {module.path for module in modules()}
    assert {"understudy/actors/loop.py", "tests/test_tidy.py"} <= paths
    assert "pyproject.toml" in files()
    assert not any(path.startswith("understudy/sql/") for path in files())


def test_modules_are_short() -> None:
    check(
        "A module reads in one sitting",
        (
            f"{module.path}: {lines} lines, at most {MODULE_LINES_MAX[folder]}"
            for module in modules()
            if (lines := module.source.count("\n")) > MODULE_LINES_MAX[folder := module.path.split("/")[0]]
        ),
    )


def test_functions_are_short() -> None:
    check(
        f"A function has at most {FUNCTION_LINES_MAX} lines",
        (
            f"{module.path}:{named.node.lineno}: {named.node.name} has {named.lines}"
            for module in modules()
            for named in named_in(module.tree)
            if not isinstance(named.node, ast.ClassDef) and named.lines > FUNCTION_LINES_MAX
        ),
    )


def test_names_say_something() -> None:
    places = [(f"{path}:1", Path(path).stem) for path in files() if path.startswith(("understudy/", "tests/"))]
    places += [(f"{path}:1", Path(path).parent.name) for path in files() if path.startswith(("understudy/", "tests/"))]
    places += [
        (f"{module.path}:{named.node.lineno}", named.node.name)
        for module in modules()
        for named in named_in(module.tree)
        if named.node.name not in NAMES_OF_OTHERS and not is_protocol(named.node) and not is_test(named.node)
    ]
    check(
        "A name does not hide behind a word that fits everything",
        {f"{place}: {name}" for place, name in places if words_of(name) & BANNED_WORDS},
    )


def is_test(node: ast.AST) -> bool:
    """Names of tests are sentences."""
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")


def is_protocol(node: ast.AST) -> bool:
    return isinstance(node, ast.ClassDef) and any("Protocol" in ast.unparse(parent) for parent in node.bases)


def test_comments_do_not_narrate() -> None:
    def faults() -> Iterator[str]:
        for module in modules():
            for token in tokenize.generate_tokens(io.StringIO(module.source).readline):
                if token.type == tokenize.COMMENT and NARRATION.search(token.string):
                    yield f"{module.path}:{token.start[0]}: {token.string}"
        for path, text in texts():
            if path.endswith(".sql"):
                yield from matches(re.compile(rf"--.*({NARRATION.pattern})", re.IGNORECASE), path, text)

    check("A comment says why, not what changed", faults())


def test_no_marker_is_left() -> None:
    check("Nothing is left for later", (fault for path, text in texts() for fault in matches(MARKERS, path, text)))


def test_nothing_is_left_out() -> None:
    left_out = {
        "pytest.skip",
        "pytest.xfail",
        "pytest.importorskip",
        "unittest.skip",
        "unittest.skipIf",
        "unittest.mock",
    }
    left_out |= {f"pytest.mark.{name}" for name in ("skip", "skipif", "xfail")}
    check(
        "Every test runs and every function is written",
        [f"{m.path}:{line}: {name}" for m in modules() for line, name in used_in(m) if name in left_out]
        + [
            f"{m.path}:{node.lineno}: {node.id}"
            for m in modules()
            for node in ast.walk(m.tree)
            if isinstance(node, ast.Name) and node.id == "NotImplementedError"
        ],
    )


def test_tests_do_not_sleep() -> None:
    check(
        "A test waits for a signal",
        (
            f"{module.path}:{line}: {name}"
            for module in modules("tests")
            for line, name in used_in(module)
            if name in {"asyncio.sleep", "time.sleep"}
        ),
    )


def test_tasks_have_an_owner() -> None:
    check(
        "A task is started by a TaskGroup or through Stage.spawn",
        (
            f"{module.path}:{node.lineno}: {ast.unparse(node)}"
            for module in modules("understudy")
            if not module.path.removeprefix("understudy/").startswith(TASK_HOMES)
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Attribute) and node.attr in {"create_task", "ensure_future"}
            if not dotted(node.value).endswith("group")
        ),
    )


def test_each_technology_has_one_home() -> None:
    def faults() -> Iterator[str]:
        for module in modules("understudy"):
            room = module.path.removeprefix("understudy/")
            for line, name in used_in(module):
                for technology, homes in HOMES.items():
                    if f"{name}.".startswith(f"{technology}.") and not room.startswith(homes or "/"):
                        yield f"{module.path}:{line}: {name}"

    check("Each technology has one home", set(faults()))


def test_what_is_public_is_described() -> None:
    check(
        "Public functions and classes, and methods that are not short, have a docstring",
        (
            f"{module.path}:{named.node.lineno}: {named.node.name}"
            for module in modules("understudy")
            for named in named_in(module.tree)
            if named.is_public and (named.node in module.tree.body or named.is_member)
            if not named.is_member or named.lines > METHOD_LINES_WITHOUT_DOCSTRING_MAX
            if ast.get_docstring(named.node) is None
        ),
    )


def test_packages_are_no_facades() -> None:
    check(
        "An __init__.py is empty or holds prose",
        (
            f"{module.path}:{statement.lineno}: {ast.unparse(statement)[:80]}"
            for module in modules("understudy")
            if module.path.endswith("/__init__.py")
            for statement in module.tree.body[1 if ast.get_docstring(module.tree) else 0 :]
        ),
    )


def test_nothing_names_a_machine() -> None:
    check(
        "No path of somebody's machine and no host of a package registry",
        (
            fault
            for path, text in texts()
            for pattern in (MACHINE_PATH, REGISTRY_HOSTS)
            for fault in matches(pattern, path, text)
        ),
    )


def test_every_query_has_a_name() -> None:
    header = re.compile(r"^-- name: *(\w+)\([\w, ]*\) *$")
    taken: dict[str, str] = {}

    def faults() -> Iterator[str]:
        for path, text in texts():
            if not path.startswith("sql/queries/") or not path.endswith(".sql"):
                continue
            lines = text.splitlines()
            starts = [number for number, line in enumerate(lines) if header.match(line)]
            if any(code_of(line) for line in lines[: starts[0] if starts else None]):
                yield f"{path}:1: a statement without `-- name: …(…)`"
            for start, end in pairwise([*starts, len(lines)]):
                name = header.sub(r"\1", lines[start])
                code = " ".join(filter(None, map(code_of, lines[start:end]))).rstrip("; ")
                if name in taken:
                    yield f"{path}:{start + 1}: {name} is in {taken[name]} too"
                taken[name] = path
                if not code or ";" in code:
                    yield f"{path}:{start + 1}: {name} is not one statement"
                if re.match(r"(BEGIN|COMMIT|ROLLBACK|SAVEPOINT)\b", code, re.IGNORECASE):
                    yield f"{path}:{start + 1}: {name} decides about a transaction, which is its caller's"

    check("Every query is one statement with a name of its own", faults())


def code_of(line: str) -> str:
    return line.split("--", maxsplit=1)[0].strip()


def test_sql_stands_in_sql_files() -> None:
    statement = re.compile(r"\s*(SELECT\s|INSERT\s+INTO\s|UPDATE\s+\w+\s+SET\s|DELETE\s+FROM\s|WITH\s+\w+\s+AS\s)")
    check(
        "SQL stands in sql/, where each query is named and prepared by a test",
        (
            f"{module.path}:{node.lineno}: {node.value.strip()[:60]!r}"
            for module in modules("understudy")
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and statement.match(node.value)
        ),
    )
