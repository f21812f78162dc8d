from msgspec import Struct


class HttpLimits(Struct, frozen=True, kw_only=True):
    """What a client may take up. A connection that sends no whole header for `keepalive_seconds` is closed."""

    body_size_max: int = 2 * 1024 * 1024
    body_seconds: float = 30.0
    wait_seconds_max: float = 60.0
    page_size: int = 50
    page_size_max: int = 500
    header_size_max: int = 8190
    header_count_max: int = 100
    keepalive_seconds: float = 75.0
    linger_seconds: float = 5.0
    ready_seconds: float = 5.0
    stop_seconds: float = 20.0
