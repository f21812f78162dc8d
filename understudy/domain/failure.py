"""The error object of product.md section 2: what went wrong with an activity or a process, as a value."""

from enum import StrEnum
from typing import Any

from msgspec import Struct


class Category(StrEnum):
    """The four kinds of error that the requirements name."""

    VALIDATION = "validation"
    EXECUTION = "execution"
    EXTERNAL = "external"
    TIMEOUT = "timeout"


class Failure(Struct, frozen=True):
    """An error as users see it; `type` is dotted and matched by glob in `catch` and `retry`."""

    type: str
    category: Category
    message: str
    details: Any = None
    attempt: int | None = None
