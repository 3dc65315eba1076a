"""JSON schemas that users write: what they may say, and how a value is checked without harm.

A schema is a program. This one may not fetch anything, its expressions are RE2's, each step is counted,
and nothing in it takes time by the square of the answer.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from threading import local
from typing import Any

import jsonschema
from jsonschema import validators
from jsonschema.exceptions import SchemaError, ValidationError
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from experiments.evaluators.regex import TooHeavy, compiled, fits_whole

LONGEST_SCHEMA = 64 * 1024  # characters
DEEPEST_SCHEMA = 32
MOST_EXPRESSIONS = 50
MOST_STEPS = 50_000  # keywords and expressions applied to one answer. [some 0.5 s]
BUDGET_S = 1.0  # of this thread's processor time, for steps that are long themselves
DIALECT = "https://json-schema.org/draft/2020-12/schema"
# Where schemas stand in a schema: one, a list of them, or some by name.
ONE = {"additionalProperties", "items", "contains", "propertyNames", "not", "if", "then", "else"}
LISTED = {"allOf", "anyOf", "oneOf", "prefixItems"}
NAMED = {"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"}
REFUSED = {
    "$dynamicRef": "Use $ref.",
    "$recursiveRef": "Use $ref.",
    "$id": "Name parts of the schema by $defs.",
    "$vocabulary": "The vocabularies are those of the dialect.",
    "unevaluatedProperties": "Use additionalProperties.",
    "unevaluatedItems": "Use items: false after prefixItems.",
}
NO_FORMATS = jsonschema.FormatChecker(formats=())
_progress = local()


class TooMuch(Exception):
    """The check has taken as many steps as it may."""


def problems_of(schema: Mapping[str, Any]) -> list[str]:
    """Why this is no schema that may be used; empty where it is one."""
    if schema.get("$schema", DIALECT) != DIALECT:
        return [f"Only the dialect {DIALECT} is known."]
    if len(json.dumps(schema)) > LONGEST_SCHEMA:
        return [f"A schema may have at most {LONGEST_SCHEMA:,} characters."]
    if _depth(schema) > DEEPEST_SCHEMA:
        return [f"A schema may be nested at most {DEEPEST_SCHEMA} levels deep."]
    try:
        # Without formats: whether an expression is one is RE2's to say.
        jsonschema.Draft202012Validator.check_schema(schema, format_checker=NO_FORMATS)
    except SchemaError as error:
        where = "/".join(map(str, error.absolute_path))
        return [f"This is no JSON schema: {error.message[:200]}{f' (at {where})' if where else ''}"]
    return list(_objections(schema))


def _depth(value: Any) -> int:
    deepest, waiting = 0, [(value, 1)]
    while waiting:
        one, depth = waiting.pop()
        deepest = max(deepest, depth)
        inner = one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
        waiting.extend((part, depth + 1) for part in inner)
    return deepest


def _objections(schema: Mapping[str, Any]) -> Iterator[str]:
    parts = list(_subschemas(schema))
    known = {id(part) for part in parts}
    resolver = Registry().with_resource("", DRAFT202012.create_resource(schema)).resolver()
    expressions = [pattern for part in parts for pattern in _expressions(part)]
    for part in parts:
        yield from (f"{name} is not supported. {why}" for name, why in REFUSED.items() if name in part)
        if "$schema" in part and part is not schema:
            yield "$schema may stand at the top only."
        if "$ref" in part and not _leads_to(known, resolver, part["$ref"]):
            yield f"$ref may lead to a part of this schema only, and {part['$ref'][:100]} is none."
    if len(expressions) > MOST_EXPRESSIONS:
        yield f"A schema may have at most {MOST_EXPRESSIONS} expressions."
        return
    for pattern in expressions:
        try:
            compiled(pattern)
        except ValueError as error:
            yield f"{pattern[:100]}: {error}"


def _expressions(part: Mapping[str, Any]) -> Iterator[str]:
    if "pattern" in part:
        yield part["pattern"]
    yield from part.get("patternProperties", {})


def _leads_to(known: set[int], resolver: Any, reference: str) -> bool:
    """True where a reference is to one of these schemas. Nothing is looked for outside the schema."""
    if not reference.startswith("#"):
        return False
    try:
        found = resolver.lookup(reference).contents
    except (Unresolvable, ValueError, LookupError, TypeError):  # also what is no pointer at all
        return False
    return isinstance(found, bool) or id(found) in known


def _subschemas(schema: Any) -> Iterator[Mapping[str, Any]]:
    """The schema and every schema in it. Data that only looks like one is none."""
    waiting = [schema]
    while waiting:
        part = waiting.pop()
        if not isinstance(part, dict):
            continue
        yield part
        for keyword, value in part.items():
            if keyword in ONE:
                waiting.append(value)
            elif keyword in LISTED:
                waiting.extend(value)
            elif keyword in NAMED:
                waiting.extend(value.values())


def first_problem(schema: Mapping[str, Any], value: Any) -> str:
    """Why the value does not fit, empty where it does.

    Raises TooMuch or RecursionError where that cannot be found out in time, TooHeavy for an expression.
    """
    _progress.steps, _progress.until = 0, time.thread_time() + BUDGET_S
    # A part that names its dialect would be checked by that dialect's own class, not by ours.
    own = {name: rule for name, rule in schema.items() if name != "$schema"}
    error = next(_Bounded(own, registry=Registry()).iter_errors(value), None)
    if error is None:
        return ""
    where = "/".join(map(str, error.absolute_path))
    return f"{error.message[:200]}{f' (at {where[:100]})' if where else ''}"


Keyword = Callable[[Any, Any, Any, Any], Iterator[ValidationError]]


def _step() -> None:
    _progress.steps += 1
    if _progress.steps > MOST_STEPS or time.thread_time() > _progress.until:
        raise TooMuch


def _counted(check: Keyword) -> Keyword:
    def step(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        _step()
        yield from check(validator, value, instance, schema) or ()

    return step


def _fits(pattern: str, text: str) -> bool:
    _step()
    return fits_whole(compiled(pattern), text.encode())


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not _fits(pattern, instance):
        yield ValidationError(f"{instance[:80]!r} does not fit {pattern}")


def _pattern_properties(
    validator: Any, patterns: Mapping[str, Any], instance: Any, schema: Any
) -> Iterator[ValidationError]:
    if isinstance(instance, dict):
        for pattern, inner in patterns.items():
            for name, value in instance.items():
                if _fits(pattern, name):
                    yield from validator.descend(value, inner, path=name, schema_path=pattern)


def _additional_properties(
    validator: Any, inner: Any, instance: Any, schema: Mapping[str, Any]
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    for name, value in instance.items():
        if name not in known and not any(_fits(pattern, name) for pattern in patterns):
            if inner is False:
                yield ValidationError(f"There must be no property {name[:80]!r}")
            else:
                yield from validator.descend(value, inner, path=name)


def _unique_items(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    """By what the items look like, in linear time."""
    if wanted and isinstance(instance, list):
        looks = {json.dumps(_plain(item), sort_keys=True) for item in instance}
        if len(looks) < len(instance):
            yield ValidationError("The items must be distinct")


def _plain(value: Any) -> Any:
    """1.0 as 1, since they are the same number in JSON."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


_OURS: dict[str, Keyword] = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "uniqueItems": _unique_items,
}
_ALL: dict[str, Keyword] = {**jsonschema.Draft202012Validator.VALIDATORS, **_OURS}
_extend: Callable[..., Any] = validators.extend
_Bounded = _extend(jsonschema.Draft202012Validator, {name: _counted(check) for name, check in _ALL.items()})
__all__ = ["TooHeavy", "TooMuch", "first_problem", "problems_of"]
