from __future__ import annotations

import pytest

from experiments.models import (
    EvalMetricDefinition,
    Evaluator,
    ExperimentInput,
)
from tests.admin.helpers import (
    url,
)

BAD_JSON = [
    "[]",
    "nonsense",
    '{"temperature": 9}',
    '{"x": "\\u0000"}',
    '{"x": "\\ud800"}',
    '{"x": NaN}',
    '{"x": 1e999}',
    '{"x": ' + "9" * 5000 + "}",
    '{"x": ' + "[" * 3000 + "]" * 3000 + "}",
    '{"x": "' + "y" * 300_000 + '"}',
]


@pytest.mark.parametrize("config", BAD_JSON, ids=lambda text: text[:20])
def test_a_variants_config_is_checked(root, experiment, config):
    variant = experiment.variants.first()
    data = {"experiment": str(experiment.pk), "name": "V", "config": config}
    assert root.post(url(type(variant), "change", variant.pk), data).status_code == 200


def test_an_evaluators_settings_are_checked(root, experiment):
    row = experiment.evaluators.get()
    data = {"experiment": experiment.pk, "metric": row.metric_id, "kind": row.kind, "name": "E"}
    page = url(Evaluator, "change", row.pk)
    assert root.post(page, {**data, "config": '{"nonsense": 1}'}).status_code == 200
    assert root.post(page, {**data, "config": "{}"}).status_code == 302


def test_content_keeps_its_blanks_and_line_ends(root, experiment):
    row = experiment.inputs.first()
    data = {"experiment": experiment.pk, "key": "k", "content": "  two\r\nlines \r\n", "metadata": "{}"}
    page = url(ExperimentInput, "change", row.pk)
    assert root.post(page, data).status_code == 302
    row.refresh_from_db()
    assert row.content == "  two\nlines \n"
    assert root.post(page, {**data, "content": " \r\n "}).status_code == 200
    assert root.post(page, {**data, "content": "a\0b"}).status_code == 200
    assert root.post(page, {**data, "content": "x" * 1_000_001}).status_code == 200


def test_a_metric_has_a_range(root, experiment):
    metric = EvalMetricDefinition.objects.get()
    data = {"org": metric.org_id, "key": "k", "name": "K", "scale": "1-5", "direction": "higher"}
    page = url(EvalMetricDefinition, "change", metric.pk)
    assert root.post(page, {**data, "minimum": "5", "maximum": "1"}).status_code == 200
    assert root.post(page, {**data, "step": "0"}).status_code == 200
    assert root.post(page, {**data, "minimum": "nan"}).status_code == 200
    assert (
        root.post(page, {**data, "minimum": "1", "maximum": "5", "labels": '{"6": "off"}'}).status_code == 200
    )
    assert root.post(page, {**data, "labels": '{"x": "no number"}'}).status_code == 200
    assert root.post(page, {**data, "key": "No Key"}).status_code == 200
    assert root.post(page, {**data, "minimum": "1", "maximum": "5", "step": "1"}).status_code == 302
