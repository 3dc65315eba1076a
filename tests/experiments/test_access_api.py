"""Who may do what on the experiments' routes, and that no route tells of another org."""

from __future__ import annotations

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from evalsuite.ids import new_id
from experiments.models import EvalScore, Evaluator
from experiments.urls import api_urlpatterns
from tests import factories

pytestmark = pytest.mark.matrix

READ, RATE, WRITE = ("org:experiments:read", "org:experiments:rate", "org:experiments:write")
ROUTES = [
    ("GET", "metrics", READ),
    ("POST", "metrics", WRITE),
    ("GET", "metrics/{metric}", READ),
    ("PATCH", "metrics/{metric}", WRITE),
    ("DELETE", "metrics/{metric}", WRITE),
    ("GET", "evaluator-kinds", READ),
    ("GET", "experiments", READ),
    ("POST", "experiments", WRITE),
    ("GET", "experiments/{experiment}", READ),
    ("PATCH", "experiments/{experiment}", WRITE),
    ("DELETE", "experiments/{experiment}", WRITE),
    ("GET", "experiments/{experiment}/variants", READ),
    ("POST", "experiments/{experiment}/variants", WRITE),
    ("GET", "experiments/{experiment}/variants/{variant}", READ),
    ("PATCH", "experiments/{experiment}/variants/{variant}", WRITE),
    ("DELETE", "experiments/{experiment}/variants/{variant}", WRITE),
    ("GET", "experiments/{experiment}/inputs", READ),
    ("POST", "experiments/{experiment}/inputs", WRITE),
    ("GET", "experiments/{experiment}/inputs/{input}", READ),
    ("PATCH", "experiments/{experiment}/inputs/{input}", WRITE),
    ("DELETE", "experiments/{experiment}/inputs/{input}", WRITE),
    ("POST", "experiments/{experiment}/run", WRITE),
    ("POST", "experiments/{experiment}/run/plan", READ),
    ("GET", "experiments/{experiment}/batches", READ),
    ("GET", "experiments/{experiment}/runs", READ),
    ("GET", "experiments/{experiment}/results", READ),
    ("GET", "experiments/{experiment}/evaluators", READ),
    ("POST", "experiments/{experiment}/evaluators", WRITE),
    ("GET", "experiments/{experiment}/evaluators/{evaluator}", READ),
    ("PATCH", "experiments/{experiment}/evaluators/{evaluator}", WRITE),
    ("DELETE", "experiments/{experiment}/evaluators/{evaluator}", WRITE),
    ("POST", "experiments/{experiment}/evaluate", WRITE),
    ("POST", "experiments/batches/{batch}/evaluate", WRITE),
    ("GET", "experiments/batches/{batch}", READ),
    ("GET", "experiments/batches/{batch}/progress", READ),
    ("POST", "experiments/batches/{batch}/cancel", WRITE),
    ("POST", "experiments/batches/{batch}/retry", WRITE),
    ("POST", "experiments/batches/{batch}/pause", WRITE),
    ("POST", "experiments/batches/{batch}/resume", WRITE),
    ("GET", "experiments/runs/{run}", READ),
    ("DELETE", "experiments/runs/{run}", WRITE),
    ("POST", "experiments/runs/{run}/feedback", RATE),
    ("GET", "experiments/runs/{run}/scores", READ),
    ("POST", "experiments/runs/{run}/scores", RATE),
    ("GET", "experiments/runs/{run}/scores/{score}", READ),
    ("PATCH", "experiments/runs/{run}/scores/{score}", RATE),
    ("DELETE", "experiments/runs/{run}/scores/{score}", RATE),
]
LACKING = sorted(
    {(method, path) for _, path, _ in ROUTES for method in ("PUT", "TRACE", "GET", "POST", "PATCH", "DELETE")}
    - {(method, path) for method, path, _ in ROUTES}
)
# They need more than ids, so they stand below by themselves; tests/test_urlconf.py has their permissions.
WITH_WORDS = {
    "experiments/*/comparison": "experiments/{experiment}/comparison?baseline={variant}&candidate={input}",
    "experiments/*/export/*/*": "experiments/{experiment}/export/inputs/csv",
}
each_route = pytest.mark.parametrize(("method", "path", "permission"), ROUTES)


