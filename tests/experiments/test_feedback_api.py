"""Feedback: thumbs and notes on one run."""

from __future__ import annotations

import pytest
from prometheus_client import REGISTRY

from evalsuite.audit.models import AuditEvent
from tests import factories


@pytest.fixture
def run(org):
    return factories.make_run(factories.make_experiment(org, inputs=1, variants=1))


@pytest.fixture
def url(org, run):
    return f"/api/v1/orgs/{org.pk}/experiments/runs/{run.pk}/feedback"


def thumbs(run, direction):
    labels = {
        "orgId": str(run.experiment.org_id),
        "experimentId": str(run.experiment_id),
        "variantId": str(run.variant_id),
    }
    return REGISTRY.get_sample_value(f"experiment_feedback_thumbs_{direction}_total", labels) or 0


@pytest.mark.parametrize("thumb", [True, False, None])
def test_sets_the_thumb_and_answers_exactly_ok(api, run, url, thumb):
    response = api.post(url, {"thumbsUp": thumb, "note": "so so"}, format="json")
    assert (response.status_code, response.json()) == (200, {"ok": True})
    run.refresh_from_db()
    assert (run.thumbs_up, run.feedback_note) == (thumb, "so so")


def test_null_clears_and_what_is_left_out_stays(api, run, url):
    api.post(url, {"thumbsUp": True, "note": "good"}, format="json")
    api.post(url, {"thumbsUp": None}, format="json")
    run.refresh_from_db()
    assert (run.thumbs_up, run.feedback_note) == (None, "good")
    api.post(url, {"note": None}, format="json")
    run.refresh_from_db()
    assert run.feedback_note is None


def test_the_change_is_noted_with_what_was_before(api, run, url):
    api.post(url, {"thumbsUp": True}, format="json")
    api.post(url, {"thumbsUp": False}, format="json")
    event = AuditEvent.objects.first()
    assert event.event == "experiment.feedback.updated"
    assert (event.before, event.after) == ({"thumbsUp": True}, {"thumbsUp": False})


@pytest.mark.parametrize("body", [{}, {"thumbsUp": True}])
def test_feedback_that_changes_nothing_writes_no_event(api, run, url, body):
    type(run).objects.update(thumbs_up=True)
    assert api.post(url, body, format="json").status_code == 200
    assert not AuditEvent.objects.exists()


def test_counts_a_thumb_when_it_changes(api, run, url, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        for thumb in (True, True, False, None, True):
            api.post(url, {"thumbsUp": thumb}, format="json")
    assert (thumbs(run, "up"), thumbs(run, "down")) == (2, 1)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"thumbsUp": "true"}, "thumbsUp"),
        ({"thumbsUp": 1}, "thumbsUp"),
        ({"note": 5}, "note"),
        ({"note": "n" * 10_001}, "note"),
        ({"note": "a\0"}, "note"),
        ({"thumbs_up": True}, "thumbs_up"),
    ],
)
def test_bad_body_is_400_naming_the_field(api, url, body, field):
    response = api.post(url, body, format="json")
    assert (response.status_code, list(response.json()["details"])) == (400, [field])


def test_unknown_run_is_404(api, org):
    url = f"/api/v1/orgs/{org.pk}/experiments/runs/nonsense/feedback"
    assert api.post(url, {"thumbsUp": True}, format="json").json()["error"] == "RUN_NOT_FOUND"
