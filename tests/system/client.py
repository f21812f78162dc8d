"""The API as a client sees it, and the few words in which tests speak of definitions."""

import io
from collections.abc import Callable, Mapping
from itertools import count
from types import TracebackType
from typing import Any, NamedTuple, Self
from uuid import uuid4

import aiohttp
from msgspec import UNSET, json

TERMINAL = ("COMPLETED", "FAILED", "CANCELLED")
ROUND = "30ms"
ROUNDS_MAX = 700

Predicate = Callable[[dict[str, Any]], bool]


class Answer(NamedTuple):
    """What came back; the body is decoded JSON, None when there is none."""

    status: int
    headers: Mapping[str, str]
    body: Any


class Client:
    """Speaks to one gateway; use it in an `async with`."""

    def __init__(self, url: str, **headers: str) -> None:
        self.url = url
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=60), headers=headers, auto_decompress=False
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def call(
        self,
        method: str,
        path: str,
        body: Any = UNSET,
        *,
        raw: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One call; `raw` is sent as it stands."""
        content = raw if body is UNSET else json.encode(body)
        kind = {} if content is None else {"Content-Type": "application/json"}
        async with self._session.request(
            method,
            self.url + path,
            data=_in_pieces(content),
            headers={**kind, **(headers or {})},
            allow_redirects=False,
        ) as response:
            text = await response.read()
            return Answer(response.status, response.headers, json.decode(text) if text else None)

    async def get(self, path: str, **headers: str) -> Any:
        """The body of a call that must succeed."""
        answer = await self.call("GET", path, headers=headers)
        assert answer.status == 200, answer
        return answer.body

    async def post(self, path: str, body: Any = UNSET, *, key: str | None = None, **headers: str) -> Answer:
        """One POST, with an idempotency key if one is given."""
        keyed = headers if key is None else {**headers, "Idempotency-Key": key}
        return await self.call("POST", path, body, headers=keyed)

    async def publish(self, definition: Any) -> Answer:
        """Publish a definition under its own name."""
        return await self.call("PUT", f"/definitions/{definition['name']}", definition)

    async def start(self, definition: Any, value: Any = None, **fields: Any) -> dict[str, Any]:
        """A process that has just been started."""
        answer = await self.post("/processes", {"definition": definition, "input": value, **fields})
        assert answer.status == 201, answer
        started: dict[str, Any] = answer.body
        return started

    async def run(self, definition: Any, value: Any = None, **fields: Any) -> dict[str, Any]:
        """A process from its start to its end."""
        answer = await self.post("/processes?wait=30s", {"definition": definition, "input": value, **fields})
        assert answer.status == 200, answer
        ended: dict[str, Any] = answer.body
        assert ended["state"] in TERMINAL
        return ended

    async def process(self, process_id: str) -> dict[str, Any]:
        """A process as it is."""
        found: dict[str, Any] = await self.get(f"/processes/{process_id}")
        return found

    async def ended(self, process_id: str) -> dict[str, Any]:
        """A process when it has ended."""
        ended: dict[str, Any] = await self.get(f"/processes/{process_id}?wait=30s")
        assert ended["state"] in TERMINAL, ended
        return ended

    async def until(self, process_id: str, predicate: Predicate) -> dict[str, Any]:
        """A process as soon as something holds of it; each round is a long poll."""
        process = await self.process(process_id)
        for _ in range(ROUNDS_MAX):
            if predicate(process):
                return process
            assert process["state"] not in TERMINAL, process
            process = await self.get(f"/processes/{process_id}?wait={ROUND}")
        raise AssertionError(f"it did not come to that: {process}")

    async def waiting(self, process_id: str, activity: str | None = None) -> dict[str, Any]:
        """A process that waits, for a certain activity if one is named."""
        return await self.until(
            process_id,
            lambda process: (
                process["state"] == "WAITING"
                and (activity is None or activity in {found["activity"] for found in process["waiting_on"]})
            ),
        )

    async def history(self, process_id: str) -> list[dict[str, Any]]:
        """The whole history."""
        rows: list[dict[str, Any]] = []
        while True:
            after = rows[-1]["seq"] if rows else 0
            page = await self.get(f"/processes/{process_id}/history?after={after}&limit=500")
            rows += page["items"]
            if page["next_cursor"] is None:
                return rows

    async def executions(self, process_id: str) -> list[dict[str, Any]]:
        """Every execution, all visits."""
        page = await self.get(f"/processes/{process_id}/activities?limit=500")
        assert page["next_cursor"] is None
        found: list[dict[str, Any]] = page["items"]
        return found

    async def answer(self, process_id: str, activity: str, body: Any = UNSET, **options: Any) -> Answer:
        """Answer a manual activity."""
        return await self.post(f"/processes/{process_id}/activities/{activity}/resume", body, **options)

    async def cancel(self, process_id: str, body: Any = UNSET, **options: Any) -> Answer:
        """Cancel a process."""
        return await self.post(f"/processes/{process_id}/cancel", body, **options)


def _in_pieces(content: bytes | None) -> bytes | io.BytesIO | None:
    """aiohttp warns of large bodies that are sent in one piece."""
    return io.BytesIO(content) if content is not None and len(content) > 1_000_000 else content


_numbers = count(1)


def unique(prefix: str = "t") -> str:
    """A name that no other test and no earlier run has."""
    return f"{prefix}-{uuid4().hex[:10]}-{next(_numbers)}"


def define(*activities: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A definition with a name of its own."""
    return {"name": unique(), "activities": list(activities), **fields}


def http(activity: str, url: str, method: str = "GET", *, request: Any = None, **fields: Any) -> dict[str, Any]:
    """An http activity that is not tried again, unless `retry` says so."""
    return {
        "id": activity,
        "type": "http",
        "request": {"method": method, "url": url, **(request or {})},
        "retry": {"max_attempts": 1},
        **fields,
    }


def quick(attempts: int, **fields: Any) -> dict[str, Any]:
    """A retry policy without long breaks."""
    return {"max_attempts": attempts, "initial": "10ms", "jitter": "none", **fields}


def transform(activity: str, output: Any, **fields: Any) -> dict[str, Any]:
    """A transform activity."""
    return {"id": activity, "type": "transform", "output": output, **fields}


def decision(activity: str, *cases: tuple[str, str], **fields: Any) -> dict[str, Any]:
    """A decision of cases `(when, next)`."""
    return {
        "id": activity,
        "type": "decision",
        "cases": [{"when": when, "next": target} for when, target in cases],
        **fields,
    }


def wait(activity: str, **fields: Any) -> dict[str, Any]:
    """A wait; `for_` stands for the field `for`."""
    renamed = {name.rstrip("_"): value for name, value in fields.items()}
    return {"id": activity, "type": "wait", **renamed}


def manual(activity: str, **fields: Any) -> dict[str, Any]:
    """A manual activity."""
    return {"id": activity, "type": "manual", **fields}


def event(activity: str, kind: str, **fields: Any) -> dict[str, Any]:
    """An activity that announces an event."""
    return {"id": activity, "type": "event", "event": kind, **fields}


def activity_of(process: dict[str, Any], activity: str) -> dict[str, Any]:
    """The latest visit of an activity in a process document."""
    found: dict[str, Any] = next(found for found in process["activities"] if found["id"] == activity)
    return found


def types_of(rows: list[dict[str, Any]]) -> list[str]:
    """The history in short: its types, with the activity where there is one."""
    return [row["type"] if row["activity"] is None else f"{row['type']} {row['activity']}" for row in rows]


def assert_problem(answer: Answer, status: int) -> dict[str, Any]:
    """The problem that an answer must be."""
    assert answer.status == status, answer
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    problem: dict[str, Any] = answer.body
    assert problem["status"] == status
    assert {"type", "title", "status", "detail", "instance"} <= problem.keys()
    return problem


def pointers(answer: Answer) -> list[str]:
    """The pointers of a refusal with 422."""
    return [fault["pointer"] for fault in assert_problem(answer, 422)["errors"]]
