"""The definition language (docs/reference/definition.md) as values.

Fields keep what the author wrote: `None` and UNSET stand for "absent", durations and templates stay text, and what is
left out is left out again when encoded. Defaults are applied once, in `plan.py`. A value may be built from a checked
definition only: `validation.py` looks at far more than types.
"""

from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Struct, field

Method: TypeAlias = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
OnUnknown: TypeAlias = Literal["retry", "retry_after_timeout", "park"]
JsonSchema: TypeAlias = dict[str, Any] | bool
Template: TypeAlias = Any
"""A JSON value whose strings may hold `${…}`; UNSET where it may be absent, as null is a value."""

END = "@end"
FAIL = "@fail"


class _Part(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Every object of a definition is closed."""


class Retry(_Part, frozen=True, kw_only=True):
    """How an activity is tried again."""

    max_attempts: int | None = None
    initial: str | None = None
    factor: float | None = None
    max: str | None = None
    jitter: Literal["full", "none"] | None = None
    on: tuple[str, ...] | None = None
    never: tuple[str, ...] | None = None


class Catch(_Part, frozen=True, kw_only=True):
    """Where the process goes on after an error whose type one of the globs matches."""

    errors: tuple[str, ...]
    next: str


class Case(_Part, frozen=True, kw_only=True):
    """One branch of a decision."""

    when: str
    next: str


class EventFilter(_Part, frozen=True, kw_only=True):
    """The external event that a wait waits for."""

    type: str
    key: str | None = None


class HttpRequest(_Part, frozen=True, kw_only=True):
    """An outgoing request; at most one of `body` (JSON), `form` and `text`."""

    method: Method
    url: str
    headers: dict[str, str] | None = None
    query: dict[str, Any] | None = None
    body: Template = UNSET
    form: dict[str, Any] | None = None
    text: str | None = None


class Activity(_Part, frozen=True, kw_only=True, tag_field="type"):
    """What all activities have."""

    id: str
    description: str | None = None
    timeout: str | None = None
    deadline: str | None = None
    retry: Retry | None = None
    catch: tuple[Catch, ...] | None = None
    next: str | None = None
    max_visits: int | None = None


class HttpActivity(Activity, frozen=True, kw_only=True, tag="http"):
    """Calls an API; `expect` are the statuses of success (2xx when absent), `on_unknown` is "retry" when absent."""

    request: HttpRequest
    expect: tuple[int, ...] | None = None
    on_unknown: OnUnknown | None = None


class EventActivity(Activity, frozen=True, kw_only=True, tag="event"):
    """Publishes an event."""

    event: str
    data: Template = UNSET
    key: str | None = None


class WaitActivity(Activity, frozen=True, kw_only=True, tag="wait"):
    """Waits for exactly one of a length of time, a point in time and an event."""

    for_: str | None = field(default=None, name="for")
    until: str | None = None
    event: EventFilter | None = None


class DecisionActivity(Activity, frozen=True, kw_only=True, tag="decision"):
    """Goes where the first true case points, else to `otherwise`."""

    cases: tuple[Case, ...]
    otherwise: str | None = None


class TransformActivity(Activity, frozen=True, kw_only=True, tag="transform"):
    """Computes a value."""

    output: Template


class ManualActivity(Activity, frozen=True, kw_only=True, tag="manual"):
    """Waits for the answer of a person."""

    title: str | None = None
    instructions: str | None = None
    form: JsonSchema | None = None
    assignee: str | None = None


AnyActivity: TypeAlias = (
    HttpActivity | EventActivity | WaitActivity | DecisionActivity | TransformActivity | ManualActivity
)


class Definition(_Part, frozen=True, kw_only=True):
    """A process definition."""

    name: str
    description: str | None = None
    input: JsonSchema | None = None
    start: str | None = None
    timeout: str | None = None
    activities: tuple[AnyActivity, ...]
    output: Template = UNSET


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Definition)


def encode_definition(definition: Definition) -> bytes:
    """The JSON text of a definition, with exactly the fields that its author wrote."""
    return _encoder.encode(definition)


def decode_definition(body: bytes) -> Definition:
    """A definition from the JSON text of a checked one, as the store holds it."""
    return _decoder.decode(body)
