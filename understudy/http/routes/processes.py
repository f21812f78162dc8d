"""Starting, reading and commanding processes."""

from contextlib import suppress

from aiohttp import web

from understudy.domain.errors import Malformed, Unreachable
from understudy.domain.views import ProcessView, Query
from understudy.http.answers import REPLAYED, answer
from understudy.http.body import read_command, read_json
from understudy.http.boundary import PROCESS_ID
from understudy.http.headers import call_of, refuse_stream
from understudy.http.limits import HttpLimits
from understudy.http.paging import limit_of, number_cursor, number_of, page, place_cursor, place_of
from understudy.http.polls import Polls
from understudy.http.query import (
    SEQ_MAX,
    definition_of,
    instant_of,
    key_of,
    label_of,
    read_query,
    state_of,
    wait_of,
    whole_number,
)
from understudy.http.requests import answer_request, cancel_reason, start_request
from understudy.http.schemas import Listing, activity_body, history_body, process_body, process_item
from understudy.http.table import Route, process_id_of
from understudy.runtime.calls import Accepted
from understudy.runtime.service import Service

_FILTERS = ("state", "definition", "key", "label", "created_after", "created_before", "limit", "cursor")


class ProcessRoutes:
    """`/processes` without events."""

    def __init__(self, service: Service, limits: HttpLimits, polls: Polls) -> None:
        self._service = service
        self._limits = limits
        self._polls = polls

    def table(self) -> list[Route]:
        return [
            Route("POST", "/processes", self.start),
            Route("GET", "/processes", self.search),
            Route("GET", "/processes/{process_id}", self.show),
            Route("GET", "/processes/{process_id}/history", self.history),
            Route("GET", "/processes/{process_id}/activities", self.activities),
            Route("POST", "/processes/{process_id}/activities/{activity}/resume", self.resume),
            Route("POST", "/processes/{process_id}/cancel", self.cancel),
        ]

    async def start(self, request: web.Request) -> web.Response:
        """Start a process; with `wait`, answer when it has ended or the time is over."""
        seconds = wait_of(read_query(request, ("wait",)), self._limits)
        call = call_of(request)
        started = await self._service.start(start_request(await read_json(request, self._limits)), call)
        process, status = started.process, started.status
        request[PROCESS_ID] = process.process_id
        if seconds is not None:
            # Once it is started, a caller without an idempotency key must learn its id.
            with suppress(Unreachable):
                process = await self._polls.hold(process.process_id, seconds)
            status = 200 if process.state.is_terminal else 202
        headers = {"Location": f"/processes/{process.process_id}"}
        return _process_answer(process, status, headers | REPLAYED if started.is_replay else headers)

    async def show(self, request: web.Request) -> web.Response:
        seconds = wait_of(read_query(request, ("wait",)), self._limits)
        process_id = process_id_of(request)
        if seconds is None:
            return _process_answer(await self._service.glance(process_id), 200)
        return _process_answer(await self._polls.hold(process_id, seconds), 200)

    async def search(self, request: web.Request) -> web.Response:
        """List processes, newest first."""
        query = read_query(request, _FILTERS)
        limit = limit_of(query, self._limits)
        name, version = definition_of(query)
        found = await self._service.search(
            Query(
                state=state_of(query),
                definition=name,
                definition_version=version,
                key=key_of(query),
                label=label_of(query),
                created_after=instant_of(query, "created_after"),
                created_before=instant_of(query, "created_before"),
                before=place_of(query),
                limit=limit + 1,
            )
        )
        return answer(page(found, limit, process_item, lambda view: place_cursor(view.created_at, view.process_id)))

    async def history(self, request: web.Request) -> web.Response:
        """Page through a history in its order."""
        refuse_stream(request)
        query = read_query(request, ("after", "limit", "cursor"))
        if "after" in query and "cursor" in query:
            raise Malformed("send after or cursor, not both")
        limit = limit_of(query, self._limits)
        after = number_of(query, b"h", SEQ_MAX)
        if after is None:
            after = whole_number(query, "after", 0, SEQ_MAX, default=0)
        rows = await self._service.history(process_id_of(request), after, limit + 1)
        return answer(page(rows, limit, history_body, lambda row: number_cursor(b"h", row.seq)))

    async def activities(self, request: web.Request) -> web.Response:
        """Page through the executions; as they are only added to, a position keeps its meaning."""
        query = read_query(request, ("limit", "cursor"))
        limit = limit_of(query, self._limits)
        skipped = number_of(query, b"a", SEQ_MAX) or 0
        found = await self._service.activities(process_id_of(request))
        end = skipped + limit
        cursor = number_cursor(b"a", end) if end < len(found) else None
        return answer(Listing([activity_body(execution) for execution in found[skipped:end]], cursor))

    async def resume(self, request: web.Request) -> web.Response:
        read_query(request)
        process_id = process_id_of(request)
        call = call_of(request, is_conditional=True)
        answered = answer_request(await read_command(request, self._limits))
        return _accepted(await self._service.answer(process_id, request.match_info["activity"], answered, call))

    async def cancel(self, request: web.Request) -> web.Response:
        read_query(request)
        process_id = process_id_of(request)
        call = call_of(request, is_conditional=True)
        reason = cancel_reason(await read_command(request, self._limits))
        return _accepted(await self._service.cancel(process_id, reason, call))


def _accepted(accepted: Accepted) -> web.Response:
    return _process_answer(accepted.process, accepted.status, REPLAYED if accepted.is_replay else {})


def _process_answer(process: ProcessView, status: int, headers: dict[str, str] | None = None) -> web.Response:
    return answer(process_body(process), status, {"ETag": f'"{process.version}"', **(headers or {})})
