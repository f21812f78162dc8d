"""What goes wrong on command: calls by their name, such as "journal.commit"."""

import asyncio
from collections import defaultdict, deque


class Gate:
    """A call that says when it is under way and then waits to be let through."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.opened = asyncio.Event()


class Faults:
    """The calls that were made, and what shall happen to the next ones."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self._once: defaultdict[str, deque[Exception]] = defaultdict(deque)
        self._always: dict[str, Exception] = {}
        self._gates: defaultdict[str, deque[Gate]] = defaultdict(deque)

    def fail(self, name: str, *errors: Exception) -> None:
        """Let the next calls raise, each one of the errors."""
        self._once[name].extend(errors)

    def cut(self, name: str, error: Exception) -> None:
        """Let every call raise until `mend`."""
        self._always[name] = error

    def mend(self, name: str) -> None:
        del self._always[name]

    def hold(self, name: str) -> Gate:
        """Let the next call wait before it does anything."""
        gate = Gate()
        self._gates[name].append(gate)
        return gate

    def count(self, name: str) -> int:
        return self.calls.count(name)

    async def visit(self, name: str) -> None:
        """What every call of a fake does first."""
        self.calls.append(name)
        if self._gates[name]:
            gate = self._gates[name].popleft()
            gate.entered.set()
            await gate.opened.wait()
        if self._once[name]:
            raise self._once[name].popleft()
        if name in self._always:
            raise self._always[name]
