"""The command line's own client of the REST API."""

from types import TracebackType
from typing import Any, Self

import aiohttp
from msgspec import DecodeError, json

from understudy.config import Config

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
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._session: aiohttp.ClientSession | None = None

    @classmethod
    def of(cls, config: Config) -> Self:
        """The client for a configuration: `UNDERSTUDY_URL`, else where `dev` listens."""
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
        assert self._session is not None
        headers = {} if key is None else {"Idempotency-Key": key}
        data = None
        if body is not None:
            data, headers["Content-Type"] = json.encode(body), "application/json"
        try:
            async with self._session.request(
                method, f"{self._url}{path}", data=data, headers=headers, params=query
            ) as response:
                content = await response.read()
                status = response.status
        except (aiohttp.ClientError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            raise ApiError(f"{self._url} does not answer ({reason}); is `understudy dev` running?") from None
        return _read(status, content)


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
    raise ApiError("\n".join(lines), status)
