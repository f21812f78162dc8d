"""Secrets by reference: resolved just before a request is sent, removed by value from everything that comes back."""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

from msgspec import json

REDACTED = "[redacted]"


class SecretScope(Mapping[str, str]):
    """What `secrets` means in the templates of one request; remembers which values were used."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._secrets = secrets
        self._used: set[str] = set()

    def __getitem__(self, name: str) -> str:
        value = self._secrets[name]
        self._used.add(value)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._secrets)

    def __len__(self) -> int:
        return len(self._secrets)

    def redact(self, value: Any) -> Any:
        """The value without any secret that was used, wherever it stands."""
        shapes = {shape for secret in self._used if secret for shape in _shapes(secret)}
        # Longest first: one secret may be part of another.
        return _redact(value, sorted(shapes, key=len, reverse=True)) if shapes else value


def _shapes(secret: str) -> tuple[str, ...]:
    """A secret as it went out: bare, in a URL, in a form, in JSON; targets echo what they were sent."""
    return secret, quote(secret, safe=""), quote(secret), quote_plus(secret), json.encode(secret).decode()[1:-1]


def _redact(value: Any, secrets: list[str]) -> Any:
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, REDACTED)
        return value
    if isinstance(value, dict):
        return {_redact(key, secrets): _redact(item, secrets) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_redact(item, secrets) for item in value]
    # A secret of digits may come back as a number.
    if type(value) in {int, float} and any(secret in str(value) for secret in secrets):
        return REDACTED
    return value
