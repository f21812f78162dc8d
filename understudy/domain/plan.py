"""A definition compiled for running, once per node: defaults applied, expressions and schemas compiled."""

from collections.abc import Mapping
from datetime import timedelta
from typing import TypeAlias

import msgspec
from msgspec import UNSET, Struct

from understudy.domain.definition import (
    END,
    AnyActivity,
    Catch,
    DecisionActivity,
    Definition,
    JsonSchema,
    ManualActivity,
    Retry,
)
from understudy.domain.duration import parse_duration
from understudy.domain.expression.compiler import Expression, compile_expression
from understudy.domain.expression.template import Template, Text, compile_template, compile_text
from understudy.domain.places import templates_of
from understudy.domain.retry import RetryPolicy
from understudy.domain.schema import Schema

MAX_VISITS = 1000

CompiledTemplate: TypeAlias = Template | Text


class Step(Struct, frozen=True, kw_only=True, eq=False):
    """One activity, ready to be performed.

    `next` is where the process goes on after success, "@end" behind the last activity; for a decision it is where an
    operator's skip leads. `templates` holds the fields that are present, by name: url, headers, query, body, form,
    text, data, key, for, until, event.key, title, instructions, output.
    """

    activity: AnyActivity
    id: str
    type: str
    next: str
    timeout: timedelta | None
    deadline: timedelta | None
    retry: RetryPolicy
    catch: tuple[Catch, ...]
    max_visits: int
    templates: Mapping[str, CompiledTemplate]
    conditions: tuple[Expression, ...]
    form: Schema | None


class Plan(Struct, frozen=True, kw_only=True, eq=False):
    """A whole definition, ready to run; `output` is None when the last activity's output is that of the process."""

    definition: Definition
    start: str
    steps: Mapping[str, Step]
    timeout: timedelta | None
    output: Template | None
    input_schema: Schema | None


def compile_plan(definition: Definition) -> Plan:
    """The plan of a valid definition."""
    activities = definition.activities
    followers = [*(activity.id for activity in activities[1:]), END]
    return Plan(
        definition=definition,
        start=definition.start or activities[0].id,
        steps={
            activity.id: _step(activity, follower) for activity, follower in zip(activities, followers, strict=True)
        },
        timeout=_duration(definition.timeout),
        output=None if definition.output is UNSET else compile_template(definition.output),
        input_schema=_schema(definition.input),
    )


def _step(activity: AnyActivity, follower: str) -> Step:
    raw = msgspec.to_builtins(activity)
    return Step(
        activity=activity,
        id=activity.id,
        type=raw["type"],
        next=activity.next or follower,
        timeout=_duration(activity.timeout),
        deadline=_duration(activity.deadline),
        retry=_policy(activity.retry or Retry()),
        catch=activity.catch or (),
        max_visits=activity.max_visits or MAX_VISITS,
        templates={
            place.name: compile_text(value) if place.is_text else compile_template(value)
            for place, value in templates_of(raw)
        },
        conditions=(
            tuple(compile_expression(case.when) for case in activity.cases)
            if isinstance(activity, DecisionActivity)
            else ()
        ),
        form=_schema(activity.form) if isinstance(activity, ManualActivity) else None,
    )


def _policy(retry: Retry) -> RetryPolicy:
    default = RetryPolicy()
    return RetryPolicy(
        max_attempts=retry.max_attempts or default.max_attempts,
        initial=default.initial if retry.initial is None else parse_duration(retry.initial),
        factor=retry.factor or default.factor,
        maximum=default.maximum if retry.max is None else parse_duration(retry.max),
        jitter=retry.jitter != "none",
        on=retry.on or (),
        never=retry.never or (),
    )


def _duration(text: str | None) -> timedelta | None:
    return None if text is None else parse_duration(text)


def _schema(schema: JsonSchema | None) -> Schema | None:
    return None if schema is None else Schema(schema)
