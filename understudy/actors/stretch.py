"""A stretch: everything that happens to a process between two commits.

Pure activities (decision, transformation, the opening of waits) are functions of committed state, so they run inline
and the whole stretch is committed at once, before the next effect or wait. A stretch is bounded in activities, bytes
and time; what is left goes into the next one, and the process stays ready in between.
"""

from collections import deque

import structlog

from understudy.actors.broken import broken
from understudy.actors.workplace import Workplace
from understudy.domain.effects import AnyEffect, PublishEvent, RunExecutor
from understudy.domain.facts import ActivityRedispatched, AnyFact
from understudy.domain.messages import AnyMessage
from understudy.domain.plan import Plan
from understudy.domain.ports import Assignment, Change, Consumed, ExecutorResult, Tenure
from understudy.domain.process import Decision, decide
from understudy.domain.state import State, scope_of

BYTES_MAX = 262_144
SECONDS_MAX = 0.010

log = structlog.get_logger("actor")


class Stretch:
    """Collects decisions until they are committed."""

    def __init__(self, plan: Plan, state: State, workplace: Workplace) -> None:
        self.before = state
        self.state = state
        self.facts: list[AnyFact] = []
        self.effects: list[AnyEffect] = []
        self._plan = plan
        self._workplace = workplace
        self._inline: deque[RunExecutor] = deque()
        self._publish: list[PublishEvent] = []
        self._consumed: list[Consumed] = []
        self._bytes = 0

    def feed(self, message: AnyMessage) -> str:
        """Decide on one message; what became of it."""
        decision = decide(self._plan, self.state, message, self._workplace.clock.now())
        self.add(decision)
        return decision.outcome

    def add(self, decision: Decision) -> None:
        """Take a decision into the stretch."""
        self.state = decision.state
        self.facts.extend(decision.facts)
        self._bytes += decision.size
        for effect in decision.effects:
            if isinstance(effect, PublishEvent):
                self._publish.append(effect)
            elif isinstance(effect, RunExecutor) and self._is_inline(effect):
                self._inline.append(effect)
            else:
                self.effects.append(effect)

    @property
    def is_repeat(self) -> bool:
        """Whether nothing has happened but that attempts in flight are repeated."""
        is_idle = not self._inline and not self._consumed and not self._publish
        return is_idle and bool(self.facts) and all(isinstance(fact, ActivityRedispatched) for fact in self.facts)

    def queue(self, effect: RunExecutor) -> None:
        """Take over a pure activity that an earlier stretch had no room for."""
        self._inline.append(effect)

    def consume(self, consumed: Consumed) -> None:
        """Note an inbox row that this stretch uses up."""
        self._consumed.append(consumed)

    def run(self) -> list[RunExecutor]:
        """Perform the pure activities as far as the bounds allow; those that are left for the next stretch."""
        clock = self._workplace.clock
        deadline = clock.monotonic() + SECONDS_MAX
        budget = self._workplace.activities_per_commit
        while self._inline and budget and self._bytes < BYTES_MAX and clock.monotonic() < deadline:
            budget -= 1
            self.feed(self._perform(self._inline.popleft()))
        return list(self._inline)

    def change(self, tenure: Tenure, version: int) -> Change | None:
        """The change to commit, or None when nothing happened."""
        if not self.facts and not self._consumed:
            return None
        return Change(
            tenure=tenure,
            version=version,
            before=self.before,
            after=self.state,
            facts=tuple(self.facts),
            publish=tuple(self._publish),
            consumed=tuple(self._consumed),
        )

    @property
    def consumed(self) -> tuple[Consumed, ...]:
        """The inbox rows used up so far."""
        return tuple(self._consumed)

    def _perform(self, effect: RunExecutor) -> ExecutorResult:
        scope = scope_of(self.state, self._plan.steps)
        assignment = Assignment(effect, self._plan.steps[effect.activity], scope, self._workplace.clock.now())
        try:
            return self._workplace.executors.perform_inline(assignment)
        except Exception as error:
            log.exception("executor_broke", process_id=str(self.state.process_id), activity=effect.activity)
            return broken(effect, error, is_unknown=False)

    def _is_inline(self, effect: RunExecutor) -> bool:
        return self._workplace.executors.is_inline(self._plan.steps[effect.activity].type)
