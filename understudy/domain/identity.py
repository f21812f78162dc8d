"""Deterministic ids: recomputed after a lost commit, they come out the same."""

from uuid import UUID, uuid5

TENANT = UUID(int=0)
"""The one tenant of version 1."""

SHARDS = 1024


def execution_id(process_id: UUID, activity: str, visit: int) -> UUID:
    """The id of one visit of an activity."""
    return uuid5(process_id, f"{activity}:{visit}")


def idempotency_key(process_id: UUID, activity: str, visit: int, generation: int) -> UUID:
    """The key an outgoing request carries; the generation rises only after a definite failure."""
    return uuid5(process_id, f"{activity}:{visit}:{generation}")


def process_id_for(tenant_id: UUID, path: str, key: str) -> UUID:
    """The id of the process that a start with this idempotency key makes."""
    return uuid5(tenant_id, f"{path}\n{key}")


def message_id_for(process_id: UUID, method: str, path: str, key: str) -> UUID:
    """The id of the inbox row that a command with this idempotency key makes."""
    return uuid5(process_id, f"{method} {path}\n{key}")


def answer_id(execution: UUID) -> UUID:
    """The id of the one answer that a manual activity can have."""
    return uuid5(execution, "answer")


def event_id_for(tenant_id: UUID, client_id: str) -> UUID:
    """The id of an external event that the client named `client_id`."""
    return uuid5(tenant_id, f"event\n{client_id}")


def shard_of(process_id: UUID) -> int:
    """The shard, 0 to 1023, whose lane looks after a process."""
    return process_id.int % SHARDS
