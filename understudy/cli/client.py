"""The command line's own client of the REST API."""

import os
import socket
import ssl
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

import aiohttp
from msgspec import DecodeError, json

from understudy.config import Config, ConfigError

PATIENCE_SECONDS = 75.0
"""Longer than the longest time for which the API holds an answer back."""


class ApiError(Exception):
    """An answer that is an error, or none; the message is for people."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Client:
    """Speaks to a gateway; use it in an `async with`."""

    def __init__(self, url: str, api_key: str = "") -> None:
        self.url = url.rstrip("/")
        self.has_key = bool(api_key)
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._session: aiohttp.ClientSession | None = None

    @classmethod
    def of(cls, config: Config) -> Self:
        """The client for a configuration: `UNDERSTUDY_URL`, else where `dev` listens.

        Raises:
            ConfigError: the URL is none of HTTP.
        """
        if config.url and not config.url.lower().startswith(("http://", "https://")):
            raise ConfigError("UNDERSTUDY_URL must begin with http:// or https://")
        return cls(config.url or f"http://{config.host}:{config.port}", config.api_key)

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=PATIENCE_SECONDS)
        self._session = aiohttp.ClientSession(timeout=timeout, headers=self._headers)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def call(
        self, method: str, path: str, body: Any = None, *, query: dict[str, str] | None = None, key: str | None = None
    ) -> Any:
        """The decoded answer of a call.

        Raises:
            ApiError: the gateway refuses, or cannot be reached.
        """
        return (await self.answer(method, path, body, query=query, key=key))[1]

    async def answer(
        self, method: str, path: str, body: Any = None, *, query: dict[str, str] | None = None, key: str | None = None
    ) -> tuple[int, Any]:
        """The status and the decoded answer of a call.

        Raises:
            ApiError: the gateway refuses, or cannot be reached.
        """
        assert self._session is not None
        headers = {} if key is None else {"Idempotency-Key": key}
        data = None
        if body is not None:
            data, headers["Content-Type"] = json.encode(body), "application/json"
        try:
            async with self._session.request(
                method, f"{self.url}{path}", data=data, headers=headers, params=query
            ) as response:
                content = await response.read()
                status = response.status
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ApiError(f"{self.url} does not answer ({_reason(error)}); is `understudy dev` running?") from None
        return status, _read(status, content)


def _reason(error: Exception) -> str:
    if not isinstance(error, aiohttp.ClientConnectorError):
        return str(error) or type(error).__name__
    cause = error.os_error
    if cause.errno is None or isinstance(cause, socket.gaierror | ssl.SSLError):
        return cause.strerror or str(cause)
    return os.strerror(cause.errno)


def _read(status: int, content: bytes) -> Any:
    try:
        answer = json.decode(content) if content else None
    except DecodeError:
        raise ApiError(f"the answer (status {status}) is not JSON; is this an Understudy gateway?", status) from None
    if status < 400:
        return answer
    if not isinstance(answer, dict):
        raise ApiError(f"status {status}", status)
    lines = [f"{answer.get('title', 'error')}: {answer.get('detail') or status}"]
    lines += [f"  {fault.get('pointer') or '/'}: {fault.get('message')}" for fault in answer.get("errors") or ()]
    if status == HTTPStatus.UNAUTHORIZED:
        lines.append("set UNDERSTUDY_API_KEY to a key of this gateway")
    raise ApiError("\n".join(lines), status)
