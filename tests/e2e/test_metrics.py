"""The pages of metrics, by keyboard and with a screen reader."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from experiments.models import EvalMetricDefinition
from tests import factories
from tests.e2e.conftest import require_accessible

pytestmark = pytest.mark.browser


def test_a_metric_is_made_and_changed(signed_in, org):
    page = signed_in
    page.goto(f"/app/orgs/{org.pk}/experiments")
    page.get_by_role("main").get_by_role("link", name="Metrics").click()
    expect(page.get_by_text("No metrics yet.")).to_be_visible()
    page.get_by_role("button", name="New metric").click()
    page.get_by_label("Key").fill("tone")
    page.get_by_label("Minimum").fill("1")
    page.get_by_label("Maximum").fill("5")
    page.get_by_label("Labels").fill("1 = cold\n5 = warm")
    require_accessible(page)
    page.get_by_role("button", name="Create").press("Enter")
    expect(page.get_by_role("listitem").filter(has_text="1 to 5")).to_be_visible()
    require_accessible(page)
    page.get_by_role("link", name="tone").click()
    page.get_by_label("Direction").select_option("lower")
    require_accessible(page)
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("lower is better", exact=True)).to_be_visible()
    metric = EvalMetricDefinition.objects.get(org=org)
    assert (metric.direction, metric.labels) == ("lower", {"1": "cold", "5": "warm"})


def test_an_unused_metric_is_deleted_after_a_question(signed_in, org):
    page = signed_in
    metric = factories.make_metric(org, "tone")
    page.goto(f"/app/orgs/{org.pk}/metrics/{metric.pk}")
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete this metric").click()
    expect(page.get_by_text("No metrics yet.")).to_be_visible()
    assert not EvalMetricDefinition.objects.exists()
