"""What goes into the service and what comes out, whatever the callers speak."""

from typing import Any, Literal
from uuid import UUID

from msgspec import Struct

from understudy.domain.views import ProcessView, PublishedDefinition


class Call(Struct, frozen=True):
    """Where a mutating call came in: method, path and idempotency key, who made it, which version it is based on."""

    method: str
    path: str
    key: str | None = None
    by: str | None = None
    if_match: int | None = None

    @property
    def scope(self) -> str:
        """What the idempotency key is scoped to."""
        return f"{self.method} {self.path}"


class StartRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /processes`; `definition` is a name, `name@version`, or a whole definition."""

    definition: str | dict[str, Any]
    input: Any = None
    key: str | None = None
    labels: dict[str, str] = {}


class AnswerRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST …/resume`."""

    outcome: Literal["complete", "fail"] = "complete"
    output: Any = None
    error: Any = None


class EventRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /events`."""

    type: str
    key: str | None = None
    id: str | None = None
    data: Any = None


class Published(Struct, frozen=True):
    """A publication's answer: `status` is 201 for a version made by it, 200 for one that was there."""

    definition: PublishedDefinition
    status: int
    is_replay: bool = False


class Started(Struct, frozen=True):
    """A started process, or the one an earlier call with the same key started."""

    process: ProcessView
    status: int
    is_replay: bool = False


class Accepted(Struct, frozen=True):
    """A command was taken down."""

    process: ProcessView
    status: int = 202
    is_replay: bool = False


class EventAccepted(Struct, frozen=True):
    """An event was taken down and handed to `delivered` processes."""

    event_id: UUID
    delivered: int
    status: int = 202
    is_replay: bool = False