def rows_of(org):
    """One row of each kind, by the word that stands for its id in a path."""
    experiment = factories.make_experiment(org, inputs=1, variants=1)
    run = factories.make_run(experiment)
    type(run.batch).objects.filter(pk=run.batch_id).update(finished_at=timezone.now())
    metric = factories.make_metric(org)
    evaluator = Evaluator.objects.create(experiment=experiment, metric=metric, kind="exact_match", name="e")
    score = EvalScore.objects.create(run=run, metric=metric, value=1)
    rows = {
        "experiment": experiment,
        "variant": run.variant,
        "input": run.input,
        "batch": run.batch,
        "run": run,
        "metric": metric,
        "evaluator": evaluator,
        "score": score,
    }
    return {word: row.pk for word, row in rows.items()}


def call(client, method, org, path, ids):
    url = f"/api/v1/orgs/{org.pk}/{path.format(**ids)}"
    return client.generic(method, url, b"{}", content_type="application/json")


def signed_in(user):
    client = APIClient()
    client.force_authenticate(user)
    return client


def test_the_table_names_every_route():
    def shape(path):
        return "/".join("*" if step.startswith(("{", "<")) else step for step in path.split("/"))

    known = {shape(path) for _, path, _ in ROUTES}
    routes = {shape(str(route.pattern).removeprefix("orgs/<str:org_id>/")) for route in api_urlpatterns}
    assert {route for route in routes if not route.endswith("/events")} == known | WITH_WORDS.keys()


@pytest.mark.parametrize("path", WITH_WORDS.values())
def test_an_experiment_of_another_org_is_404_whatever_else_is_said(api, org, path):
    response = call(api, "GET", org, path, rows_of(factories.make_org()))
    assert (response.status_code, response.json()["error"]) == (404, "EXPERIMENT_NOT_FOUND")


@each_route
def test_without_signing_in_it_is_401(org, method, path, permission):
    response = call(APIClient(), method, org, path, rows_of(org))
    assert (response.status_code, response.json()["error"]) == (401, "UNAUTHENTICATED")


@each_route
def test_to_a_stranger_the_org_is_404(org, charlie, method, path, permission):
    response = call(signed_in(charlie), method, org, path, rows_of(org))
    assert (response.status_code, response.json()["error"]) == (404, "ORG_NOT_FOUND")


@pytest.mark.parametrize(("method", "path", "permission"), [row for row in ROUTES if "{" in row[1]])
@pytest.mark.parametrize("ids", ["foreign", "made up", "malformed"])
def test_ids_that_are_not_the_orgs_are_404(api, org, method, path, permission, ids):
    rows = rows_of(org)
    others = {
        "foreign": lambda: rows_of(factories.make_org()),
        "made up": lambda: dict.fromkeys(rows, new_id()),
        "malformed": lambda: dict.fromkeys(rows, "no-such-id"),
    }[ids]()
    words = [word for word in rows if f"{{{word}}}" in path]
    for word in words:
        response = call(api, method, org, path, {**rows, word: others[word]})
        assert (response.status_code, response.json()["error"]) == (404, f"{word.upper()}_NOT_FOUND")


@each_route
@pytest.mark.parametrize(("role", "may"), [("viewer", {READ}), ("rater", {READ, RATE})])
def test_a_role_without_the_permission_gets_403_naming_it(org, method, path, permission, role, may):
    response = call(signed_in(factories.make_user(org=org, role=role)), method, org, path, rows_of(org))
    if permission in may:
        assert response.status_code != 403 or response.json()["details"]["permission"] != permission
    else:
        assert (response.status_code, response.json()["error"]) == (403, "FORBIDDEN")
        assert response.json()["details"]["permission"] == permission


@pytest.mark.parametrize(("method", "path"), LACKING)
def test_a_method_that_the_route_lacks_is_405(api, org, path, method):
    response = call(api, method, org, path, rows_of(org))
    assert (response.status_code, response.json()["error"]) == (405, "METHOD_NOT_ALLOWED")
    assert response["Allow"]


@pytest.mark.parametrize("path", sorted({path for _, path, _ in ROUTES}))
def test_options_tells_the_methods(api, org, path):
    response = call(api, "OPTIONS", org, path, rows_of(org))
    assert response.status_code == 204
    methods = {method for method, at, _ in ROUTES if at == path}
    assert methods <= set(response["Allow"].split(", ")) <= methods | {"HEAD", "OPTIONS"}


@pytest.mark.parametrize("path", [path for method, path, _ in ROUTES if method == "GET"])
def test_head_answers_like_get_without_a_body(api, org, path):
    response = call(api, "HEAD", org, path, rows_of(org))
    assert (response.status_code, response.content) == (200, b"")
