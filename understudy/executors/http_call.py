"""Calls an API: renders the request, sends it through the guarded client, and judges the answer."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from msgspec import json
from yarl import URL

from understudy.domain.definition import HttpActivity
from understudy.domain.expression.errors import ExpressionError
from understudy.domain.failure import Category, Failure
from understudy.domain.messages import ExecutorFailed
from understudy.domain.ports import Assignment, ExecutorResult
from understudy.executors.exchange import Answer, EgressFailure, OutgoingRequest
from understudy.executors.outcome import expression_failed, failed, input_refused, succeeded
from understudy.executors.request import RequestRefused, build_request
from understudy.executors.secret import SecretScope

DETAILS_SIZE_MAX = 65_536
HOST_LENGTH_MAX = 253


class Client(Protocol):
    """What sends a request."""

    async def send(self, request: OutgoingRequest) -> Answer:
        """Send a request; raises EgressFailure."""
        ...


class Observer(Protocol):
    """Who hears of the requests to other hosts."""

    def count(self, host: str, at: datetime, error: str | None, *, is_repeat: bool) -> None:
        """An attempt has ended, with this type of failure if it failed."""
        ...


class HttpCall:
    """Performs HTTP activities."""

    def __init__(self, client: Client, secrets: Mapping[str, str], observer: Observer | None = None) -> None:
        self._client = client
        self._secrets = secrets
        self._observer = observer

    async def __call__(self, assignment: Assignment) -> ExecutorResult:
        """Perform one attempt."""
        secrets = SecretScope(self._secrets)
        try:
            request = build_request(assignment, secrets)
        except ExpressionError as error:
            return expression_failed(assignment, ExpressionText(secrets.redact(str(error))))
        except RequestRefused as error:
            return input_refused(assignment, secrets.redact(str(error)))
        result = await self._exchange(assignment, request, secrets)
        host = _host(request.url)
        # A host that comes from a secret is told to nobody.
        if self._observer is not None and host and host == _host(secrets.redact(request.url)):
            failure = result.failure.type if isinstance(result, ExecutorFailed) else None
            self._observer.count(host, assignment.now, failure, is_repeat=assignment.effect.attempt > 1)
        return result

    async def _exchange(self, assignment: Assignment, request: OutgoingRequest, secrets: SecretScope) -> ExecutorResult:
        try:
            answer = await self._client.send(request)
        except EgressFailure as failure:
            return failed(assignment, _failure(failure, secrets), is_unknown=failure.is_unknown)
        return _judge(assignment, answer, secrets)


class ExpressionText(Exception):
    """The message of an expression's error without secrets."""


def _judge(assignment: Assignment, answer: Answer, secrets: SecretScope) -> ExecutorResult:
    activity = assignment.step.activity
    assert isinstance(activity, HttpActivity)
    body, headers = secrets.redact(answer.body), secrets.redact(answer.headers)
    is_expected = 200 <= answer.status <= 299 if activity.expect is None else answer.status in activity.expect
    if is_expected:
        return succeeded(assignment, {"status": answer.status, "headers": headers, "body": body})
    failure = Failure(
        f"http.status.{answer.status}",
        Category.EXTERNAL,
        f"the target answered with status {answer.status}",
        {"status": answer.status, "headers": headers, "body": _bounded(body)},
    )
    return failed(assignment, failure, retry_after=answer.retry_after_seconds)


def _failure(failure: EgressFailure, secrets: SecretScope) -> Failure:
    return Failure(
        failure.type,
        Category(failure.category),
        secrets.redact(failure.message),
        secrets.redact(failure.details) or None,
    )


def _bounded(body: Any) -> Any:
    text = json.encode(body)
    return body if len(text) <= DETAILS_SIZE_MAX else text[:DETAILS_SIZE_MAX].decode(errors="ignore")


def _host(url: str) -> str:
    """Host and port of a URL, the port only where it is not the usual one; empty when there is none to be read."""
    try:
        read = URL(url)
        host, port = read.raw_host or "", read.explicit_port
    except ValueError:
        return ""
    host = f"[{host}]" if ":" in host else host
    return host[:HOST_LENGTH_MAX] if port is None else f"{host[:HOST_LENGTH_MAX]}:{port}"
