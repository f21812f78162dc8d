"""JSON Schema 2020-12 for inputs and answers, closed to the network and bounded in time."""

from typing import NoReturn

import jsonschema_rs

from understudy.domain.fault import Fault
from understudy.domain.json_guard import JsonError, check_json
from understudy.domain.pointer import pointer_of, shown
from understudy.domain.schema_cost import REFERENCES_MAX, SchemaCost

FAULTS_MAX = 50

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_MESSAGE_MAX = 300
# The validator builds every error before it hands out the first; where that is much work, one error must do.
_WORK_MAX = 200_000
# The `regex` crate: linear time, no look-around, no back references; the bound is on the size of a compiled pattern.
_PATTERNS = jsonschema_rs.RegexOptions(size_limit=2**18, dfa_size_limit=2**18)


class SchemaError(ValueError):
    """A JSON value that is no usable schema, at the JSON pointer inside it."""

    def __init__(self, message: str, pointer: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.pointer = pointer


class Schema:
    """A compiled schema; `format` is an annotation, references reach only into the schema itself."""

    def __init__(self, schema: object) -> None:
        """Raises SchemaError."""
        try:
            check_json(schema)
        except JsonError as error:
            raise SchemaError(error.message, error.pointer) from None
        if not isinstance(schema, dict | bool):
            raise SchemaError("A schema is an object or a boolean.")
        self._cost = SchemaCost(schema)
        _refuse_foreign_parts(self._cost)
        try:
            self._validator = jsonschema_rs.Draft202012Validator(
                schema, retriever=_refuse, pattern_options=_PATTERNS, validate_formats=False
            )
        except jsonschema_rs.ValidationError as error:
            raise SchemaError(_reason(error), pointer_of(error.instance_path)) from None

    def faults(self, value: object, pointer: str = "") -> list[Fault]:
        """What is wrong with a value that stands at `pointer`: nothing, or up to `FAULTS_MAX` faults."""
        try:
            check_json(value)
        except JsonError as error:
            return [Fault(pointer + error.pointer, error.message)]
        if self._cost.is_excessive(value):
            return [Fault(pointer, "The schema takes too many steps to check this value.")]
        try:
            self._validator.validate(value)
        except jsonschema_rs.ValidationError as error:
            is_small = self._cost.work(value) <= _WORK_MAX
            errors = list(self._validator.iter_errors(value))[:FAULTS_MAX] if is_small else [error]
            return [Fault(pointer + pointer_of(error.instance_path), _sentence(error.message)) for error in errors]
        return []


def _refuse_foreign_parts(cost: SchemaCost) -> None:
    references = cost.references
    if len(references) > REFERENCES_MAX:
        raise SchemaError(f"A schema has at most {REFERENCES_MAX} references.", pointer_of(references[-1].path))
    for keyword in cost.keywords:
        if keyword.name == "$schema" and (len(keyword.path) > 1 or str(keyword.argument).rstrip("#") != _DIALECT):
            raise SchemaError(
                f"The dialect is '{_DIALECT}', stated at the top or not at all.", pointer_of(keyword.path)
            )
        if keyword.name == "$id" and len(keyword.path) > 1:
            raise SchemaError("Only the whole schema may carry an $id.", pointer_of(keyword.path))
    for keyword in references:
        if isinstance(keyword.argument, str) and not keyword.argument.startswith("#"):
            message = f"The reference {shown(keyword.argument)} leads out of the schema; it must start with '#'."
            raise SchemaError(message, pointer_of(keyword.path))


def _refuse(uri: str) -> NoReturn:
    raise ValueError(f"{shown(uri)} is not fetched")


def _reason(error: jsonschema_rs.ValidationError) -> str:
    match error.kind:
        case jsonschema_rs.ValidationErrorKind.Format(format="regex"):
            return (
                "The pattern is malformed, too large, or uses look-around or back references, which are not available."
            )
        case _:
            return _sentence(error.message)


def _sentence(message: str) -> str:
    return message if len(message) <= _MESSAGE_MAX else message[:_MESSAGE_MAX] + "…"
