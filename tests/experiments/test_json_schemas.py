"""JSON schemas that users write: what is refused, and that none can hang a worker or reach the network."""

from __future__ import annotations

import json
import socket
import time

import pytest

from evalsuite.errors import InvalidBody
from experiments.evaluators.base import Sample
from experiments.evaluators.json_schema import JsonSchema

SLOWEST_S = 6.0  # of processor time, on a busy machine


def verdict(schema, value, *, raw=False):
    config = {"schema": schema}
    JsonSchema.validate(config)
    return JsonSchema(config).evaluate(Sample(output=value if raw else json.dumps(value)))


PERSON = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": r"^\p{Lu}\p{Ll}+$"},
        "age": {"type": "integer", "minimum": 0},
        "friends": {"type": "array", "items": {"$ref": "#/$defs/friend"}, "uniqueItems": True},
    },
    "patternProperties": {"^x_": {"type": "string"}},
    "additionalProperties": False,
    "required": ["name"],
    "$defs": {"friend": {"$anchor": "friend", "anyOf": [{"type": "string"}, {"$ref": "#"}]}},
}


@pytest.mark.parametrize(
    ("value", "fits"),
    [
        ({"name": "Ada"}, 1),
        ({"name": "Ödön", "age": 36.0, "x_note": "first"}, 1),
        ({"name": "Ada", "friends": ["Bob", {"name": "Eve", "friends": []}]}, 1),
        ({"name": "ada"}, 0),
        ({"age": 3}, 0),
        ({"name": "Ada", "age": -1}, 0),
        ({"name": "Ada", "x_note": 1}, 0),
        ({"name": "Ada", "note": "a"}, 0),
        ({"name": "Ada", "friends": [{"name": "eve"}]}, 0),
        ({"name": "Ada", "friends": ["Bob", "Bob"]}, 0),
        ({"name": "Ada", "friends": [{"name": "Eve", "age": 1}, {"age": 1.0, "name": "Eve"}]}, 0),
        ([], 0),
    ],
)
def test_a_value_fits_or_does_not(value, fits):
    assert verdict(PERSON, value).value == fits


def test_says_what_does_not_fit_and_where():
    found = verdict(PERSON, {"name": "Ada", "friends": ["Bob", {"name": "Eve", "age": "x"}], "age": "old"})
    assert found.value == 0
    assert "'old' is not of type 'integer' (at age)" in found.note


def test_what_is_no_json_does_not_fit():
    assert verdict({}, "{'a': 1}", raw=True).value == 0
    assert verdict({"type": "array"}, "```json\n[1]\n```", raw=True).value == 0
    config = {"schema": {"type": "array"}, "allowFence": True}
    assert JsonSchema(config).evaluate(Sample(output="```json\n[1]\n```")).value == 1


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "objekt"}, "no JSON schema"),
        ({"type": 5}, "no JSON schema"),
        ({"properties": []}, "no JSON schema"),
        ({"minimum": "1"}, "no JSON schema"),
        ({"multipleOf": 0}, "no JSON schema"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "dialect"),
        ({"$schema": 5}, "dialect"),
        ({"$ref": "https://example.org/schema.json"}, "a part of this schema only"),
        ({"$ref": "file:///etc/passwd"}, "a part of this schema only"),
        ({"$ref": "other.json#/a"}, "a part of this schema only"),
        ({"$ref": "#/$defs/none"}, "a part of this schema only"),
        ({"$ref": "#none"}, "a part of this schema only"),
        ({"$ref": "#/default", "default": {"type": "object"}}, "a part of this schema only"),
        ({"$ref": "#/x", "x": {"pattern": 5}}, "a part of this schema only"),
        ({"$id": "https://example.org/", "$ref": "#"}, "$id is not supported"),
        ({"allOf": [{"$dynamicRef": "#a"}]}, "$dynamicRef is not supported"),
        ({"not": {"unevaluatedProperties": False}}, "unevaluatedProperties is not supported"),
        ({"items": {"$schema": "https://json-schema.org/draft/2020-12/schema"}}, "at the top only"),
        ({"pattern": "(?=a)"}, "no regular expression"),
        ({"patternProperties": {"(": {}}}, "no regular expression"),
        ({"allOf": [{"pattern": f"a{n}"} for n in range(51)]}, "at most 50 expressions"),
        ({"enum": ["x" * 70_000]}, "at most 65,536 characters"),
    ],
)
def test_a_schema_that_is_none_or_may_not_be_used_is_refused_with_the_reason(schema, reason):
    with pytest.raises(InvalidBody) as refused:
        JsonSchema.validate({"schema": schema})
    ((name, reasons),) = refused.value.fields.items()
    assert name == "config.schema"
    assert reason in " ".join(reasons)


