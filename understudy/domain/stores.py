"""What the gateway asks of PostgreSQL, as small protocols: it inserts and reads, it never updates."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from msgspec import Struct

from understudy.domain.messages import InboxMessage
from understudy.domain.state import Execution
from understudy.domain.views import NewProcess, ProcessView, PublishedDefinition, Query, RecordedRow, Submitted


class Definitions(Protocol):
    """Published definitions, immutable."""

    async def publish(self, name: str, digest: bytes, content: bytes) -> tuple[PublishedDefinition, bool]:
        """Store content as the next version unless it exists; the version, and whether it is new."""
        ...

    async def find(self, name: str, version: int | None = None) -> PublishedDefinition | None:
        """A version, or the latest."""
        ...

    async def content(self, digest: bytes) -> bytes | None:
        """The JSON text with this digest, published or inline."""
        ...

    async def latest(self, limit: int, after: str | None) -> list[PublishedDefinition]:
        """The latest version of each definition by name."""
        ...

    async def versions(self, name: str, limit: int, before: int | None) -> list[PublishedDefinition]:
        """The versions of one definition, latest first."""
        ...


class Processes(Protocol):
    """The gateway's side of processes: it inserts and reads, it never updates."""

    async def start(self, process: NewProcess) -> Submitted:
        """Insert a process, its first history row and, for an inline definition, its content."""
        ...

    async def find(self, process_id: UUID) -> ProcessView | None:
        """A process with the latest visit of each activity."""
        ...

    async def search(self, query: Query) -> list[ProcessView]:
        """Processes, newest first, without their executions."""
        ...

    async def history(self, process_id: UUID, after: int, limit: int) -> list[RecordedRow]:
        """History rows with a seq above `after`, in order."""
        ...

    async def executions(self, process_id: UUID) -> list[Execution]:
        """Every execution of a process, all visits, in order of their start."""
        ...

    async def ended(self, process_ids: Sequence[UUID]) -> list[UUID]:
        """Which of these processes have ended."""
        ...


class Inbox(Protocol):
    """The gateway's side of the inbox: durable rows of everything that wants something from a process."""

    async def submit(
        self, process_id: UUID, message_id: UUID, message: InboxMessage, request_hash: bytes, first_status: int = 202
    ) -> Submitted:
        """Insert an inbox row."""
        ...

    async def recall(self, process_id: UUID, message_id: UUID) -> Submitted | None:
        """What was handed in under this id before."""
        ...


class Retained(Struct, frozen=True):
    """A call that was answered before under the same idempotency key."""

    request_hash: bytes
    first_status: int
    resource: str


class Keys(Protocol):
    """Idempotency keys of calls that make neither a process nor an inbox row; kept for 24 hours."""

    async def recall(self, scope: str, key: str) -> Retained | None:
        """The call that was answered under this key."""
        ...

    async def remember(self, scope: str, key: str, call: Retained) -> Retained:
        """Keep a call under a key; the one that is kept, which is the first."""
        ...
