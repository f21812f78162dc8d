"""What a client is told about a row that it hands in under an id of its own."""

from understudy.domain.views import Submitted


def submitted(
    is_new: bool,
    given_hash: bytes | None,
    kept_hash: bytes | None,
    first_status: int | None,
    outcome: str | None = None,
) -> Submitted:
    """The answer for a row made now, or one that was there: that is a replay or, with another hash, a conflict."""
    is_same = given_hash is None or kept_hash is None or given_hash == kept_hash
    return Submitted(
        is_replay=not is_new and is_same,
        conflicts=not is_new and not is_same,
        first_status=first_status,
        request_hash=kept_hash,
        outcome=outcome,
    )