def test_a_deep_schema_is_refused():
    schema = {}
    for _ in range(40):
        schema = {"not": schema}
    with pytest.raises(InvalidBody, match="32 levels"):
        JsonSchema.validate({"schema": schema})


def test_words_that_are_names_or_data_are_no_keywords():
    schema = {
        "properties": {"$ref": {"type": "string"}, "pattern": {"const": {"$ref": "https://example.org"}}},
        "examples": [{"$id": "x"}],
    }
    assert verdict(schema, {"$ref": "a", "pattern": {"$ref": "https://example.org"}}).value == 1


def doubled(levels):
    """As many checks as two to the power of the levels."""
    names = {
        f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}, {"$ref": f"#/$defs/d{n + 1}"}]}
        for n in range(levels)
    }
    return {"$ref": "#/$defs/d0", "$defs": {**names, f"d{levels}": {"type": "object"}}}


HOSTILE = {
    "checks that double": (doubled(60), "{}"),
    "a reference to itself": ({"$ref": "#"}, "{}"),
    "references in a ring": (
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
        "{}",
    ),
    "a reference to itself, deep down": (
        {"additionalProperties": {"$ref": "#"}, "items": {"$ref": "#"}},
        "[" * 900 + "]" * 900,
    ),
    "distinct objects": ({"uniqueItems": True}, json.dumps([{"a": n} for n in range(60_000)])),
    "distinct items at each of many levels": (
        {"uniqueItems": True, "items": {"$ref": "#"}},
        "[" * 300 + json.dumps("x" * 900_000) + "]" * 300,
    ),
    "a long list of values": ({"items": {"enum": [[n] for n in range(6_000)]}}, json.dumps([[-1]] * 100_000)),
    "many names for many objects": (
        {"items": {"properties": {f"p{n}": {} for n in range(4_000)}}},
        json.dumps([{}] * 200_000),
    ),
    "names that are wanted": (
        {"items": {"anyOf": [{"required": [f"p{n}" for n in range(5_000)]}, {}]}},
        json.dumps([{}] * 200_000),
    ),
    "an expression that explodes elsewhere": ({"pattern": "^(a+)+$"}, json.dumps("a" * 1_000_000 + "!")),
    "an expression with many states": (
        {"items": {"pattern": "[01]*1[01]{60}x"}},
        json.dumps(["01" * 500 + str(n % 2) * 100 for n in range(800)]),
    ),
    "many expressions for many names": (
        {"patternProperties": {f"^a{n}b*c": {} for n in range(50)}, "additionalProperties": False},
        json.dumps({f"a{n}bbbb": 1 for n in range(40_000)}),
    ),
    "one of many": ({"oneOf": [{"minItems": n} for n in range(2_000)]}, json.dumps([0] * 100_000)),
    "contains, for each": ({"items": {"contains": {"const": 1}}}, json.dumps([[0] * 100] * 3_000)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_schema_takes_long(name):
    schema, output = HOSTILE[name]
    begun = time.thread_time()
    found = verdict(schema, output, raw=True)
    assert time.thread_time() - begun < SLOWEST_S
    assert found.note or found.value == 1


def test_checks_that_double_give_a_missing_score_with_the_reason():
    found = verdict(doubled(60), {})
    assert found.value is None
    assert "too large or too deep" in found.note
    assert verdict(doubled(8), {}).value == 1


def test_nothing_is_asked_of_the_network(monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for reference in ("http://127.0.0.1:1/x", "https://json-schema.org/draft/2020-12/schema"):
        with pytest.raises(InvalidBody):
            JsonSchema.validate({"schema": {"$ref": reference}})
        # And where it was stored all the same:
        assert JsonSchema({"schema": {"$ref": reference}}) is not None
    assert verdict(PERSON, {"name": "Ada"}).value == 1
