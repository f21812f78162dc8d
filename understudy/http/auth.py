"""Who calls, and what that caller may do."""

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Sequence
from enum import StrEnum
from hashlib import sha256
from hmac import compare_digest
from typing import NamedTuple

from msgspec import Struct

from understudy.http.problems import FORBIDDEN, UNAUTHENTICATED, Refusal

READING = frozenset({"GET", "HEAD"})
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="understudy", charset="UTF-8", Bearer realm="understudy"'}
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
_KEY = re.compile(r"[!-~]{1,512}", re.ASCII)


class Role(StrEnum):
    """What a key may do: read, also command, also administer."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


class Caller(NamedTuple):
    """Who made a call."""

    name: str
    role: Role


class ApiKey(Struct, frozen=True):
    """A key as the service knows it: only its SHA-256."""

    name: str
    digest: bytes
    role: Role = Role.OPERATOR

    def __repr__(self) -> str:
        return f"ApiKey(name={self.name!r}, role={self.role.value!r})"


def parse_api_keys(text: str) -> list[ApiKey]:
    """The keys in a text such as "ci:s3cret,alice:t0psecret:admin"; raises ValueError, which never quotes the text."""
    keys: list[ApiKey] = []
    for number, entry in enumerate(re.split(r"[,\n]", text), 1):
        if entry.strip():
            try:
                keys.append(_parse_entry(entry.strip()))
            except ValueError as error:
                raise ValueError(f"API key number {number}: {error}") from None
    if len({key.digest for key in keys}) < len(keys):
        raise ValueError("two API keys are the same")
    return keys


def _parse_entry(entry: str) -> ApiKey:
    parts = entry.split(":")
    if len(parts) not in (2, 3):
        raise ValueError("write it as name:key or name:key:role; a key holds no colon and no comma")
    name, key = parts[0], parts[1]
    if not _NAME.fullmatch(name):
        raise ValueError("a name has 1 to 64 letters, digits, dots, hyphens and underscores")
    if not _KEY.fullmatch(key):
        raise ValueError("a key has 1 to 512 printable ASCII characters without spaces")
    if len(parts) == 3 and parts[2] not in list(Role):
        raise ValueError("the role is viewer, operator or admin")
    return ApiKey(name, sha256(key.encode()).digest(), Role(parts[2]) if len(parts) == 3 else Role.OPERATOR)


class Authenticator:
    """Recognises callers by their keys; without any list of keys everybody is the administrator `dev`."""

    def __init__(self, keys: Sequence[ApiKey] | None) -> None:
        self._keys = None if keys is None else [(key, key.name.encode(), Caller(key.name, key.role)) for key in keys]

    @property
    def is_open(self) -> bool:
        """Whether no key is asked for."""
        return self._keys is None

    def caller(self, authorization: str | None) -> Caller:
        """Who sent this Authorization header.

        Raises:
            Refusal: 401, nobody who is known.
        """
        if self._keys is None:
            return _DEV
        name, key = _credentials(authorization)
        digest = sha256(key).digest()
        found: Caller | None = None
        # Every key is compared, so that the time taken tells nothing about which one was near.
        for known, known_name, caller in self._keys:
            is_key = compare_digest(known.digest, digest)
            if is_key and (name is None or name == known_name):
                found = caller
        if found is None:
            raise Refusal(UNAUTHENTICATED, "The key is not known.", _CHALLENGE)
        return found


_DEV = Caller("dev", Role.ADMIN)


def _credentials(authorization: str | None) -> tuple[bytes | None, bytes]:
    if authorization is None:
        raise Refusal(UNAUTHENTICATED, "Send a key: 'Authorization: Bearer <key>' or Basic name:key.", _CHALLENGE)
    scheme, _, parameter = authorization.partition(" ")
    token = parameter.strip().encode("utf-8", "surrogateescape")
    match scheme.lower():
        case "bearer":
            return None, token
        case "basic":
            try:
                name, colon, key = b64decode(token, validate=True).partition(b":")
            except Base64Error:
                colon = b""
            if colon:
                return name, key
            raise Refusal(UNAUTHENTICATED, "The Basic credentials are not base64 of name:key.", _CHALLENGE)
        case _:
            raise Refusal(UNAUTHENTICATED, "The scheme of Authorization is Bearer or Basic.", _CHALLENGE)


def check_role(caller: Caller, method: str, *, is_administrative: bool) -> None:
    """Refuse what a caller's role does not cover.

    Raises:
        Refusal: 403.
    """
    if caller.role is Role.ADMIN:
        return
    if is_administrative:
        raise Refusal(FORBIDDEN, f"This needs the role admin; {caller.name} is {caller.role}.")
    if caller.role is Role.VIEWER and method not in READING:
        raise Refusal(FORBIDDEN, f"This needs the role operator; {caller.name} is {caller.role}.")
