"""Every setting, read once from the environment into a frozen value; what is not a setting is an error.

A setting `NAME` is `UNDERSTUDY_NAME` in the environment, or `UNDERSTUDY_NAME_FILE` for the path of a file that holds
it. `UNDERSTUDY_SECRET_<NAME>` is what `secrets.<NAME>` resolves to.
"""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, field

from understudy.domain.duration import DurationError, parse_duration

PREFIX = "UNDERSTUDY_"
SECRET_PREFIX = "UNDERSTUDY_SECRET_"  # noqa: S105 - the name of a family of settings
TEST_PREFIX = "UNDERSTUDY_TEST_"
FILE_SUFFIX = "_FILE"

CONFIDENTIAL = frozenset(
    {"postgres_url", "postgres_admin_url", "rabbitmq_url", "redis_url", "cache_url", "api_keys", "api_key"}
)


class ConfigError(Exception):
    """A setting that cannot be used; the message names it and never holds a confidential value."""


class Config(Struct, frozen=True, kw_only=True):
    """All settings with their defaults; durations are texts such as "10s"."""

    postgres_url: str = ""
    postgres_admin_url: str = ""
    rabbitmq_url: str = ""
    queue_type: Literal["classic", "quorum"] = "classic"
    redis_url: str = ""
    cache_url: str = ""
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8080
    api_keys: str = ""
    egress_allow: str = ""
    commit: Literal["effect", "each"] = "effect"
    lease_ttl: str = "10s"
    data_dir: str = ".understudy"
    node: str = ""
    node_host: str = "127.0.0.1"
    workers: Annotated[int, Meta(ge=0, le=1000)] = 1
    idle: str = "30s"
    drain: str = "20s"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    postgres_bin: str = ""
    valkey_bin: str = ""
    rabbitmq_bin: str = ""
    url: str = ""
    api_key: str = ""
    secrets: dict[str, str] = field(default_factory=dict)

    @property
    def lease_ttl_seconds(self) -> float:
        """How long a lease holds without a renewal."""
        return _seconds("lease_ttl", self.lease_ttl)

    @property
    def idle_seconds(self) -> float:
        """How long a process that waits stays in memory."""
        return _seconds("idle", self.idle)

    @property
    def drain_seconds(self) -> float:
        """How long a stopping node waits for requests in flight."""
        return _seconds("drain", self.drain)

    @property
    def egress_allowed(self) -> tuple[str, ...]:
        """The hosts and networks that outgoing calls may reach although they are not public."""
        return tuple(entry.strip() for entry in self.egress_allow.split(",") if entry.strip())


def read_config(environment: Mapping[str, str], **overrides: Any) -> Config:
    """The configuration from the environment; an override that is not None wins.

    Raises:
        ConfigError: a setting is unknown or malformed.
    """
    names = [name for name in Config.__struct_fields__ if name != "secrets"]
    values: dict[str, Any] = {}
    secrets: dict[str, str] = {}
    for variable, value in environment.items():
        if not variable.startswith(PREFIX) or variable.startswith(TEST_PREFIX):
            continue
        if variable.startswith(SECRET_PREFIX):
            name, text = _read(variable.removeprefix(SECRET_PREFIX), value)
            if name in secrets:
                raise ConfigError(
                    f"{SECRET_PREFIX}{name} is set twice: itself and as {SECRET_PREFIX}{name}{FILE_SUFFIX}"
                )
            secrets[name] = text
            continue
        name, text = _read(variable.removeprefix(PREFIX), value)
        if name.lower() not in names:
            raise ConfigError(f"{variable} is not a setting{_nearest(name.lower(), names)}")
        if name.lower() in values:
            raise ConfigError(f"{PREFIX}{name} is set twice: itself and as {PREFIX}{name}{FILE_SUFFIX}")
        values[name.lower()] = text
    values |= {name: value for name, value in overrides.items() if value is not None}
    try:
        config = msgspec.convert({**values, "secrets": secrets}, Config, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(_message(error)) from None
    for name in ("lease_ttl", "idle", "drain"):
        _seconds(name, getattr(config, name))
    return config


def _read(name: str, value: str) -> tuple[str, str]:
    if not name.endswith(FILE_SUFFIX):
        return name, value
    try:
        return name.removesuffix(FILE_SUFFIX), Path(value).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(f"{PREFIX}{name}: {value} cannot be read: {error.strerror}") from None


def _nearest(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {PREFIX}{close[0].upper()}?" if close else ""


def _message(error: msgspec.ValidationError) -> str:
    text, _, place = str(error).partition(" - at ")
    return f"{PREFIX}{place.strip('`$.').upper()}: {text}"


def _seconds(name: str, text: str) -> float:
    try:
        return parse_duration(text).total_seconds()
    except DurationError as error:
        raise ConfigError(f"{PREFIX}{name.upper()} is {text!r}: {error}") from None
