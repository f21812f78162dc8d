"""Where expressions stand in an activity: one table for the check of a definition and for its compilation."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple


class Place(NamedTuple):
    """A field that is a template: its name in a step, its path in the activity, and whether it renders to a string."""

    name: str
    path: tuple[str, ...]
    is_text: bool = False


PLACES: Mapping[str, tuple[Place, ...]] = {
    "http": (
        Place("url", ("request", "url"), is_text=True),
        Place("headers", ("request", "headers")),
        Place("query", ("request", "query")),
        Place("body", ("request", "body")),
        Place("form", ("request", "form")),
        Place("text", ("request", "text"), is_text=True),
    ),
    "event": (Place("data", ("data",)), Place("key", ("key",), is_text=True)),
    "wait": (
        Place("for", ("for",), is_text=True),
        Place("until", ("until",), is_text=True),
        Place("event.key", ("event", "key"), is_text=True),
    ),
    "decision": (),
    "transform": (Place("output", ("output",)),),
    "manual": (Place("title", ("title",), is_text=True), Place("instructions", ("instructions",), is_text=True)),
}


def templates_of(activity: Mapping[str, Any]) -> Iterator[tuple[Place, Any]]:
    """The templates that a raw activity has, as far as they have the right type."""
    kind = activity.get("type")
    for place in PLACES.get(kind, ()) if isinstance(kind, str) else ():
        holder: Any = activity
        for key in place.path[:-1]:
            holder = holder.get(key)
            holder = holder if isinstance(holder, dict) else {}
        if place.path[-1] in holder and (not place.is_text or isinstance(holder[place.path[-1]], str)):
            yield place, holder[place.path[-1]]


def conditions_of(activity: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    """The conditions that a raw activity has, with the index of their case."""
    cases = activity.get("cases")
    for index, case in enumerate(cases if isinstance(cases, list) else ()):
        if isinstance(case, dict) and isinstance(case.get("when"), str):
            yield index, case["when"]
