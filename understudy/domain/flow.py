"""How the activities of a raw definition hang together: ids, targets, and what can be reached."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from understudy.domain.definition import END, FAIL
from understudy.domain.fault import Faults


class _Target(NamedTuple):
    pointer: str
    name: str


def check_flow(definition: dict[str, Any], activities: list[dict[str, Any]], faults: Faults) -> None:
    """Look at the ids, at every target, and at whether each activity can be reached."""
    indices = _indices(activities, faults)
    start = definition.get("start")
    starts = [0]
    if isinstance(start, str):
        starts = _resolved(_Target("/start", start), indices, (), faults)
    edges = []
    for index, activity in enumerate(activities):
        reached = []
        for target in _targets(activity, f"/activities/{index}"):
            reached += _resolved(target, indices, (END, FAIL), faults)
        if _falls_through(activity):
            reached.append(index + 1)
        edges.append(reached)
    reachable = _closure(starts, edges)
    # Without a start nothing is reached, and that is one fault, not one for each activity.
    for index in range(len(activities) if starts else 0):
        if index not in reachable:
            faults.add(f"/activities/{index}", "Nothing leads to this activity.")


def _indices(activities: list[dict[str, Any]], faults: Faults) -> dict[str, int]:
    indices: dict[str, int] = {}
    for index, activity in enumerate(activities):
        name = activity.get("id")
        if not isinstance(name, str):
            continue
        if name in indices:
            faults.add(f"/activities/{index}/id", f"Activity number {indices[name] + 1} has the same id.")
        indices.setdefault(name, index)
    return indices


def _targets(activity: dict[str, Any], pointer: str) -> Iterator[_Target]:
    """Every place an activity names as one to go on at."""
    for field in ("next", "otherwise"):
        name = activity.get(field)
        if isinstance(name, str):
            yield _Target(f"{pointer}/{field}", name)
    for field in ("cases", "catch"):
        entries = activity.get(field)
        for index, entry in enumerate(entries if isinstance(entries, list) else ()):
            name = entry.get("next") if isinstance(entry, dict) else None
            if isinstance(name, str):
                yield _Target(f"{pointer}/{field}/{index}/next", name)


def _falls_through(activity: dict[str, Any]) -> bool:
    return "next" not in activity and activity.get("type") != "decision"


def _resolved(target: _Target, indices: dict[str, int], ends: tuple[str, ...], faults: Faults) -> list[int]:
    """The index a target leads to; a misspelt one leads to the nearest id: what hangs behind it is no second fault."""
    if target.name in ends:
        return []
    name: str | None = target.name
    if target.name not in indices:
        name = faults.add_unknown(target.pointer, "activity", target.name, (*indices, *ends))
    return [indices[name]] if name in indices else []


def _closure(starts: list[int], edges: list[list[int]]) -> set[int]:
    reachable: set[int] = set()
    waiting = list(starts)
    while waiting:
        index = waiting.pop()
        if index not in reachable and index < len(edges):
            reachable.add(index)
            waiting += edges[index]
    return reachable
