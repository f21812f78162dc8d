"""The two state machines: the only table of legal transitions (product.md, section 3)."""

from enum import StrEnum


class IllegalTransition(Exception):
    """A transition that the state machine does not have: a bug, never a user's fault."""


class ProcessState(StrEnum):
    """The six states of a process."""

    CREATED = "CREATED"
    IN_PROGRESS = "IN_PROGRESS"
    WAITING = "WAITING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_terminal(self) -> bool:
        """Whether the process has ended."""
        return self in TERMINAL


class ActivityState(StrEnum):
    """The five states of an activity's execution."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    WAITING = "WAITING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"


TERMINAL = frozenset({ProcessState.COMPLETED, ProcessState.FAILED, ProcessState.CANCELLED})

PROCESS_TRANSITIONS: frozenset[tuple[ProcessState, ProcessState]] = frozenset(
    {
        (ProcessState.CREATED, ProcessState.IN_PROGRESS),
        (ProcessState.CREATED, ProcessState.CANCELLED),
        (ProcessState.CREATED, ProcessState.FAILED),
        (ProcessState.IN_PROGRESS, ProcessState.WAITING),
        (ProcessState.WAITING, ProcessState.IN_PROGRESS),
        (ProcessState.FAILED, ProcessState.IN_PROGRESS),
        *((origin, target) for origin in (ProcessState.IN_PROGRESS, ProcessState.WAITING) for target in TERMINAL),
    }
)

ACTIVITY_TRANSITIONS: frozenset[tuple[ActivityState, ActivityState]] = frozenset(
    {
        (ActivityState.PENDING, ActivityState.RUNNING),
        (ActivityState.PENDING, ActivityState.FAILED),
        (ActivityState.RUNNING, ActivityState.PENDING),
        (ActivityState.RUNNING, ActivityState.WAITING),
        (ActivityState.RUNNING, ActivityState.COMPLETED),
        (ActivityState.RUNNING, ActivityState.FAILED),
        (ActivityState.WAITING, ActivityState.PENDING),
        (ActivityState.WAITING, ActivityState.COMPLETED),
        (ActivityState.WAITING, ActivityState.FAILED),
    }
)


def check_process(origin: ProcessState, target: ProcessState) -> None:
    """Refuse a transition of a process that the table does not hold.

    Raises:
        IllegalTransition: the table has no such row.
    """
    if (origin, target) not in PROCESS_TRANSITIONS:
        raise IllegalTransition(f"a process cannot go from {origin} to {target}")


def check_activity(origin: ActivityState, target: ActivityState) -> None:
    """Refuse a transition of an activity that the table does not hold.

    Raises:
        IllegalTransition: the table has no such row.
    """
    if (origin, target) not in ACTIVITY_TRANSITIONS:
        raise IllegalTransition(f"an activity cannot go from {origin} to {target}")
