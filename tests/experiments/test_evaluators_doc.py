"""docs/evaluators.md: its example works as it stands, and its table names every kind."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from evalsuite.errors import InvalidBody
from experiments.evaluators import regex, schemas
from experiments.evaluators.base import Sample
from experiments.evaluators.chrf import LONGEST
from experiments.evaluators.registry import ALL, KINDS
from tests.experiments import test_every_evaluator as contract

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs/evaluators.md").read_text()


@pytest.fixture
def example():
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    names: dict[str, object] = {"__name__": "example"}
    exec(compile(code, "docs/evaluators.md", "exec"), names)
    return next(one for one in names.values() if isinstance(one, type) and one.__module__ == "example")


def test_the_example_scores(example):
    assert example({"text": "Yes"}).evaluate(Sample(output="Yes, sir.")).value == 1
    verdict = example({"text": "Yes"}).evaluate(Sample(output="No."))
    assert (verdict.value, verdict.note) == (0, "It begins otherwise.")
    with pytest.raises(InvalidBody) as refused:
        example.validate({})
    assert refused.value.fields == {"config.text": ["This is required."]}


def test_the_example_keeps_the_contract(example, monkeypatch):
    monkeypatch.setitem(KINDS, example.kind, example)
    monkeypatch.setitem(contract.NEEDED, example.kind, {"text": "yes"})
    contract.test_its_schema_is_one_that_a_form_can_be_made_of(example.kind)
    contract.test_it_takes_its_own_defaults(example.kind)
    contract.test_an_unknown_setting_is_refused_by_name(example.kind)
    for output in contract.HOSTILE:
        contract.test_whatever_a_model_says_it_answers_in_time_with_a_finite_value_or_a_reason(
            example.kind, output
        )


def test_its_lines_are_as_few_as_promised(example):
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    assert len(code.split("class ")[1].splitlines()) <= 15


def test_the_table_names_every_kind_and_no_other():
    assert re.findall(r"^\| `(\w+)` \|", DOCUMENT, re.MULTILINE) == [kind.kind for kind in ALL]


def test_the_bounds_are_the_ones_that_hold():
    told = DOCUMENT.split("## Bounds")[1].split("\n## ")[0]
    for bound in (regex.LONGEST_PATTERN, regex.LARGEST_PROGRAM, schemas.MOST_STEPS, LONGEST):
        assert f"{bound:,}" in told
    assert all(
        f"`{word}`" in told for word in schemas.REFUSED if word not in ("$recursiveRef", "$vocabulary")
    )
