"""Guessing passwords at the doors that there are, on a real server, with forged addresses."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from statistics import median

import pytest
import requests

from evalsuite.orgs import signing_in
from tests import factories

TRIES = 64
MOST = 10
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def checks(monkeypatch):
    """Counts the looks at a password, in whatever thread."""
    counted = Counter()
    lock = threading.Lock()
    genuine = signing_in.authenticate

    def authenticate(request, **given):
        with lock:
            counted["looks"] += 1
        return genuine(request, **given)

    monkeypatch.setattr(signing_in, "authenticate", authenticate)
    return counted


def forged(number):
    return {
        "X-Forwarded-For": f"10.{number}.0.1",
        "X-Real-IP": f"10.{number}.0.1",
        "Forwarded": "for=10.0.0.1",
    }


def by_api(url, username, number):
    body = {"username": username, "password": f"wrong {number}"}
    answer = requests.post(f"{url}/api/v1/auth/token", json=body, headers=forged(number), timeout=60)
    assert answer.status_code in {401, 429}
    return answer.status_code


def by_page(url, username, number, path="/login"):
    """As a browser does it: the form with its token first. Follows the admin's way to the one page."""
    session = requests.Session()
    session.headers = forged(number)
    page = session.get(url + path, timeout=60)
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)[1]
    body = {"username": username, "password": f"wrong {number}", "csrfmiddlewaretoken": token}
    answer = session.post(page.url, data=body, timeout=60)
    assert answer.status_code in {200, 429}
    assert "Log in" in answer.text
    return answer.status_code


def by_admin(url, username, number):
    return by_page(url, username, number, "/admin/login/")


DOORS = {"api": by_api, "console": by_page, "admin": by_admin}


def burst(url, door, names):
    with ThreadPoolExecutor(TRIES) as pool:
        return Counter(pool.map(lambda number: door(url, names(number), number), range(TRIES)))


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("trusted", [False, True])
def test_64_at_once_on_one_account_are_10_looks(site, alice, checks, settings, door, trusted):
    """Behind a trusted proxy that passes the client's claims on, each comes from an address of its own."""
    settings.TRUSTED_PROXY = trusted
    answers = burst(site.url, DOORS[door], lambda number: "alice")
    assert checks["looks"] == MOST
    assert answers[429] == TRIES - MOST


def test_64_at_once_on_as_many_names_from_one_address_are_10_looks(site, alice, checks):
    answers = burst(site.url, by_api, lambda number: f"name {number}")
    assert checks["looks"] == MOST
    assert answers == {401: MOST, 429: TRIES - MOST}


def test_the_doors_count_together(site, alice, checks):
    for door in list(DOORS.values()) * 5:
        door(site.url, "alice", 1)
    assert checks["looks"] == MOST


def test_unknown_names_get_the_same_answer_in_about_the_same_time(client, alice, org, settings):
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.PBKDF2PasswordHasher"]
    for name in ("known", "switched-off"):
        factories.make_user(name, org=org, is_active=name == "known")

    def look(name):
        began = time.thread_time()  # of the processor: what else the machine does is not in it
        body = {"username": name, "password": "wrong"}
        answer = client.post("/api/v1/auth/token", body, content_type="application/json")
        assert answer.status_code == 401
        return time.thread_time() - began, answer.content

    names = ("known", "unknown", "switched-off")
    rounds = [[look(name) for name in names] for _ in range(3)]  # in turn: what slows one slows all
    assert len({body for each in rounds for _, body in each}) == 1
    known, unknown, off = (median(took for took, _ in each) for each in zip(*rounds, strict=True))
    assert 0.6 < unknown / known < 1.6
    assert 0.6 < off / known < 1.6
