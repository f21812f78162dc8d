"""How the service speaks about itself: one JSON object a line, on standard error."""

import logging
import sys
from typing import Any, TextIO

import structlog
from msgspec import json
from structlog.tracebacks import ExceptionDictTransformer

# Without local variables: they may hold secrets.
_tracebacks = structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False))
_encoder = json.Encoder(enc_hook=str)
_TEXT_MAX = 8_192


def configure_logging(level: str = "info", stream: TextIO | None = None) -> None:
    """Write structured logs from `level` on to a stream; standard error when none is given."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _tracebacks,
            _bounded,
            structlog.processors.JSONRenderer(serializer=_serialize),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(file=stream or sys.stderr),
        cache_logger_on_first_use=False,
    )


def _serialize(event: Any, **_: Any) -> str:
    return _encoder.encode(event).decode()


def _bounded(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Nothing that came from outside may flood a line."""
    for name, value in event.items():
        if isinstance(value, str) and len(value) > _TEXT_MAX:
            event[name] = f"{value[:_TEXT_MAX]}…"
    return event
