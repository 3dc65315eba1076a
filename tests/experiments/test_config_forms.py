"""Forms made of JSON schemas: every kind of evaluator can be filled in, and comes back as it was."""

from __future__ import annotations

import pytest

from evalsuite.errors import InvalidBody
from experiments import config_forms
from experiments.config_forms import fields_of, parsed, put_errors
from experiments.evaluators.registry import KINDS

SCHEMA = {
    "type": "object",
    "properties": {
        "mode": {"enum": ["all", "any"], "default": "all"},
        "ignoreCase": {"type": "boolean", "default": True},
        "limit": {"type": "integer"},
        "tolerance": {"type": "number", "default": 0.5},
        "texts": {"type": "array", "items": {"type": "string"}},
        "schema": {"type": "object"},
        "either": {"type": ["object", "boolean"]},
        "pattern": {"type": "string", "maxLength": 100},
        "scale": {
            "type": "object",
            "properties": {
                "minimum": {"type": "number"},
                "labels": {"type": "object", "additionalProperties": {"type": "number"}},
            },
        },
        "modelProvider": {"type": "string", "widget": "model"},
        "modelName": {"type": "string", "widget": "model"},
    },
    "required": ["scale"],
}
CONFIG = {
    "mode": "any",
    "ignoreCase": False,
    "limit": 7,
    "tolerance": 0.25,
    "texts": ["one", "two words"],
    "schema": {"type": "object", "required": ["ä"]},
    "either": False,
    "pattern": "a|b",
    "scale": {"minimum": -1.5, "labels": {"so = so": 0.5, "good": 1}},
    "modelProvider": "ollama",
    "modelName": "tiny:1b",
}


def sent_back(fields):
    """What a browser sends of these fields."""
    sent = {}
    for each in config_forms._flat(fields):
        if each.widget != "switch":
            sent[each.name] = each.value
        elif each.checked:
            sent[each.name] = "on"
    return sent


def test_each_property_has_the_field_that_fits_it():
    widgets = {each.name: each.widget for each in fields_of(SCHEMA, {})}
    assert widgets == {
        "mode": "select",
        "ignoreCase": "switch",
        "limit": "number",
        "tolerance": "number",
        "texts": "lines",
        "schema": "json",
        "either": "json",
        "pattern": "text",
        "scale": "group",
        "modelName": "model",
    }
    fields = {each.name: each for each in fields_of(SCHEMA, {})}
    assert [each.name for each in fields["scale"].fields] == ["scale.minimum", "scale.labels"]
    assert (fields["ignoreCase"].label, fields["ignoreCase"].checked) == ("Ignore case", True)
    assert (fields["mode"].value, fields["tolerance"].value) == ("all", "0.5")


def test_a_configuration_comes_back_as_it_was():
    assert parsed(SCHEMA, sent_back(fields_of(SCHEMA, CONFIG))) == CONFIG


def test_what_is_left_empty_is_left_out():
    config = parsed(SCHEMA, {"limit": " ", "texts": "\n", "pattern": ""})
    assert config == {"ignoreCase": False, "scale": {}}


@pytest.mark.parametrize(
    ("name", "text", "word"),
    [
        ("limit", "many", "number"),
        ("limit", "1.5", "whole"),
        ("tolerance", "1,5", "number"),
        ("schema", "{", "no valid JSON"),
        ("schema", "[NaN]", "NaN"),
        ("schema", "[" * 100_000, ""),
        ("scale.minimum", "low", "number"),
        ("scale.labels", "good", "label"),
        ("scale.labels", "good = much", "number"),
        ("scale.labels", "good = 1\ngood = 2", "twice"),
        ("scale.labels", "= 1", "label"),
    ],
)
def test_what_is_none_of_its_kind_is_named_at_its_field(name, text, word):
    with pytest.raises(InvalidBody) as caught:
        parsed(SCHEMA, {name: text})
    assert list(caught.value.fields) == [f"config.{name}"]
    assert word in caught.value.fields[f"config.{name}"][0]


def test_a_problem_goes_to_its_field_or_the_one_around_it():
    fields = fields_of(SCHEMA, {})
    left = put_errors(
        fields,
        {"config.texts.0": ["Too short."], "config.scale.labels": ["No."], "config": ["Odd."], "": ["Gone."]},
    )
    by_name = {each.name: each.error for each in config_forms._all(fields)}
    assert (by_name["texts"], by_name["scale.labels"], by_name["scale"]) == ("Too short.", "No.", "")
    assert left == ["Odd.", "Gone."]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_field_for_each_setting(kind):
    schema = KINDS[kind].config_schema
    fields = {each.name: each for each in fields_of(schema, {})}
    assert set(fields) == set(schema["properties"]) - {"modelProvider"}
    assert all(each.label for each in config_forms._all(list(fields.values())))
    known = {"select", "switch", "number", "text", "textarea", "lines", "pairs", "json", "group", "model"}
    assert {each.widget for each in config_forms._all(list(fields.values()))} <= known
