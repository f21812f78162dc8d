"""Each guard is needed: without it, and without what hides its absence, the simulation finds a violation."""

import pytest

from tests.simulation.checker import check
from tests.simulation.mutations import CASES, MUTATIONS, Case, mutated, run_of
from tests.simulation.run import simulate

SEEDS_MAX = 500


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.guard)
def test_a_guard_that_is_taken_out_is_missed(case: Case) -> None:
    """The search begins at the seed that is known to show it and goes on when the program has changed its steps."""
    for seed in range(case.seed, case.seed + SEEDS_MAX):
        settings = run_of(case, seed)
        if not check(simulate(seed, mutated(settings, (*case.masks, case.guard)))):
            continue
        if not check(simulate(seed, mutated(settings, case.masks))):
            return
    pytest.fail(f"{SEEDS_MAX} seeds did not miss it")


def test_every_guard_has_a_case() -> None:
    hidden_only = {mask for case in CASES for mask in case.masks}
    assert {case.guard for case in CASES} | hidden_only == set(MUTATIONS)
