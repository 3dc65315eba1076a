"""What the server alone decides is in no body: it is refused by name, or changes nothing."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

import pytest

from tests.rights.calling import filled
from tests.rights.rules import API, CONSOLE
from tests.rights.test_matrix import url_of

pytestmark = [pytest.mark.django_db, pytest.mark.matrix]
INTRUDER = "canaryintruder"
FIELDS = (
    "id", "org", "orgId", "createdAt", "updatedAt", "createdBy", "creator", "author", "authorId", "user",
    "userId", "rater", "raterId", "evaluator", "evaluatorId", "state", "counts", "total", "attempt",
    "experimentId", "runId", "batchId", "output", "latencyMs", "inputTokens", "outputTokens", "thumbsUp",
    "thumbs", "variantCount", "runCount", "startedAt", "finishedAt", "version", "digest", "shared",
    "isDefault", "isSuperuser", "permissions", "token",
)  # fmt: skip
FORM_FIELDS = (
    *FIELDS, "org_id", "created_at", "created_by", "user_id", "rater_id", "thumbs_up", "latency_ms",
    "is_superuser", "run_id",
)  # fmt: skip
WRITES = [rule for rule in API if rule.method in ("POST", "PUT", "PATCH")]
FREE = {"config", "metadata", "variables"}  # a client's own JSON


def dicts_in(body, path=""):
    """Every object in a body, with the dotted path to it."""
    if isinstance(body, dict):
        yield path, body
        for name, inner in body.items():
            if name not in FREE:
                yield from dicts_in(inner, f"{path}{name}.")
    elif isinstance(body, list):
        for number, inner in enumerate(body):
            yield from dicts_in(inner, f"{path}{number}.")


@pytest.mark.parametrize("rule", WRITES, ids=lambda rule: f"{rule.method} {rule.path}")
def test_bodies_of_the_api(caller, rule):
    side = caller.world.sides["own"]
    ids = side.ids_for("owner")
    url = url_of("api", rule, ids["org"], ids)
    text = filled(json.dumps(rule.body or {}), ids)
    for place, given in list(dicts_in(json.loads(text))):
        body = json.loads(text)
        # What is a field of this body, such as one's own thumb, is not the server's alone.
        added = set(FIELDS) - set(given)
        dict(dicts_in(body))[place].update(dict.fromkeys(added, INTRUDER))
        seen = caller.call("owner", rule.method, url, body)
        what = (place, seen.status, seen.text[:300])
        if seen.status == 400:
            assert seen.error["error"] == "INVALID_BODY", what
            told = {name.rpartition(".")[2] for name in seen.error["details"]}
            assert added <= told, (*what, added - told)
            assert (seen.writes, seen.provider_calls) == ((), 0), what
        else:  # a route that takes no body at all
            assert rule.body is None, what
            assert seen.status in rule.answers, what
            assert not any(INTRUDER in write for write in seen.writes), what


FORMS = [rule for rule in CONSOLE if rule.method == "POST"]


@pytest.mark.parametrize("rule", FORMS, ids=lambda rule: urlsplit(rule.path).path)
def test_forms_of_the_console(caller, rule):
    """A form's other fields are left unread: all of them at once change nothing of what is written."""
    ids = caller.world.sides["own"].ids_for("owner")
    url = url_of("app", rule, ids["org"], ids)
    body = json.loads(filled(json.dumps(rule.body or {}), ids))
    known = {*body, "permissions", "evaluator"}  # the last: a choice in the dialog of `evaluate`
    seen = caller.call("owner", "POST", url, {**dict.fromkeys(set(FORM_FIELDS) - known, INTRUDER), **body})
    assert seen.status in rule.answers, (seen.status, seen.text[:300])
    assert not any(INTRUDER in write for write in seen.writes)


def test_the_admin_shows_no_field_of_the_server_for_writing(caller):
    """An experiment's author and times are not the form's to set."""
    ids = caller.world.sides["own"].ids_for("owner")
    page = f"/admin/experiments/experiment/{ids['experiment']}/change/"
    form = {"org": ids["org"], "name": "Other", "type": "prompt_eval", "metadata": "{}"}
    inline = {"variants-TOTAL_FORMS": "0", "variants-INITIAL_FORMS": "0"}
    seen = caller.call(
        "owner", "POST", page, {**form, **inline, **dict.fromkeys(FORM_FIELDS, INTRUDER), **form}
    )
    assert seen.status == 302
    assert seen.writes
    assert not any(INTRUDER in write for write in seen.writes)
