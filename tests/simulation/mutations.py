"""Guards that can be taken out, one or several at a time, to see that the simulation misses them.

Those of SQL are conditions of the model's statements (`Postgres.has`); the others are taken out of one node's objects.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from tests.simulation.cluster import Program
from tests.simulation.faults import Odds
from tests.simulation.nemesis import Profile
from tests.simulation.run import Settings
from tests.simulation.seeds import settings_of
from tests.simulation.target import TargetOdds
from tests.simulation.workload import DEFINITIONS
from understudy.domain.ports import Change, Receipt, Verdict
from understudy.domain.views import OutboxRow

Mutation = Callable[[Program], None] | None
"""What to do to a node before it starts; None for a condition of a statement, which bears the same name."""


def ack_early(program: Program) -> None:
    """Acknowledge a delivery as soon as it arrives."""
    program.carrier.acks_early = True


def permit_always(program: Program) -> None:
    """Start effects whether the lease holds or not."""

    async def permit() -> None:
        """Permit."""

    program.node.ownership.permit = permit  # type: ignore[method-assign] # this is what a mutation does


def forget_the_unknown(program: Program) -> None:
    """Take a request whose answer was lost for one that failed."""
    program.http.forgets_the_unknown = True


def act_before_the_commit(program: Program) -> None:
    """Believe a change before the database has it."""
    journal, commit = program.journal, program.journal.commit
    under_way: dict[UUID, asyncio.Task[Receipt]] = {}

    async def believe(change: Change) -> Receipt:
        earlier = under_way.get(change.after.process_id)
        if earlier is not None:
            # An actor still has one transition outstanding at most.
            await asyncio.wait([earlier])
        task = asyncio.get_running_loop().create_task(commit(change))
        under_way[change.after.process_id] = task
        return Receipt(Verdict.APPLIED)

    journal.commit = believe  # type: ignore[method-assign] # this is what a mutation does


def never_take_over(program: Program) -> None:
    """Watch nobody die."""

    async def run() -> None:
        await asyncio.get_running_loop().create_future()

    program.node.takeover.run = run  # type: ignore[method-assign] # this is what a mutation does


def delete_before_announcing(program: Program) -> None:
    """Forget outbox rows when they are read."""
    outbox, pending = program.outbox, program.outbox.pending

    async def take(*arguments: Any) -> list[OutboxRow]:
        rows = await pending(*arguments)
        await outbox.delete(rows)
        return rows

    outbox.pending = take  # type: ignore[method-assign] # this is what a mutation does


MUTATIONS: dict[str, Mutation] = {
    "epoch": None,
    "claim token": None,
    "version": None,
    "last_batch": None,
    "claim over the dead only": None,
    "claimant alive": None,
    "death by compare-and-set": None,
    "audit": None,
    "ready sweep": None,
    "sweep for the new": None,
    "pending sweep": None,
    "undelivered sweep": None,
    "scanner": None,
    "a new wait looks at kept events": None,
    "kept events are looked for again": None,
    "ack after commit": ack_early,
    "lease permit": permit_always,
    "unknown outcome keeps the key": forget_the_unknown,
    "effects after the commit": act_before_the_commit,
    "takeover": never_take_over,
    "announce, then delete": delete_before_announcing,
}


class Case(Struct, frozen=True):
    """A guard, those that hide its absence, and the kind of run in which it is missed.

    Without the masks alone all is well; without the guard as well it is not, at `seed` and in many that follow.
    """

    guard: str
    masks: tuple[str, ...] = ()
    hunt: str = "swarm"
    seed: int = 1


SLOW_DEATHS = Profile(postgres=Odds(slow=0.2), actions=("kill",), gap_seconds=0.7)

HUNTS: dict[str, Profile | None] = {
    "swarm": None,
    "zombies": Profile(
        postgres=Odds(slow=0.05, unanswered=0.02),
        target=TargetOdds(refuse=0.1),
        actions=("pause", "cut postgres"),
        gap_seconds=0.7,
    ),
    "failovers": Profile(
        postgres=Odds(slow=0.1), actions=("travel back",) * 3 + ("pause", "cut postgres"), gap_seconds=0.35
    ),
    "slow database": Profile(postgres=Odds(slow=0.2), actions=("cut postgres", "pause"), gap_seconds=1.0),
    "lost replies": Profile(postgres=Odds(unanswered=0.1, lost=0.05), actions=("kill",), gap_seconds=1.5),
    "slow deaths": SLOW_DEATHS,
    "early events": SLOW_DEATHS,
    "lost leases": Profile(postgres=Odds(slow=0.05), actions=("cut redis", "stop redis", "pause"), gap_seconds=1.0),
}

CASES = (
    Case("epoch", ("claim token",), "zombies"),
    Case("claim token", (), "failovers", seed=16),
    Case("version", (), "failovers"),
    Case("last_batch", (), "zombies"),
    Case("ack after commit", ("sweep for the new",), "slow deaths"),
    Case("audit", (), "lost replies"),
    Case("claim over the dead only", (), "swarm"),
    Case("claimant alive", (), "zombies"),
    Case("death by compare-and-set", (), "slow database"),
    Case("ready sweep", (), "swarm"),
    Case("pending sweep", (), "swarm"),
    Case("undelivered sweep", (), "lost replies"),
    Case("scanner", (), "swarm"),
    Case("a new wait looks at kept events", (), "swarm"),
    Case("kept events are looked for again", (), "early events"),
    Case("lease permit", (), "lost leases"),
    Case("unknown outcome keeps the key", (), "swarm"),
    Case("effects after the commit", (), "swarm"),
    Case("takeover", (), "swarm"),
    Case("announce, then delete", (), "swarm"),
)


def run_of(case: Case, seed: int) -> Settings:
    """The run in which a guard is looked for."""
    profile = HUNTS[case.hunt]
    if profile is None:
        return settings_of(seed)
    return Settings(profile=profile, definitions=("payment",) if case.hunt == "early events" else tuple(DEFINITIONS))


def mutated(settings: Settings, names: Sequence[str]) -> Settings:
    """The same run without some guards."""
    changes = [change for change in map(MUTATIONS.__getitem__, names) if change is not None]

    def mutate(program: Program) -> None:
        for change in changes:
            change(program)

    return replace(settings, removed=frozenset(names), mutate=mutate)
