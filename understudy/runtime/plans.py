"""Definitions compiled once per node, by the digest of their content."""

from collections import OrderedDict
from hashlib import sha256
from typing import Any

from msgspec import json

from understudy.domain.definition import Definition
from understudy.domain.errors import NotFound
from understudy.domain.plan import Plan, compile_plan
from understudy.domain.stores import Definitions
from understudy.domain.validation import parse_definition

PLANS_MAX = 1_000


def digest_of(raw: Any) -> bytes:
    """The SHA-256 of a definition's content, whatever the order of its keys."""
    return sha256(json.encode(raw, order="deterministic")).digest()


class Plans:
    """A bounded cache of compiled definitions in front of the store."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._plans: OrderedDict[bytes, Plan] = OrderedDict()

    def known(self, digest: bytes) -> Plan | None:
        """The plan, if it is compiled already."""
        return self._plans.get(digest)

    def keep(self, digest: bytes, definition: Definition) -> Plan:
        """Compile a definition that has been validated."""
        plan = self._plans.get(digest)
        if plan is None:
            plan = self._plans[digest] = compile_plan(definition)
            if len(self._plans) > PLANS_MAX:
                self._plans.popitem(last=False)
        return plan

    async def load(self, digest: bytes) -> Plan:
        """The plan of stored content.

        Raises:
            NotFound: nothing is stored under this digest.
        """
        plan = self._plans.get(digest)
        if plan is not None:
            return plan
        content = await self._definitions.content(digest)
        if content is None:
            raise NotFound(f"no definition is stored under the digest {digest.hex()}")
        return self.keep(digest, parse_definition(json.decode(content)))
