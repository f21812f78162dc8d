from typing import Final

from understudy.domain.expression.errors import ExpressionError

CHARACTERS_PER_STEP: Final = 64


class Budget:
    """What all expressions of one process step may spend together.

    `steps` is the work they may do; `size_max` bounds each value, in characters (a list counts eight for an element).
    """

    __slots__ = ("remaining", "size_max", "steps_max")

    def __init__(self, steps: int = 20_000, size_max: int = 1_048_576) -> None:
        self.remaining = steps
        self.steps_max = steps
        self.size_max = size_max

    @property
    def spent(self) -> int:
        """Steps taken so far."""
        return self.steps_max - self.remaining

    def charge(self, steps: int) -> None:
        """Takes steps; an exhausted budget stays exhausted."""
        if steps > self.remaining:
            self.remaining = 0
            raise ExpressionError("limit.steps", f"the evaluation needs more than {self.steps_max} steps")
        self.remaining -= steps

    def build(self, size: int) -> None:
        """Takes the steps for writing a value, before it is written."""
        if size > self.size_max:
            raise ExpressionError("limit.size", f"a value would be longer than {self.size_max} characters")
        self.charge(size // CHARACTERS_PER_STEP + 1)

    def build_list(self, length: int) -> None:
        """Takes the steps for writing a list."""
        self.build(length * 8)
