"""The whole cluster under seeds; `make sim` runs as many as one likes."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.simulation.checker import check
from tests.simulation.nemesis import CALM
from tests.simulation.run import Settings, counters, simulate
from tests.simulation.seeds import settings_of

SEEDS = 25

EXERCISED = (
    "kills",
    "pauses",
    "stops",
    "sessions declared dead",
    "retracted",
    "postgres: unanswered",
    "postgres: slow",
    "broker: doubled",
    "broker: redelivered",
    "broker: returned",
    "target: repeated",
    "target: swallowed",
    "log: commit_refused fenced",
    "log: lease_forgotten",
    "log: orphans_found",
    "parked",
    "call: start info",
    "call: answer fail",
    "state: COMPLETED",
    "state: FAILED",
    "state: CANCELLED",
)
"""What a campaign must have seen, or it proves little."""


def test_every_invariant_holds_and_every_path_was_taken() -> None:
    """One test for all seeds: what they have seen together counts as well."""
    failed: list[str] = []
    total = Counter[str]()
    for seed in range(1, SEEDS + 1):
        evidence = simulate(seed, settings_of(seed))
        failed += [f"make sim SEED={seed} RUNS=1: {fault}" for fault in check(evidence)]
        total += counters(evidence)
    assert not failed, "\n".join(failed)
    assert [name for name in EXERCISED if not total[name]] == []


def test_without_faults_everything_ends_and_nothing_is_repeated() -> None:
    evidence = simulate(1, Settings(profile=CALM))
    total = counters(evidence)
    assert check(evidence) == []
    assert total["target: repeated"] == total["log: orphans_found"] == total["log: commit_refused"] == 0


@pytest.mark.parametrize("seed", [3, 10])
def test_a_seed_is_one_run(seed: int) -> None:
    first, second = (simulate(seed, settings_of(seed)) for _ in range(2))
    assert (first.trace, first.steps) == (second.trace, second.steps)
    assert counters(first) == counters(second)


def test_another_seed_is_another_run() -> None:
    assert simulate(1, settings_of(1)).trace != simulate(2, settings_of(1)).trace


def test_a_seed_is_one_run_whatever_the_hashes_of_texts_are() -> None:
    program = (
        "from tests.simulation.run import simulate\n"
        "from tests.simulation.seeds import settings_of\n"
        "print(simulate(4, settings_of(4)).trace)\n"
    )
    traces = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": hashes, "PATH": ""},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for hashes in ("1", "2")
    }
    assert len(traces) == 1
