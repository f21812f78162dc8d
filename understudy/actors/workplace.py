"""What a process actor finds around it: everything it asks of its node, handed in once."""

from collections.abc import Awaitable, Callable
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from understudy.domain.ports import Change, Clock, Events, Executors, Journal

if TYPE_CHECKING:
    from understudy.actors.loop import Stage
    from understudy.actors.process import ProcessActor


class Ending(Enum):
    """Why an actor left the stage."""

    ENDED = "ended"
    PASSIVATED = "passivated"
    FENCED = "fenced"
    DIVERGED = "diverged"
    FAILED = "failed"
    STOPPED = "stopped"
    """The node stops; the process stays as it is, and goes to whoever takes over from the session."""


class Listener(Protocol):
    """Who hears of an actor's commits and of its end."""

    def committed(self, change: Change) -> None:
        """A change of this process has been committed."""
        ...

    def left(self, actor: "ProcessActor", ending: Ending, error: BaseException | None = None) -> None:
        """The actor handles nothing any more."""
        ...


class Workplace(Struct, frozen=True):
    """The surroundings of every process actor of a node.

    `permit` returns when the node's lease is valid: no effect starts before it does. `activities_per_commit` is 1 when
    each activity shall be durable on its own.
    """

    stage: "Stage"
    journal: Journal
    events: Events
    executors: Executors
    clock: Clock
    listener: Listener
    permit: Callable[[], Awaitable[None]]
    activities_per_commit: int = 100
    idle_seconds: float = 30.0
