"""What bad input gets on any route: a clear error in the one shape, never a stack trace, never HTML."""

from __future__ import annotations

import pytest
from django.conf import settings

MB = 1024 * 1024


@pytest.fixture
def url(org):
    return f"/api/v1/orgs/{org.pk}/experiments"


def refused(response, status, error):
    assert (response.status_code, response["Content-Type"]) == (status, "application/json")
    body = response.json()
    assert body.keys() == {"error", "details"}
    assert body["error"] == error
    return body["details"]


def post(client, url, body, content_type="application/json"):
    return client.generic("POST", url, body, content_type=content_type)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"nonsense",
        b'{"name": "a",}',
        b"{'name': 'a'}",
        b'{"name": NaN}',
        b'{"name": "a", "metadata": {"n": Infinity}}',
        b'{"name": "a", "metadata": {"n": -Infinity}}',
        b'{"name": "\xff"}',
        "\ufeff{}".encode(),
    ],
)
def test_what_is_no_json_is_400_about_the_body(api, url, body):
    assert "body" in refused(post(api, url, body), 400, "INVALID_BODY")


@pytest.mark.parametrize("depth", [65, 1000, 100_000])
@pytest.mark.parametrize(("opened", "closed"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_deep_nesting_is_400(api, url, depth, opened, closed):
    body = b'{"name": "a", "metadata": ' + opened * depth + b"1" + closed * depth + b"}"
    details = refused(post(api, url, body), 400, "INVALID_BODY")
    assert "deeper" in str(details)


@pytest.mark.parametrize("text", ['"a\\u0000b"', '"\\ud800"', '"x\\udc00y"'])
def test_text_that_no_database_keeps_is_400_naming_the_field(api, url, text):
    assert list(refused(post(api, url, f'{{"name": {text}}}'), 400, "INVALID_BODY")) == ["name"]


@pytest.mark.parametrize("text", ['"a\\u0000b"', '"\\ud800"', "1e999"])
def test_the_same_inside_free_json_names_its_path(api, url, text):
    details = refused(post(api, url, f'{{"name": "a", "metadata": {{"k": [{text}]}}}}'), 400, "INVALID_BODY")
    assert list(details) == ["metadata.k.0"]


@pytest.mark.parametrize("key", ["a\\u0000b", "\\udfff"])
def test_a_key_that_no_database_keeps_is_400(api, url, key):
    refused(post(api, url, f'{{"name": "a", "metadata": {{"{key}": 1}}}}'), 400, "INVALID_BODY")


def test_a_pair_of_surrogates_is_a_character_like_any_other(api, url):
    response = post(api, url, b'{"name": "\\ud83d\\ude00"}')
    assert (response.status_code, response.json()["experiment"]["name"]) == (201, "\U0001f600")


@pytest.mark.parametrize("body", [b"[]", b"1", b'"text"', b"null", b"true"])
def test_a_body_that_is_no_object_is_400(api, url, body):
    assert "body" in refused(post(api, url, body), 400, "INVALID_BODY")


def test_an_empty_body_is_400_naming_what_is_missing(api, url):
    assert list(refused(post(api, url, b""), 400, "INVALID_BODY")) == ["name"]


def test_an_unknown_field_is_400_naming_it(api, url):
    details = refused(post(api, url, b'{"name": "a", "nmae": "b"}'), 400, "INVALID_BODY")
    assert list(details) == ["nmae"]


def test_a_body_of_17_mb_is_413(api, url):
    assert settings.DATA_UPLOAD_MAX_MEMORY_SIZE == 16 * MB
    body = b'{"name": "' + b"a" * (17 * MB) + b'"}'
    assert "message" in refused(post(api, url, body), 413, "TOO_LARGE")


@pytest.mark.parametrize("emoji", ["\U0001f600".encode(), rb"\ud83d\ude00"])
def test_an_emoji_makes_a_body_of_8_mb_too_large(api, url, emoji):
    text = b"a" * (8 * MB)
    assert "name" in refused(post(api, url, b'{"name": "' + text + b'"}'), 400, "INVALID_BODY")
    details = refused(post(api, url, b'{"name": "' + text + emoji + b'"}'), 413, "TOO_LARGE")
    assert "emoji" in details["message"]


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "text/xml"])
def test_a_body_that_is_not_sent_as_json_is_415(api, url, content_type):
    assert "message" in refused(post(api, url, b'{"name": "a"}', content_type), 415, "UNSUPPORTED_MEDIA_TYPE")


def test_asking_for_html_is_406_in_json(api, url):
    refused(api.get(url, HTTP_ACCEPT="text/html"), 406, "NOT_ACCEPTABLE")


@pytest.mark.parametrize("method", ["put", "patch", "delete", "trace"])
def test_a_method_that_the_route_lacks_is_405(api, url, method):
    response = getattr(api, method)(url)
    refused(response, 405, "METHOD_NOT_ALLOWED")
    assert "GET" in response["Allow"]


@pytest.mark.parametrize("path", ["/api/v1/nothing", "/api/v2/orgs", "/api/", "/api/v1/orgs/x/nothing"])
@pytest.mark.parametrize("method", ["get", "post", "delete"])
def test_an_unknown_path_is_404(api, db, path, method):
    refused(getattr(api, method)(path), 404, "RESOURCE_NOT_FOUND")


@pytest.mark.parametrize("org_id", ["x", "00000000-0000-0000-0000-000000000000", "%00", "a%2Fb", "é" * 300])
def test_an_id_that_no_org_has_is_404(api, db, org_id):
    response = api.get(f"/api/v1/orgs/{org_id}/experiments")
    assert (response.status_code, response["Content-Type"]) == (404, "application/json")


@pytest.mark.parametrize(
    "header", ["Bearer", "Bearer x", "Bearer a b", "Bearer \u00e9", "Bearer eyJhbGciOiJub25lIn0.e30."]
)
def test_a_bad_token_is_401(client, url, header):
    response = client.get(url, HTTP_AUTHORIZATION=header)
    refused(response, 401, "UNAUTHENTICATED")
    assert response["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("limit", ["0", "201", "x", "-1", "1.5", "", "²", "9" * 5000])
def test_a_bad_limit_is_400_naming_it(api, url, limit):
    assert list(refused(api.get(url, {"limit": limit}), 400, "INVALID_BODY")) == ["limit"]


@pytest.mark.parametrize("cursor", ["zzz", "cD0x", "cD0AAA==", "cD0lMDA=", "bz0tMQ=="])
def test_a_cursor_that_was_not_made_here_is_refused(api, url, cursor):
    response = api.get(url, {"cursor": cursor})
    assert (response.status_code, response.json()["error"]) in {
        (400, "INVALID_BODY"),
        (404, "RESOURCE_NOT_FOUND"),
    }
