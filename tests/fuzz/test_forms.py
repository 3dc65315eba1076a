"""Whatever is posted to the console breaks nothing. `FUZZ_POSTS` says how much, `FUZZ_SEED` which."""

from __future__ import annotations

import os
from collections import Counter

import pytest
from django.db import transaction
from django.test import Client
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from evalsuite import throttle
from tests import factories
from tests.audit.test_every_route import of_url_conf
from tests.audit.world import build, open_batch
from tests.fuzz import forms
from tests.fuzz.providing import ProviderForAll

POSTS = int(os.environ.get("FUZZ_POSTS", "200"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))
MOST_EXAMPLES = -(-POSTS // len(forms.routes()))


@pytest.fixture
def world(org, alice, charlie, settings):
    settings.PRIVATE_PROVIDER_NETWORKS = ["127.0.0.0/8"]
    with ProviderForAll() as server:
        made = build(org, alice, server.url)
        elsewhere = charlie.memberships.get().org
        made.foreign = [factories.make_profile(elsewhere).pk, factories.make_experiment(elsewhere).pk]
        made.open_batch_id = open_batch(made)["batch_id"]
        yield made


def test_the_routes_are_those_of_the_url_conf():
    posts = {
        path
        for path, callback in of_url_conf()
        if hasattr(getattr(callback, "view_class", None), "post") and path.startswith(forms.BY_PEOPLE)
    }
    assert set(forms.routes()) == posts
    assert len(posts) > 35


def test_whatever_is_posted_breaks_nothing(world, alice):
    client = Client(raise_request_exception=False)
    client.force_login(alice)
    pages = forms.addresses_of(world, [path for path, _ in of_url_conf() if path.startswith(forms.BY_PEOPLE)])
    fields = forms.fields_of_pages(client, pages)
    assert len(fields) > 25, "the pages have forms"
    ids = [str(value) for name, value in vars(world).items() if name.endswith("_id")]
    ids += [str(pk) for pk in world.foreign]
    statuses: Counter[int] = Counter()
    broken: list[str] = []
    for path, address in forms.addresses_of(world, forms.routes()).items():
        body = forms.bodies(forms.known_fields(world, path), fields[path], ids)
        tried, failed = ask(client, address, body)
        assert tried.total() >= min(MOST_EXAMPLES, 5), path
        statuses += tried
        broken += failed
    print(f"\n{statuses.total():,} posts to {len(forms.routes())} routes, seed {SEED}: {dict(statuses)}")
    assert broken == []
    assert statuses.total() >= POSTS * 0.95
    assert statuses[302] + statuses[200] + statuses[204] > statuses.total() / 10, "some of them were right"


def ask(client, address, body):
    """The statuses of one address for as many bodies as there are to be, and what broke it."""
    tried: Counter[int] = Counter()
    broken: list[str] = []

    @seed(SEED)
    @settings(
        max_examples=MOST_EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(body, st.sampled_from(forms.HEADERS))
    def post(data_and_type, headers):
        data, content_type = data_and_type
        status = posted(client, address, data, content_type, headers)
        tried[status] += 1
        if status >= 500:
            broken.append(f"{status} POST {address} {content_type!r} {headers} {data[:2_000]!r}")

    post()
    return tried, broken


def posted(client, address, data, content_type, headers):
    """The status. What was written is taken back, so that each post meets the same rows."""
    throttle._local.cache_clear()
    cookies = client.cookies.copy()
    with transaction.atomic():
        answer = client.generic("POST", address, data, content_type=content_type, headers=headers)
        transaction.set_rollback(True)
    client.cookies = cookies
    return answer.status_code
