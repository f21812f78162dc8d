"""The part of the definitions that a node reads."""

from typing import Any

from msgspec import json

from tests.fakes.faults import Faults
from understudy.domain.views import PublishedDefinition


class FakeDefinitions:
    """Content by digest."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.contents: dict[bytes, bytes] = {}

    def keep(self, digest: bytes, raw: Any) -> None:
        self.contents[digest] = json.encode(raw)

    async def content(self, digest: bytes) -> bytes | None:
        await self.faults.visit("definitions.content")
        return self.contents.get(digest)

    async def publish(self, name: str, digest: bytes, content: bytes) -> tuple[PublishedDefinition, bool]:
        raise AssertionError("a node publishes nothing")

    async def find(self, name: str, version: int | None = None) -> PublishedDefinition | None:
        raise AssertionError("a node knows definitions by their digest")

    async def latest(self, limit: int, after: str | None) -> list[PublishedDefinition]:
        raise AssertionError("a node lists nothing")

    async def versions(self, name: str, limit: int, before: int | None) -> list[PublishedDefinition]:
        raise AssertionError("a node lists nothing")
