"""What every journal promises: the fake one that unit and contract tests stand on, and the one on PostgreSQL."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol
from uuid import UUID

from msgspec.structs import replace

from tests.factories import T0, failure
from understudy.domain.evolution import evolve
from understudy.domain.facts import (
    ActivityCompleted,
    ActivityStarted,
    ActivityWaiting,
    AnyFact,
    ProcessCompleted,
    ProcessFailed,
    ProcessStarted,
    ProcessWaiting,
)
from understudy.domain.identity import execution_id
from understudy.domain.messages import CancelRequested, InboxMessage
from understudy.domain.ports import Change, Claimed, Consumed, Journal, Receipt, Verdict
from understudy.domain.state import Waiting
from understudy.domain.states import ActivityState, ProcessState


class Scene(Protocol):
    """A journal, and the means to set rows beside it."""

    @property
    def journal(self) -> Journal: ...

    async def session(self, state: str = "alive") -> UUID: ...

    async def process(self) -> UUID: ...

    async def inbox(self, process_id: UUID, message: InboxMessage) -> UUID: ...

    async def declare(self, session_id: UUID, state: str) -> None: ...

    def new_id(self) -> UUID: ...


Promise = Callable[[Scene], Awaitable[None]]
PROMISES: list[Promise] = []


def promise(test: Promise) -> Promise:
    PROMISES.append(test)
    return test


async def claim(scene: Scene, session_id: UUID, *process_ids: UUID) -> list[Claimed]:
    return await scene.journal.claim(session_id, {ident: scene.new_id() for ident in process_ids})


async def owned(scene: Scene) -> tuple[UUID, Claimed]:
    session_id = await scene.session()
    (claimed,) = await claim(scene, session_id, await scene.process())
    return session_id, claimed


def begun(claimed: Claimed) -> tuple[AnyFact, ...]:
    ident = execution_id(claimed.state.process_id, "a", 1)
    return (
        ProcessStarted(at=T0, origin=ProcessState.CREATED),
        ActivityStarted(
            at=T0,
            origin=ActivityState.PENDING,
            activity="a",
            execution_id=ident,
            attempt=1,
            activity_type="http",
            visit=1,
        ),
    )


def ended(claimed: Claimed) -> tuple[AnyFact, ...]:
    ident = execution_id(claimed.state.process_id, "a", 1)
    return (
        ActivityCompleted(
            at=T0, origin=ActivityState.RUNNING, activity="a", execution_id=ident, attempt=1, output={"n": 1.5}
        ),
        ProcessCompleted(at=T0, origin=ProcessState.IN_PROGRESS, output={"n": 1.5}),
    )


def waiting(claimed: Claimed) -> tuple[AnyFact, ...]:
    ident = execution_id(claimed.state.process_id, "a", 1)
    manual = Waiting("manual", T0, title="Well?")
    return (
        *begun(claimed),
        ActivityWaiting(
            at=T0, origin=ActivityState.RUNNING, activity="a", execution_id=ident, attempt=1, waiting=manual
        ),
        ProcessWaiting(at=T0, origin=ProcessState.IN_PROGRESS),
    )


def change(claimed: Claimed, facts: Sequence[AnyFact], version: int = 0, used: Sequence[Consumed] = ()) -> Change:
    """The change that facts make of what was claimed; `version` is how far the claimed one is off."""
    before = after = claimed.state
    for fact in facts:
        after = evolve(after, fact)
    return Change(claimed.tenure, claimed.version + version, before, after, tuple(facts), (), tuple(used))


def then(first: Change, facts: Sequence[AnyFact], used: Sequence[Consumed] = ()) -> Change:
    """The change that comes after another one."""
    after = first.after
    for fact in facts:
        after = evolve(after, fact)
    return Change(first.tenure, first.version + 1, first.after, after, tuple(facts), (), tuple(used))


async def commit(scene: Scene, change: Change) -> Verdict:
    receipt: Receipt = await scene.journal.commit(change)
    return receipt.verdict


@promise
async def a_claim_gives_the_process_as_it_is_stored(scene: Scene) -> None:
    session_id, claimed = await owned(scene)
    assert claimed.state.state is ProcessState.CREATED
    assert (claimed.version, claimed.claim_fails, claimed.tenure.epoch) == (0, 1, 1)
    first = change(claimed, waiting(claimed))
    assert await commit(scene, first) is Verdict.APPLIED
    await scene.journal.relinquish(session_id, [claimed.state.process_id])
    (again,) = await claim(scene, session_id, claimed.state.process_id)
    assert again.state == first.after
    assert (again.version, again.claim_fails, again.tenure.epoch) == (1, 1, 3)
    assert again.tenure.claim != claimed.tenure.claim


@promise
async def what_a_living_session_owns_is_not_claimed(scene: Scene) -> None:
    session_id, claimed = await owned(scene)
    other = await scene.session()
    assert await claim(scene, other, claimed.state.process_id) == []
    assert await claim(scene, session_id, claimed.state.process_id) == []
    await scene.declare(session_id, "draining")
    assert await claim(scene, other, claimed.state.process_id) == []


@promise
async def what_a_dead_session_owned_is_claimed_and_its_tenure_is_over(scene: Scene) -> None:
    session_id, claimed = await owned(scene)
    await scene.declare(session_id, "dead")
    (taken,) = await claim(scene, await scene.session(), claimed.state.process_id)
    assert taken.tenure.epoch == 2
    assert await commit(scene, change(claimed, begun(claimed))) is Verdict.FENCED
    assert await commit(scene, change(taken, begun(taken))) is Verdict.APPLIED


@promise
async def only_a_session_that_is_alive_claims(scene: Scene) -> None:
    process_id = await scene.process()
    for state in ("dead", "draining"):
        assert await claim(scene, await scene.session(state), process_id) == []
    assert await claim(scene, scene.new_id(), process_id) == []


@promise
async def what_is_not_there_or_has_ended_is_not_claimed(scene: Scene) -> None:
    session_id, claimed = await owned(scene)
    first = change(claimed, begun(claimed))
    await commit(scene, first)
    assert await commit(scene, then(first, ended(claimed))) is Verdict.APPLIED
    assert await claim(scene, session_id, claimed.state.process_id, scene.new_id()) == []


@promise
async def a_process_that_ends_has_no_owner(scene: Scene) -> None:
    _, claimed = await owned(scene)
    first = change(claimed, begun(claimed))
    await commit(scene, first)
    await commit(scene, then(first, ended(claimed)))
    (view,) = await scene.journal.owners([claimed.state.process_id])
    assert (view.owner_session, view.owner_claim, view.is_claimable) == (None, None, False)


@promise
async def the_same_change_twice_is_applied_once(scene: Scene) -> None:
    _, claimed = await owned(scene)
    first = change(claimed, begun(claimed))
    assert await commit(scene, first) is Verdict.APPLIED
    assert await commit(scene, first) is Verdict.DIVERGED


@promise
async def a_change_from_another_version_diverges(scene: Scene) -> None:
    _, claimed = await owned(scene)
    assert await commit(scene, change(claimed, begun(claimed), version=1)) is Verdict.DIVERGED


@promise
async def a_change_for_a_process_that_is_not_there_is_fenced(scene: Scene) -> None:
    _, claimed = await owned(scene)
    stray = replace(claimed, state=replace(claimed.state, process_id=scene.new_id()))
    assert await commit(scene, change(stray, begun(stray))) is Verdict.FENCED


@promise
async def a_claim_brings_what_the_inbox_holds_in_order(scene: Scene) -> None:
    process_id = await scene.process()
    sent = [await scene.inbox(process_id, CancelRequested(f"{number}")) for number in range(3)]
    (claimed,) = await claim(scene, await scene.session(), process_id)
    assert [delivery.message_id for delivery in claimed.deliveries] == sent
    assert [delivery.message for delivery in claimed.deliveries] == [CancelRequested(f"{n}") for n in range(3)]
    used = [Consumed(sent[0], "applied"), Consumed(sent[2], "rejected: late")]
    assert await commit(scene, change(claimed, begun(claimed), used=used)) is Verdict.APPLIED
    left = await scene.journal.deliveries([process_id, scene.new_id()])
    assert {ident: [each.message_id for each in found] for ident, found in left.items()} == {process_id: [sent[1]]}


@promise
async def a_change_of_nothing_but_used_up_messages_counts(scene: Scene) -> None:
    process_id = await scene.process()
    sent = await scene.inbox(process_id, CancelRequested())
    (claimed,) = await claim(scene, await scene.session(), process_id)
    quiet = change(claimed, (), used=[Consumed(sent, "rejected: no")])
    assert await commit(scene, quiet) is Verdict.APPLIED
    assert await scene.journal.deliveries([process_id]) == {}
    assert await commit(scene, then(quiet, begun(claimed))) is Verdict.APPLIED


@promise
async def a_passivation_gives_up_only_what_nobody_wants_anything_from(scene: Scene) -> None:
    _, claimed = await owned(scene)
    process_id = claimed.state.process_id
    first = change(claimed, waiting(claimed))
    await commit(scene, first)
    assert not await scene.journal.passivate(process_id, claimed.tenure, 0)
    sent = await scene.inbox(process_id, CancelRequested())
    assert not await scene.journal.passivate(process_id, claimed.tenure, 1)
    quiet = then(first, (), used=[Consumed(sent, "rejected: no")])
    assert await commit(scene, quiet) is Verdict.APPLIED
    assert await scene.journal.passivate(process_id, claimed.tenure, 2)
    (view,) = await scene.journal.owners([process_id])
    assert (view.owner_session, view.is_claimable) == (None, True)
    assert not await scene.journal.passivate(process_id, claimed.tenure, 2)


@promise
async def what_is_relinquished_is_fenced_and_keeps_count_of_its_claims(scene: Scene) -> None:
    session_id, claimed = await owned(scene)
    other = await scene.session()
    await scene.journal.relinquish(other, [claimed.state.process_id])
    assert [view.owner_session for view in await scene.journal.owners([claimed.state.process_id])] == [session_id]
    await scene.journal.relinquish(session_id, [claimed.state.process_id])
    assert await commit(scene, change(claimed, begun(claimed))) is Verdict.FENCED
    (again,) = await claim(scene, other, claimed.state.process_id)
    assert again.claim_fails == 2


@promise
async def what_is_spared_is_fenced_and_its_claim_does_not_count(scene: Scene) -> None:
    session_id, claimed = await owned(scene)
    await scene.journal.spare(session_id, [claimed.state.process_id])
    assert await commit(scene, change(claimed, begun(claimed))) is Verdict.FENCED
    (again,) = await claim(scene, session_id, claimed.state.process_id)
    assert again.claim_fails == 1


@promise
async def what_is_quarantined_is_claimed_by_nobody(scene: Scene) -> None:
    session_id, claimed = await owned(scene)
    await scene.journal.quarantine(claimed.state.process_id, claimed.tenure, "it kills")
    assert await claim(scene, session_id, claimed.state.process_id) == []
    assert await commit(scene, change(claimed, begun(claimed))) is Verdict.FENCED
    assert await scene.journal.audit(session_id) == {}


@promise
async def an_audit_names_what_has_work(scene: Scene) -> None:
    session_id, ready = await owned(scene)
    (resting,) = await claim(scene, session_id, await scene.process())
    (asked,) = await claim(scene, session_id, await scene.process())
    for claimed in (resting, asked):
        await commit(scene, change(claimed, waiting(claimed)))
    assert await scene.journal.audit(session_id) == {ready.state.process_id: ready.version}
    await scene.inbox(asked.state.process_id, CancelRequested())
    assert set(await scene.journal.audit(session_id)) == {ready.state.process_id, asked.state.process_id}
    assert await scene.journal.audit(await scene.session()) == {}


@promise
async def owners_tell_the_living_from_the_dead(scene: Scene) -> None:
    session_id, claimed = await owned(scene)
    process_id = claimed.state.process_id
    (view,) = await scene.journal.owners([process_id, scene.new_id()])
    assert (view.owner_session, view.owner_claim, view.owner_alive, view.is_claimable) == (
        session_id,
        claimed.tenure.claim,
        True,
        False,
    )
    await scene.declare(session_id, "dead")
    (view,) = await scene.journal.owners([process_id])
    assert (view.owner_alive, view.is_claimable) == (False, True)


@promise
async def a_failed_process_is_kept_with_its_error(scene: Scene) -> None:
    _, claimed = await owned(scene)
    failed = ProcessFailed(at=T0, origin=ProcessState.CREATED, failure=failure())
    assert await commit(scene, change(claimed, (failed,))) is Verdict.APPLIED
    (view,) = await scene.journal.owners([claimed.state.process_id])
    assert view.owner_session is None
