"""What deploy/ holds: rules and settings that Prometheus takes, dashboards that ask for what there is."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from evalsuite.env import ROOT
from evalsuite.metrics.families import FAMILIES
from scripts import generate_dashboards  # the folder is no package: pytest puts the root on the path
from tests.metrics import prometheus

needs_prometheus = pytest.mark.skipif(not prometheus.programs(), reason="needs prometheus and promtool")
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}
OUR_NAMES = {name + suffix for name, family in FAMILIES.items() for suffix in SUFFIXES[family.kind]}
WORDS = re.compile(r"\b(?:experiment|playground|provider|quota|evalsuite)_[a-z_]+\b")
DASHBOARDS = sorted((prometheus.DEPLOY / "grafana/dashboards").glob("*.json"))


@needs_prometheus
def test_promtool_takes_configuration_and_rules(tmp_path):
    file = prometheus.configured(tmp_path)
    prometheus.promtool("check", "config", file)
    said = prometheus.promtool("check", "rules", prometheus.RULES)
    assert "SUCCESS" in said


@needs_prometheus
def test_each_alert_fires_in_its_situation_and_is_silent_beside_it():
    folder = prometheus.RULES.parent
    assert "SUCCESS" in prometheus.promtool("test", "rules", "alerts.test.yml", cwd=folder)
    told = yaml.safe_load((folder / "alerts.test.yml").read_text())
    cases = [case for test in told["tests"] for case in test["alert_rule_test"]]
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == set(prometheus.rules())
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == set(prometheus.rules())


def test_queries_name_only_metrics_that_we_have():
    queries = dict(prometheus.panels()) | {name: rule["expr"] for name, rule in prometheus.rules().items()}
    asked = {name: set(WORDS.findall(query)) for name, query in queries.items()}
    assert {name: names - OUR_NAMES for name, names in asked.items() if names - OUR_NAMES} == {}


def test_each_metric_is_drawn_somewhere():
    asked = set(WORDS.findall(" ".join(query for _, query in prometheus.panels())))
    stems = {name for name in FAMILIES if any(word.startswith(name) for word in asked)}
    assert set(FAMILIES) - stems == set()


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_dashboards_are_what_the_script_makes(file):
    assert file.read_text() == generate_dashboards.text(file.stem)


def test_dashboards_are_complete():
    assert {file.stem for file in DASHBOARDS} == set(generate_dashboards.DASHBOARDS)
    made = [json.loads(file.read_text()) for file in DASHBOARDS]
    assert len({board["uid"] for board in made}) == len(made)
    assert all(panel["targets"] for board in made for panel in board["panels"])


def test_dashboards_read_the_provisioned_source():
    text = (prometheus.DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text()
    [source] = yaml.safe_load(text)["datasources"]
    for file in DASHBOARDS:
        used = set(re.findall(r'"uid": "([^"]+)"', file.read_text())) - {f"evalsuite-{file.stem}"}
        assert used == {source["uid"]}


def test_every_metric_has_its_line_in_the_docs_and_no_other_has():
    rows = re.findall(
        r"^\| `([a-z_]+)(?:\{([^}]*)\})?` \| (\w+) \|",
        (ROOT / "docs/operations.md").read_text(),
        re.MULTILINE,
    )
    documented = {name: (tuple(filter(None, labels.split(", "))), kind) for name, labels, kind in rows}
    assert documented == {name: (family.labels, family.kind) for name, family in FAMILIES.items()}
