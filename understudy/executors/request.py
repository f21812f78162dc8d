"""From an HTTP activity's templates to the request that is sent."""

from typing import Any
from urllib.parse import quote, urlencode

from msgspec import json

from understudy.domain.definition import HttpActivity
from understudy.domain.expression.budget import Budget
from understudy.domain.expression.template import Text
from understudy.domain.ports import Assignment
from understudy.domain.process import HTTP_TIMEOUT_DEFAULT
from understudy.executors.exchange import OutgoingRequest
from understudy.executors.secret import SecretScope


class RequestRefused(Exception):
    """A template has a value that does not fit its place in a request."""


def build_request(assignment: Assignment, secrets: SecretScope) -> OutgoingRequest:
    """Render a request.

    Raises:
        ExpressionError: a template has no value.
        RequestRefused: a value does not fit.
    """
    activity, step = assignment.step.activity, assignment.step
    assert isinstance(activity, HttpActivity)
    templates, budget = step.templates, Budget()
    scope = {**assignment.scope, "secrets": secrets}
    rendered: dict[str, Any] = {
        field: template.render(scope, budget) for field, template in templates.items() if field != "url"
    }
    target = templates["url"]
    assert isinstance(target, Text)
    url = target.render(scope, budget, _escape)
    headers = [(name, _text(value, f"header {name}")) for name, value in (rendered.get("headers") or {}).items()]
    content_type, body = _body(rendered)
    if content_type is not None and not any(name.lower() == "content-type" for name, _ in headers):
        headers.append(("content-type", content_type))
    timeout = step.timeout or HTTP_TIMEOUT_DEFAULT
    return OutgoingRequest(
        method=activity.request.method,
        url=_with_query(url, rendered.get("query") or {}),
        headers=tuple(headers),
        body=body,
        idempotency_key=str(assignment.effect.idempotency_key),
        timeout_seconds=timeout.total_seconds(),
        secret_headers=frozenset(name for name, value in headers if secrets.redact(value) != value),
    )


def _escape(before: str, value: str) -> str:
    """Keep an interpolated value inside its part of the URL; only where no host stands yet may it bring one."""
    scheme, separator, rest = before.partition("://")
    if not separator or not scheme or not rest:
        return value
    if "/" not in rest and "?" not in rest:
        raise RequestRefused("the host of the URL must be complete, with a / after it, before another value follows")
    if "?" not in rest and value in {".", ".."}:
        raise RequestRefused(f"the URL may not go up: {value!r} in its path")
    return quote(value, safe="")


def _with_query(url: str, query: dict[str, Any]) -> str:
    if "#" in url:
        raise RequestRefused("the URL of a request has no fragment (#)")
    pairs = [pair for name, value in query.items() for pair in _pairs(name, value)]
    return f"{url}{'&' if '?' in url else '?'}{urlencode(pairs)}" if pairs else url


def _pairs(name: str, value: Any) -> list[tuple[str, str]]:
    if value is None:
        return []
    if isinstance(value, list):
        return [(name, _text(item, f"query {name}")) for item in value]
    return [(name, _text(value, f"query {name}"))]


def _text(value: Any, place: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict | list) or value is None:
        raise RequestRefused(f"{place} must be text, a number or a boolean")
    return json.encode(value).decode()


def _body(rendered: dict[str, Any]) -> tuple[str | None, bytes | None]:
    if "body" in rendered:
        return "application/json", json.encode(rendered["body"])
    if "form" in rendered:
        pairs = [pair for name, value in rendered["form"].items() for pair in _pairs(name, value)]
        return "application/x-www-form-urlencoded", urlencode(pairs).encode()
    if "text" in rendered:
        return "text/plain; charset=utf-8", str(rendered["text"]).encode()
    return None, None
