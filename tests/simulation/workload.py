"""What the clients ask for: small definitions with all six kinds of activities, retries, loops, waits and endings."""

import random
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

RETRY = {"max_attempts": 8, "initial": "200ms", "factor": 2.0, "max": "2s"}


def call(name: str, **fields: Any) -> dict[str, Any]:
    body = {"process": "${process.id}", "activity": name}
    request = {"method": "POST", "url": "https://target.example/do", "body": body}
    return {"id": name, "type": "http", "request": request, "timeout": "3s", "retry": RETRY} | fields


DEFINITIONS: dict[str, list[dict[str, Any]]] = {
    "order": [
        {"id": "shape", "type": "transform", "output": {"n": "${input.n}"}},
        call("charge"),
        {"id": "big", "type": "decision", "cases": [{"when": "input.n >= 2", "next": "ship"}], "otherwise": "tell"},
        {"id": "tell", "type": "event", "event": "order.told", "key": "${process.key}", "data": {"n": "${input.n}"}},
        call("ship"),
    ],
    "loop": [
        call("step"),
        {
            "id": "more",
            "type": "decision",
            "cases": [{"when": "activities.step.output.body.again", "next": "step"}],
            "otherwise": "@end",
        },
    ],
    "approval": [
        call("reserve"),
        {"id": "approve", "type": "manual", "title": "Approve ${input.n}", "timeout": "5m"},
        call("settle"),
    ],
    "nap": [call("before"), {"id": "nap", "type": "wait", "for": "4s"}, call("after"), call("last")],
    "payment": [
        {
            "id": "paid",
            "type": "wait",
            "event": {"type": "payment.received", "key": "${process.key}"},
            "timeout": "5m",
        },
        call("deliver"),
    ],
    "shout": [
        call("prepare"),
        {"id": "shout", "type": "event", "event": "shouted", "key": "${process.key}", "data": "${input.n}"},
        {"id": "again", "type": "event", "event": "shouted", "key": "${process.key}", "data": "again"},
    ],
    "hear": [
        {
            "id": "heard",
            "type": "wait",
            "event": {"type": "shouted", "key": "${process.key}"},
            "timeout": "40s",
            "catch": [{"errors": ["timeout"], "next": "@end"}],
        },
        call("thank"),
    ],
    "once": [call("transfer", on_unknown="park"), call("receipt")],
    "patient": [call("slow", on_unknown="retry_after_timeout"), call("done")],
    "refused": [call("refused", catch=[{"errors": ["http.status.409"], "next": "undo"}], next="@end"), call("undo")],
    "doomed": [call("refused_too")],
}


def definition(name: str) -> dict[str, Any]:
    return {"name": name, "activities": DEFINITIONS[name], "timeout": "30m"}


class Order(Struct, frozen=True):
    """One process that a client wants, and how it behaves towards it."""

    number: int
    definition: str
    key: str
    begins: float
    starts_twice: bool
    is_early: bool
    """Sends the event before anybody waits for it."""
    is_double: bool
    """Answers, announces and cancels twice."""
    cancels_after: float | None


def orders(seed: int, names: Sequence[str], count: int, seconds: float) -> list[Order]:
    """The orders of a seed: each definition at least once when there are enough."""
    draw = random.Random(f"{seed}:orders")
    made: list[Order] = []
    for number in range(count):
        name = names[number] if number < len(names) else draw.choice(names)
        key = f"{number}"
        if name in ("shout", "hear"):
            key = f"pair-{sum(order.definition == name for order in made)}"
        made.append(
            Order(
                number=number,
                definition=name,
                key=key,
                begins=draw.uniform(0, seconds),
                starts_twice=draw.random() < 0.3,
                is_early=draw.random() < 0.4,
                is_double=draw.random() < 0.4,
                cancels_after=draw.uniform(0, 10) if draw.random() < 0.12 else None,
            )
        )
    return made
