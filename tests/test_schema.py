"""The API's document: served to everybody, without a warning of its generator, valid, and complete."""

from __future__ import annotations

import re

import pytest
from django.contrib.staticfiles import finders
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema

from tests import factories
from tests.test_urlconf import API_CALLS, WITHOUT_PERMISSION

# Only what is about no org has no permission to lack and no object to miss.
ABOUT_NO_ORG = {f"/{path}" for path in WITHOUT_PERMISSION}
OPEN_TO_ALL = {"/api/v1/auth/token", "/api/v1/auth/token/refresh", "/api/v1/auth/logout"}
ORG = "/api/v1/orgs/{org_id}"
WITH_BODY = ("post", "put", "patch")


@pytest.fixture(scope="module")
def drained():
    """The document, and everything that its generator complained about."""
    GENERATOR_STATS.reset()
    with GENERATOR_STATS.silence():
        document = SchemaGenerator().get_schema(public=True)
    complaints = [*GENERATOR_STATS._warn_cache, *GENERATOR_STATS._error_cache]
    GENERATOR_STATS.reset()
    return document, complaints


@pytest.fixture
def document(drained):
    return drained[0]


def operations(document):
    return [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def test_it_is_made_without_a_warning(drained):
    assert drained[1] == []


def test_it_is_valid_openapi_3_1(document):
    validate_schema(document)
    assert document["openapi"].startswith("3.1.")


def test_every_route_of_an_org_is_in_it(document):
    described = {(path, method) for path, method, _ in operations(document)}
    streams = {call for call in API_CALLS if call[0].endswith("/events")}
    missing = {
        ("/" + re.sub(r"<\w+:(\w+)>", r"{\1}", path), method)
        for path, method in API_CALLS
        if (path, method) not in streams
    } - described
    assert missing == set()


def test_every_operation_about_an_org_declares_401_403_and_404(document):
    for path, method, operation in operations(document):
        if path not in ABOUT_NO_ORG:
            assert {"401", "403", "404"} <= operation["responses"].keys(), (method, path)


def test_every_operation_declares_401(document):
    for path, method, operation in operations(document):
        assert "401" in operation["responses"], (method, path)


def test_every_operation_with_a_body_declares_what_a_bad_one_gets(document):
    for path, method, operation in operations(document):
        if method in WITH_BODY:
            assert {"400", "413", "415"} <= operation["responses"].keys(), (method, path)


def test_every_error_has_the_one_shape(document):
    for path, method, operation in operations(document):
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                schema = response["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/Error"}, (method, path, status)
    assert document["components"]["schemas"]["Error"]["required"] == ["details", "error"]


def test_every_operation_has_a_name_of_its_own(document):
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert sorted(names) == sorted(set(names))


def test_a_key_that_is_refused_is_refused_by_the_document_too(document):
    parameters = document["paths"][f"{ORG}/experiments/{{experiment_id}}/run"]["post"]["parameters"]
    pattern = next(one["schema"]["pattern"] for one in parameters if one["name"] == "Idempotency-Key")
    assert re.search(pattern, "capitals 1")
    assert not any(re.search(pattern, key) for key in ("", " ", "a\tb", "é"))


def test_what_an_answer_tells_is_linked_to_what_takes_it(document):
    links = document["paths"][f"{ORG}/experiments"]["post"]["responses"]["201"]["links"]
    assert {"experiment_read", "experiment_export", "experiment_run", "variant_create"} <= links.keys()
    assert links["experiment_run"] == {
        "operationId": "experiment_run",
        "parameters": {"org_id": "$request.path.org_id", "experiment_id": "$response.body#/experiment/id"},
    }
    reading = document["paths"][f"{ORG}/experiments/runs/{{run_id}}"]["get"]["responses"]["200"]["links"]
    assert "run_delete" not in reading, "who reads a run has its id already"
    assert reading["batch_read"]["parameters"]["batch_id"] == "$response.body#/run/batchId"
    listing = document["paths"][f"{ORG}/chat-profiles"]["get"]["responses"]["200"]["links"]
    told = listing["chat_profile_read"]["parameters"]["profile_id"]
    assert told == "$response.body#/chatProfiles/0/id"


def test_a_version_is_taken_as_the_number_that_is_told(document):
    path = f"{ORG}/chat-profiles/{{profile_id}}/versions/{{version}}/restore"
    parameters = {one["name"]: one["schema"] for one in document["paths"][path]["post"]["parameters"]}
    told = document["components"]["schemas"]["ProfileVersion"]["properties"]["version"]
    assert parameters["version"]["type"] == told["type"] == "integer"


def test_whatever_has_an_id_in_its_address_is_linked(document):
    linked = {
        name
        for _, _, operation in operations(document)
        for response in operation["responses"].values()
        for name in response.get("links", {})
    }
    assert linked == {operation["operationId"] for path, _, operation in operations(document) if "{" in path}


def test_a_token_a_key_and_a_session_are_the_ways_in(document):
    schemes = document["components"]["securitySchemes"]
    kinds = {
        (scheme["type"], scheme.get("scheme") or scheme["in"], scheme.get("bearerFormat")): name
        for name, scheme in schemes.items()
    }
    assert kinds.keys() == {
        ("http", "bearer", "JWT"),
        ("http", "bearer", "evs_..."),
        ("apiKey", "cookie", None),
    }
    for path, method, operation in operations(document):
        ways = {name for way in operation.get("security", [{}]) for name in way}
        assert ways == (set() if path in OPEN_TO_ALL else set(kinds.values())), (method, path)


def test_secrets_are_taken_and_never_given(document):
    for name, schema in document["components"]["schemas"].items():
        secret = {"apiKey", "password"} & schema.get("properties", {}).keys()
        assert not secret or name.endswith("Request"), name


def test_anybody_may_read_it(client, db):
    response = client.get("/api/v1/schema")
    assert (response.status_code, response["Content-Type"]) == (200, "application/json")
    assert response.json()["openapi"].startswith("3.1.")


def test_a_stale_token_or_session_does_not_lock_its_reader_out(client, org):
    user = factories.make_user(org=org)
    client.force_login(user)
    type(user).objects.filter(pk=user.pk).update(is_active=False)
    for path in ("/api/v1/schema", "/api/v1/docs"):
        assert client.get(path, HTTP_AUTHORIZATION="Bearer stale").status_code == 200


def test_the_page_loads_only_what_we_serve_ourselves(client, db):
    response = client.get("/api/v1/docs", HTTP_ACCEPT="text/html")
    assert response.status_code == 200
    page = response.content.decode()
    assert not re.search(r"""["'(](https?:)?//""", page)
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(loaded) >= 4
    assert "/api/v1/docs?script=" in loaded
    for address in set(loaded) - {"/api/v1/docs?script="}:
        assert address.startswith("/static/")
        assert finders.find(address.removeprefix("/static/")), address


def test_the_page_asks_no_validator_elsewhere(client, db):
    script = client.get("/api/v1/docs?script=")
    assert script["Content-Type"].startswith("application/javascript")
    assert '"validatorUrl": null' in script.content.decode()


def test_the_page_may_reach_our_own_server_alone(client, db):
    policy = client.get("/api/v1/docs").headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert "http" not in policy
