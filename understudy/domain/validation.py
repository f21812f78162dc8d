"""Every fault of a definition at once, before anything is stored."""

from typing import Any

import msgspec

from understudy.domain.definition import Definition
from understudy.domain.fault import Fault, Faults
from understudy.domain.flow import check_flow
from understudy.domain.grammar import ACTIVITIES_MAX, check_definition
from understudy.domain.json_guard import JsonError, check_json
from understudy.domain.references import check_expressions

DEFINITION_SIZE_MAX = 256 * 1024


class InvalidDefinition(ValueError):
    """A definition that must not be stored or started; `faults` tells all that is wrong with it."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("; ".join(f"{fault.pointer or 'definition'}: {fault.message}" for fault in faults))
        self.faults = faults


def faults_of(raw: object) -> list[Fault]:
    """What is wrong with a raw definition: fields first, then flow, then expressions; at most 100 faults."""
    faults = Faults()
    try:
        check_json(raw)
    except JsonError as error:
        faults.add(error.pointer, error.message)
        return faults
    size = len(msgspec.json.encode(raw))
    if size > DEFINITION_SIZE_MAX:
        faults.add("", f"The definition has {size} bytes; at most {DEFINITION_SIZE_MAX} are allowed.")
        return faults
    check_definition(raw, faults)
    if isinstance(raw, dict):
        activities = _activities_of(raw)
        check_flow(raw, activities, faults)
        check_expressions(raw, activities, faults)
    return faults


def parse_definition(raw: object) -> Definition:
    """The definition that a raw value describes; raises InvalidDefinition."""
    faults = faults_of(raw)
    if faults:
        raise InvalidDefinition(faults)
    return msgspec.convert(raw, Definition)


def _activities_of(raw: dict[str, Any]) -> list[dict[str, Any]]:
    """The raw activities, an empty object in place of what is none, so that an index is that of the list."""
    activities = raw.get("activities")
    if not isinstance(activities, list):
        return []
    return [activity if isinstance(activity, dict) else {} for activity in activities[:ACTIVITIES_MAX]]
