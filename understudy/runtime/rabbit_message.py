"""What is said through RabbitMQ: names of queues and exchanges, and the bytes of a poke and of an event."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from msgspec import UNSET, Meta, MsgspecError, Struct, UnsetType, json, msgpack

from understudy.domain.identity import shard_of
from understudy.domain.views import OutboxRow

IDS_MAX = 200
"""How many processes one message names at most."""

WORK = "understudy.work"
NODE = "understudy.node"
DEAD = "understudy.dead"
EVENTS = "understudy.events"

POKE_CONTENT_TYPE = "application/vnd.understudy.poke+msgpack"
EVENT_CONTENT_TYPE = "application/cloudevents+json"

_Poke = Annotated[tuple[UUID, ...], Meta(min_length=1, max_length=IDS_MAX)]
_encoder = msgpack.Encoder(uuid_format="bytes")
_decoder = msgpack.Decoder(_Poke)
_KEY_BYTES_MAX = 255


class MalformedMessage(Exception):
    """A message that is no poke."""


class _CloudEvent(Struct, frozen=True):
    """An event in the structured form of CloudEvents 1.0."""

    id: str
    type: str
    time: datetime
    data: Any
    processid: str
    subject: str | UnsetType = UNSET
    source: str = "understudy"
    specversion: str = "1.0"
    datacontenttype: str = "application/json"


def work_queue(number: int) -> str:
    """The name of a shared queue."""
    return f"{WORK}.{number}"


def work_queue_of(process_id: UUID, queues: int) -> str:
    """The name of the shared queue through which a process is poked."""
    return work_queue(shard_of(process_id) % queues)


def node_queue(session_id: UUID) -> str:
    """The name of a session's own queue."""
    return f"{NODE}.{session_id}"


def poke_bodies(process_ids: Sequence[UUID]) -> Iterator[bytes]:
    """The bodies of as few pokes as name these processes."""
    for first in range(0, len(process_ids), IDS_MAX):
        yield _encoder.encode(process_ids[first : first + IDS_MAX])


def read_poke(body: bytes) -> tuple[UUID, ...]:
    """The processes that a poke names.

    Raises:
        MalformedMessage: it is no poke.
    """
    try:
        return _decoder.decode(body)
    except MsgspecError as error:
        raise MalformedMessage(str(error)) from None


def event_body(row: OutboxRow) -> bytes:
    """An event as JSON; its id stays the same when it is announced again."""
    return json.encode(
        _CloudEvent(
            id=str(row.event_id),
            type=row.type,
            time=row.created_at,
            data=row.data,
            processid=str(row.process_id),
            subject=row.key or UNSET,
        )
    )


def event_key(row: OutboxRow) -> str:
    """The routing key of an event: its type, as far as a routing key can hold it."""
    return row.type.encode()[:_KEY_BYTES_MAX].decode("utf-8", "ignore")
