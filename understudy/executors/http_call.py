"""Calls an API: renders the request, sends it through the guarded client, and judges the answer."""

from collections.abc import Mapping
from typing import Any, Protocol

from msgspec import json

from understudy.domain.definition import HttpActivity
from understudy.domain.expression.errors import ExpressionError
from understudy.domain.failure import Category, Failure
from understudy.domain.ports import Assignment, ExecutorResult
from understudy.executors.exchange import Answer, EgressFailure, OutgoingRequest
from understudy.executors.outcome import expression_failed, failed, input_refused, succeeded
from understudy.executors.request import RequestRefused, build_request
from understudy.executors.secret import SecretScope

DETAILS_SIZE_MAX = 65_536


class Client(Protocol):
    """What sends a request."""

    async def send(self, request: OutgoingRequest) -> Answer:
        """Send a request; raises EgressFailure."""
        ...


class HttpCall:
    """Performs HTTP activities."""

    def __init__(self, client: Client, secrets: Mapping[str, str]) -> None:
        self._client = client
        self._secrets = secrets

    async def __call__(self, assignment: Assignment) -> ExecutorResult:
        """Perform one attempt."""
        secrets = SecretScope(self._secrets)
        try:
            request = build_request(assignment, secrets)
        except ExpressionError as error:
            return expression_failed(assignment, ExpressionText(secrets.redact(str(error))))
        except RequestRefused as error:
            return input_refused(assignment, secrets.redact(str(error)))
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
