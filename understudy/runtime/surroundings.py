"""The outside, as a node needs it, handed in once."""

from msgspec import Struct

from understudy.domain.cache import NO_CACHE, Views
from understudy.domain.carrier import Carrier
from understudy.domain.ports import Clock, Events, Executors, Journal, Leases, Lookout, Outbox, Sessions


class NodePorts(Struct, frozen=True):
    """Whom a node talks to."""

    journal: Journal
    sessions: Sessions
    leases: Leases
    lookout: Lookout
    events: Events
    outbox: Outbox
    executors: Executors
    carrier: Carrier
    clock: Clock
    views: Views = NO_CACHE
