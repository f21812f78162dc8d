import io

import structlog
from msgspec import json

from understudy.telemetry import configure_logging


def test_a_trace_shows_where_it_broke_and_no_variable() -> None:
    stream = io.StringIO()
    configure_logging("info", stream)
    token = "tok-" + "5d1f0c9a7e"
    try:
        len(token) // 0
    except ZeroDivisionError:
        structlog.get_logger().exception("broken", process_id="p-1")
    structlog.reset_defaults()
    line = json.decode(stream.getvalue())
    assert (line["event"], line["process_id"], line["level"]) == ("broken", "p-1", "error")
    assert line["exception"][0]["exc_type"] == "ZeroDivisionError"
    assert line["exception"][0]["frames"][0]["name"] == "test_a_trace_shows_where_it_broke_and_no_variable"
    assert token not in stream.getvalue()


def test_no_value_floods_a_line() -> None:
    stream = io.StringIO()
    configure_logging("info", stream)
    structlog.get_logger().info("long", text="x" * 1_000_000)
    structlog.reset_defaults()
    assert len(stream.getvalue()) < 10_000
