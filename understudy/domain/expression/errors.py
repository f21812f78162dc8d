from typing import Final

EXCERPT_LENGTH_MAX: Final = 80


class ExpressionError(Exception):
    """An expression that cannot be compiled, or that has no value in this scope.

    `kind` is one of `syntax`, `unsupported`, `unknown` (function), `limit.length`, `limit.depth`, `limit.nodes`,
    `limit.steps`, `limit.size`, `type`, `missing`, `value`, `overflow`, `division`. The message never quotes a value of
    the scope, because the scope may hold secrets: only types, and what stands in the source.
    """

    def __init__(self, kind: str, reason: str, position: int | None = None) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason
        self.position = position
        self.source: str | None = None

    def __str__(self) -> str:
        return self.message

    @property
    def is_limit(self) -> bool:
        """Limits end the evaluation; every other error can be absorbed by `&&` and `||`."""
        return self.kind.startswith("limit.")

    @property
    def message(self) -> str:
        """The reason, and the place as far as it is known."""
        if self.source is None:
            return self.reason
        excerpt = _excerpt(self.source, self.position or 0)
        if self.position is None:
            return f"{self.reason} (in `{excerpt}`)"
        return f"{self.reason} (column {self.position + 1} of `{excerpt}`)"

    def at(self, position: int) -> "ExpressionError":
        """Names the place, unless a narrower one is known."""
        if self.position is None:
            self.position = position
        return self

    def within(self, source: str) -> "ExpressionError":
        """Names the expression, unless it is known."""
        if self.source is None:
            self.source = source
        return self


def _excerpt(source: str, position: int) -> str:
    if len(source) > EXCERPT_LENGTH_MAX:
        start = max(0, min(position - EXCERPT_LENGTH_MAX // 2, len(source) - EXCERPT_LENGTH_MAX))
        end = start + EXCERPT_LENGTH_MAX
        source = ("…" if start else "") + source[start:end] + ("…" if end < len(source) else "")
    return "".join(character if character.isprintable() else " " for character in source)
