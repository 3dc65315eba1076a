"""What a browser may do with our answers: said on every one of them, of every kind."""

from __future__ import annotations

import http.client
import re

import pytest
from django.contrib.staticfiles import finders
from django.test import Client
from django.urls import URLPattern, reverse

from evalsuite import health, web
from experiments.models import Experiment
from tests import factories
from tests.admin.helpers import PAGES, fill, url
from tests.test_urlconf import routes

RULES = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
HSTS = "max-age=31536000; includeSubDomains; preload"


def directives(answer):
    parts = (part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; "))
    return {name: sources.split(" ") for name, sources in parts}


def require_rules(answer, *, admin_page=False, docs_page=False):
    """The strict policy, and exactly what is written down as an exception."""
    sources = directives(answer)
    assert (sources["default-src"], sources["frame-ancestors"]) == (["'none'"], ["'none'"])
    assert (sources["form-action"], sources["base-uri"]) == (["'self'"], ["'none'"])
    allowed = {"'self'", "'none'"}
    more = {name: set(given) - allowed for name, given in sources.items() if set(given) - allowed}
    if admin_page:
        assert more == {
            "script-src": {"'unsafe-eval'"},
            "style-src-attr": {"'unsafe-inline'"},
            "img-src": {"data:"},
        }
    else:
        assert more == ({"img-src": {"data:"}} if docs_page else {})
    for name, value in RULES.items():
        assert answer.headers[name] == value, name


@pytest.fixture
def sam(org, client):
    """An operator's session, on an org with one row of everything."""
    user = factories.make_user("sam", org=org, role="owner", is_staff=True, is_superuser=True)
    fill(org, user)
    client.force_login(user)
    client.raise_request_exception = False
    return client


def test_every_kind_of_answer(sam, org, settings, monkeypatch):
    api, app = f"/api/v1/orgs/{org.pk}", f"/app/orgs/{org.pk}"
    experiment = Experiment.objects.first()
    checked, anybody = Client(enforce_csrf_checks=True), Client()
    checked.cookies = sam.cookies
    viewer = Client()
    viewer.force_login(factories.make_user(org=org, role="viewer"))
    answers = [
        (200, sam.get(f"{app}/experiments/{experiment.pk}")),
        (200, anybody.get("/login")),
        (200, sam.get("/api/v1/schema")),
        (200, sam.get(f"{api}/experiments")),
        (200, sam.head(f"{api}/experiments")),
        (204, sam.options(f"{api}/experiments")),
        (200, sam.get("/healthz")),
        (200, sam.get("/metrics")),
        (200, sam.get("/api/v1/docs?script")),
        (302, anybody.get("/app/")),
        (302, anybody.get("/admin/")),
        (302, anybody.get(f"{app}/experiments")),
        (400, sam.post(f"{api}/experiments", b"{", content_type="application/json")),
        (400, sam.get("/login", headers={"host": "evil.example"})),
        (401, anybody.get(f"{api}/experiments")),
        (401, anybody.get(f"{api}/experiments", headers={"authorization": "Bearer evs_x"})),
        (403, checked.post(f"{app}/experiments/new", {"name": "x"})),
        (403, checked.post(f"{api}/experiments", {}, content_type="application/json")),
        (403, viewer.post(f"{app}/experiments/new", {"name": "x"})),
        (403, viewer.post(f"{app}/experiments/new", {"name": "x"}, headers={"hx-request": "true"})),
        (403, viewer.get("/admin/login/")),
        (404, sam.get("/nothing")),
        (404, sam.get("/api/v1/nothing")),
        (404, sam.get(f"{app}/experiments/x")),
        (404, sam.get("/static/nothing.js")),
        (405, sam.get("/logout")),
        (405, sam.put(f"{api}/experiments", {}, content_type="application/json")),
        (406, sam.get(f"{api}/experiments", headers={"accept": "image/png"})),
        (415, sam.post(f"{api}/experiments", b"x", content_type="text/plain")),
    ]
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10
    answers.append((413, sam.post(f"{api}/experiments", b"x" * 20, content_type="application/json")))
    monkeypatch.setattr(health, "problems", lambda: 1 / 0)
    answers.append((500, sam.get("/readyz")))
    for status, answer in answers:
        assert answer.status_code == status, answer.request["PATH_INFO"]
        require_rules(answer)


def test_every_address_of_the_product(sam, org):
    """GET on all there is, with ids that exist where that is easy, and without a session."""
    seen = 0
    for path, pattern in routes():
        if not isinstance(pattern, URLPattern) or path.startswith(("admin/", "^")):
            continue
        address = "/" + re.sub(r"<[^>]+>", "x", path.replace("<str:org_id>", str(org.pk)))
        for client in (sam, Client(raise_request_exception=False)):
            require_rules(client.get(address), docs_page=address == "/api/v1/docs")
            seen += 1
    assert seen > 200


def test_every_page_of_the_admin(sam):
    for model in PAGES:
        for address in (
            url(model, "changelist"),
            url(model, "change", model.objects.first().pk),
            url(model, "history", model.objects.first().pk),
        ):
            answer = sam.get(address)
            assert answer.status_code == 200
            require_rules(answer, admin_page=True)


def test_the_exception_is_for_pages_that_staff_get(sam):
    require_rules(sam.get("/admin/"), admin_page=True)
    for answer in (
        sam.get("/admin/nothing"),
        sam.get("/admin/jsi18n/"),
        sam.get(url(Experiment, "changelist") + "?nothing=1"),
        Client().get("/admin/"),
        Client().get("/admin/nothing"),
    ):
        require_rules(answer)


def test_every_export(sam, org):
    experiment = Experiment.objects.first()
    doors = [f"/{door}/orgs/{org.pk}/experiments/{experiment.pk}/export" for door in ("api/v1", "app")]
    for table in ("inputs", "runs", "scores"):
        for kind in ("csv", "jsonl", "xlsx"):
            for door in doors:
                answer = sam.get(f"{door}/{table}/{kind}")
                assert answer.status_code == 200
                assert answer["Content-Disposition"].startswith("attachment")
                require_rules(answer)


def test_in_production_browsers_come_by_https_only(settings, client, db):
    settings.SECURE_HSTS_SECONDS = 31_536_000
    settings.SECURE_HSTS_INCLUDE_SUBDOMAINS = settings.SECURE_HSTS_PRELOAD = True
    settings.SECURE_SSL_REDIRECT = True
    for path, status in (("/login", 200), ("/nothing", 404), ("/app/", 302), ("/static/css/base.css", 200)):
        answer = Client().get(path, secure=True)
        assert (answer.status_code, answer.headers.get("Strict-Transport-Security")) == (status, HSTS)
        require_rules(answer)
    answer = Client().get("/login")
    assert (answer.status_code, answer["Location"]) == (301, "https://testserver/login")
    require_rules(answer)


def test_static_files(client, db):
    assert finders.find("js/ui.js")
    fresh = client.get("/static/js/ui.js")
    assert fresh.status_code == 200
    require_rules(fresh)
    known = client.get("/static/js/ui.js", headers={"if-modified-since": fresh["Last-Modified"]})
    assert known.status_code == 304
    require_rules(known)


def test_no_template_of_ours_needs_more():
    """No script, style or handler inside a page."""
    inline = re.compile(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=|javascript:", re.IGNORECASE)
    pages = list((web.settings.BASE_DIR / "templates").rglob("*.html"))
    assert len(pages) > 50
    assert [page.name for page in pages if inline.search(page.read_text())] == []


@pytest.mark.django_db(transaction=True)
def test_answers_over_a_socket(site, org, alice, ollama):
    """A stream, and what never reaches a view."""
    factories.set_default_model(org, factories.make_model(base_url=ollama.base_url))
    client = Client()
    client.force_login(alice)
    cookies = "; ".join(f"{name}={morsel.value}" for name, morsel in client.cookies.items())
    token = client.get(reverse("password_change")).cookies["csrftoken"].value
    headers = {
        "Cookie": f"{cookies}; csrftoken={token}",
        "X-CSRFToken": token,
        "Content-Type": "application/json",
    }
    stream = f"/api/v1/orgs/{org.pk}/playground/stream"
    for method, path, body, status in (
        ("POST", stream, b'{"prompt": "hello"}', 200),
        ("POST", stream, b"{}", 400),
        ("GET", "/%ff%fe", b"", 404),
        ("GET", "/login?%ff=%ff", b"", 200),
    ):
        connection = http.client.HTTPConnection(site.url.removeprefix("http://"), timeout=20)
        connection.request(method, path, body, headers if method == "POST" else {})
        answer = connection.getresponse()
        assert answer.status == status, path
        require_rules(answer)
        answer.read()
        connection.close()
