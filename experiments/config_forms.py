"""Forms made of a JSON schema: the fields of a dialog, and the configuration that it sends.

One level of objects within the schema becomes a group of fields. What is left empty is left out, so that
the schema's own rules say what is missing. `widget` in a property names a field of its own kind.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evalsuite.errors import InvalidBody

MODEL_NAME, MODEL_PROVIDER = "modelName", "modelProvider"
Options = Sequence[tuple[str, str]]
Schema = Mapping[str, Any]


@dataclass(slots=True)
class Field:
    """One thing to fill in. `widget` names its template part; a group has `fields` and no value."""

    name: str  # its path within the configuration: scale.minimum
    label: str
    widget: str
    value: str = ""
    checked: bool = False
    required: bool = False
    supporting: str = ""
    error: str = ""
    options: Options = ()
    limits: Mapping[str, Any] = field(default_factory=dict)  # min, max, step, maxlength
    fields: list[Field] = field(default_factory=list)


# From a configuration to fields


def fields_of(schema: Schema, config: Mapping[str, Any], *, models: Options = ()) -> list[Field]:
    """The fields of a dialog that shows this configuration."""
    maker = _Maker(models, str(config.get(MODEL_PROVIDER, "")))
    return maker.fields({**schema, "properties": _without_provider(schema)}, config, prefix="")


def _without_provider(schema: Schema) -> dict[str, Any]:
    """One field chooses provider and model together."""
    return {name: part for name, part in schema.get("properties", {}).items() if name != MODEL_PROVIDER}


@dataclass(frozen=True, slots=True)
class _Maker:
    models: Options
    provider: str  # of the model that is configured

    def fields(self, schema: Schema, values: Mapping[str, Any], *, prefix: str) -> list[Field]:
        return [
            self.field(
                name, part, values.get(name), prefix=prefix, required=name in schema.get("required", ())
            )
            for name, part in schema["properties"].items()
        ]

    def field(self, name: str, part: Schema, value: Any, *, prefix: str, required: bool) -> Field:
        widget = widget_of(part)
        made = Field(
            name=f"{prefix}{name}",
            label=part.get("title") or words(name),
            widget=widget,
            required=required,
            supporting=part.get("description", ""),
            limits=_limits(part),
        )
        shown = part.get("default") if value is None else value
        if widget == "group":
            inner = value if isinstance(value, Mapping) else {}
            made.fields = self.fields(part, inner, prefix=f"{made.name}.")
        elif widget == "switch":
            made.checked = bool(shown)
        elif widget == "model":
            made.options = self.models
            made.value = f"{self.provider} {value}" if value else ""
        else:
            made.options = [(str(each), words(str(each))) for each in part.get("enum", ())]
            made.value = _text(shown, widget)
        return made


def widget_of(part: Schema) -> str:
    """The kind of field that a property of the schema is filled in with."""
    kind = part.get("type")
    if "widget" in part:
        return str(part["widget"])
    if "enum" in part:
        return "select"
    if kind == "array" and part.get("items", {}).get("type") == "string":
        return "lines"
    if kind == "object" and "properties" in part:
        return "group"
    if kind == "object" and isinstance(part.get("additionalProperties"), Mapping):
        return "pairs"
    simple = {"boolean": "switch", "number": "number", "integer": "number", "string": "text"}
    return simple.get(kind, "json") if isinstance(kind, str) else "json"


def words(name: str) -> str:
    """`ignoreCase` for people: Ignore case."""
    return re.sub(r"[\s_]+|(?<=[a-z])(?=[A-Z])", " ", name).strip().capitalize()


def _limits(part: Schema) -> dict[str, Any]:
    names = {"minimum": "min", "maximum": "max", "maxLength": "maxlength"}
    limits = {ours: part[theirs] for theirs, ours in names.items() if theirs in part}
    if part.get("type") in ("integer", "number"):
        limits["step"] = 1 if part["type"] == "integer" else "any"
    return limits


def _text(value: Any, widget: str) -> str:
    if value is None:
        return ""
    if widget == "lines":
        return "\n".join(map(str, value))
    if widget == "pairs":
        ordered = sorted(value.items(), key=lambda item: (item[1], item[0]))
        return "\n".join(f"{key} = {number:g}" for key, number in ordered)
    if widget == "json":
        return json.dumps(value, ensure_ascii=False, indent=2)
    return f"{value:.15g}" if isinstance(value, float) else str(value)


# From what was sent to a configuration


def parsed(schema: Schema, sent: Mapping[str, str]) -> dict[str, Any]:
    """The configuration in a form's values. Raises InvalidBody for values that are none of their kind."""
    problems: dict[str, list[str]] = {}
    config = _parsed(schema, sent, "", problems)
    if problems:
        raise InvalidBody({f"config.{name}": why for name, why in problems.items()})
    return config


