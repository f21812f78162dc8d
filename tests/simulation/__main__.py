"""`python -m tests.simulation --seed S --runs N`: many seeds, what failed, and what happened in them."""

import argparse
import os
import sys
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import NamedTuple

from tests.simulation.checker import check
from tests.simulation.mutations import MUTATIONS, mutated
from tests.simulation.run import counters, simulate
from tests.simulation.seeds import settings_of


class Outcome(NamedTuple):
    """What came of one seed."""

    seed: int
    faults: list[str]
    counts: Counter[str]
    trace: int


def perform(seed: int, removed: tuple[str, ...] = ()) -> Outcome:
    """Run and judge one seed."""
    settings = settings_of(seed)
    if removed:
        settings = mutated(settings, removed)
    try:
        evidence = simulate(seed, settings)
    except Exception:  # noqa: BLE001 - a seed that breaks the loop has failed, and the others go on
        return Outcome(seed, [traceback.format_exc()], Counter(), 0)
    return Outcome(seed, check(evidence), counters(evidence), evidence.trace)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--runs", type=int, default=100, help="how many seeds")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--remove", action="append", default=[], choices=sorted(MUTATIONS), help="a guard to take out")
    parser.add_argument("--stop", action="store_true", help="stop at the first seed that fails")
    options = parser.parse_args()
    seeds = range(options.seed, options.seed + options.runs)
    total, failed = Counter[str](), 0
    with ProcessPoolExecutor(options.jobs) as pool:
        for number, outcome in enumerate(pool.map(partial(perform, removed=tuple(options.remove)), seeds), 1):
            total += outcome.counts
            if outcome.faults:
                failed += 1
                say(f"seed {outcome.seed} (trace {outcome.trace:08x}) failed:")
                for fault in outcome.faults[:12]:
                    say(f"  {fault}")
                if options.stop:
                    pool.shutdown(cancel_futures=True)
                    break
            elif number % 25 == 0:
                say(f"{number} of {options.runs} seeds, {failed} failed")
    for name, count in sorted(total.items()):
        say(f"{count:>9} {name}")
    say(f"{failed} of {options.runs} seeds failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
