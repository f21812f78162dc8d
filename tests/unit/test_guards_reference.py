"""The reference of guards and failure cases names tests that exist, and every case."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "reference" / "guards.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT)))
ROWS = re.findall(r"^\| F(\d+) \| [^|]+ \| (.+) \|$", TEXT, re.MULTILINE)
CASES_MAX = 60


@cache
def functions_of(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, kinds))


def simulated() -> set[str]:
    """The guards that the simulation can take out one by one."""
    tree = ast.parse((ROOT / "tests" / "simulation" / "mutations.py").read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "Case"]
    return {ast.literal_eval(call.args[0]) for call in calls}


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_a_test_that_is_named_exists(path: str, name: str) -> None:
    assert name in functions_of(path)


def test_no_test_is_named_in_another_form() -> None:
    assert TEXT.count("::") == len(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT))


def test_the_simulation_has_the_cases_that_are_named() -> None:
    named = set(re.findall(r"`simulation\[([^\]]+)\]`", TEXT)) - {"name"}
    assert named
    assert named <= simulated()


def test_every_failure_case_has_one_row_with_a_test_or_a_reason() -> None:
    assert [int(number) for number, _ in ROWS] == list(range(1, CASES_MAX + 1))
    assert [number for number, held_by in ROWS if "::" not in held_by and "no test" not in held_by] == []


def test_every_guard_says_what_would_miss_it() -> None:
    rows = [line.strip("| ").split(" | ") for line in TEXT.splitlines() if re.match(r"\| [^-F|]", line)]
    guards = [row for row in rows if len(row) == len(("guard", "against", "where", "held by", "misses it"))]
    assert len(guards) > CASES_MAX
    marks = re.compile(r"`unguarded`|`simulation\[|\*same\*|\*not tried\*|\*none\*|^misses it$")
    assert [row[0] for row in guards if not marks.search(row[4])] == []