def _parsed(
    schema: Schema, sent: Mapping[str, str], prefix: str, problems: dict[str, list[str]]
) -> dict[str, Any]:
    config: dict[str, Any] = {}
    for name, part in schema.get("properties", {}).items():
        path = f"{prefix}{name}"
        widget = widget_of(part)
        if widget == "group":
            inner = _parsed(part, sent, f"{path}.", problems)
            if inner or name in schema.get("required", ()):
                config[name] = inner
        elif widget == "switch":
            config[name] = path in sent
        elif widget == "model":
            provider, _, model = sent.get(path, "").partition(" ")
            if name == MODEL_NAME and model:
                config |= {MODEL_PROVIDER: provider, MODEL_NAME: model}
        elif sent.get(path, "").strip():
            try:
                config[name] = _value(sent[path], widget, part)
            except ValueError as problem:
                problems[path] = [str(problem)]
    return config


def _value(text: str, widget: str, part: Schema) -> Any:
    if widget == "number":
        return _number(text, whole=part.get("type") == "integer")
    if widget == "lines":
        return [line.strip() for line in text.splitlines() if line.strip()]
    if widget == "pairs":
        return _pairs(text)
    if widget == "json":
        try:
            return json.loads(text, parse_constant=_no_constant)
        except RecursionError:
            raise ValueError("This is nested too deeply.") from None
        except json.JSONDecodeError as problem:
            raise ValueError(f"This is no valid JSON: {problem}.") from None
    return text.replace("\r\n", "\n")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value.")


def _number(text: str, *, whole: bool = False) -> float:
    try:
        number = int(text) if re.fullmatch(r"\s*[+-]?\d{1,18}\s*", text) else float(text)
    except ValueError:
        raise ValueError("This must be a number.") from None
    if whole and not isinstance(number, int):
        raise ValueError("This must be a whole number.")
    return number


def _pairs(text: str) -> dict[str, float]:
    """One a line, `name = number`."""
    found: dict[str, float] = {}
    for line in filter(str.strip, text.splitlines()):
        name, equals, number = line.rpartition("=")
        if not equals or not name.strip():
            raise ValueError(f"Each line is a label, = and its value, such as good = 1: {line.strip()[:60]}")
        if name.strip() in found:
            raise ValueError(f"{name.strip()[:60]} comes twice.")
        found[name.strip()] = _number(number)
    return found


# What was wrong


def refill(fields: Sequence[Field], sent: Mapping[str, str]) -> None:
    """Show what somebody wrote, right or wrong."""
    for each in _flat(fields):
        each.value = sent.get(each.name, "")
        each.checked = each.name in sent


def put_errors(fields: Sequence[Field], problems: Mapping[str, Sequence[str]]) -> list[str]:
    """Give each problem to its field, or to the one around it. Answers those that belong to none."""
    by_name = {each.name: each for each in _all(fields)}
    left: list[str] = []
    for path, why in problems.items():
        name = path.removeprefix("config.")
        while name and name not in by_name:
            name = name.rpartition(".")[0]
        if name:
            by_name[name].error = " ".join(filter(None, [by_name[name].error, *why]))
        else:
            left += why
    return left


def _all(fields: Sequence[Field]) -> list[Field]:
    return [one for each in fields for one in (each, *_all(each.fields))]


def _flat(fields: Sequence[Field]) -> list[Field]:
    return [each for each in _all(fields) if each.widget != "group"]
