"""From a cell into the playground: all of it in the address, after the #."""

from __future__ import annotations

import json
import re
from html import unescape
from urllib.parse import unquote

import pytest

from tests import factories

pytestmark = pytest.mark.django_db
PARAMETERS = {
    "temperature": 0.2,
    "top_p": 0.9,
    "max_tokens": None,
    "seed": 0,
    "stop": ["\n"],
    "format": {"type": "object"},
    "num_ctx": 4096,
    "think": False,
    "tools": [],
}


@pytest.fixture
def run(org):
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "a & b # <i>ü</i>"}]
    experiment = factories.make_experiment(org, inputs=1, variants=1)
    return factories.make_run(experiment, messages=messages, parameters=PARAMETERS)


def link(client, org, run):
    page = client.get(f"/app/orgs/{org.pk}/experiments/runs/{run.pk}").content.decode()
    found = re.search(r'href="([^"]*#open=[^"]*)"', page)
    return found and unescape(found[1])


def test_a_cell_s_page_links_to_the_playground_with_all_that_was_sent(client, org, alice, run):
    client.force_login(alice)
    path, _, values = link(client, org, run).partition("#open=")
    assert path == f"/app/orgs/{org.pk}/playground"
    assert json.loads(unquote(values)) == {
        "prompt": "a & b # <i>ü</i>",
        "columns": [
            {
                "temperature": 0.2,
                "topP": 0.9,
                "seed": 0,
                "stop": ["\n"],
                "format": {"type": "object"},
                "think": False,
                "modelProvider": "ollama",
                "modelName": "tiny:1b",
                "systemPrompt": "Be kind.",
            }
        ],
    }


def test_who_may_not_use_the_playground_is_not_led_there(client, org, run):
    client.force_login(factories.make_user(org=org, role="rater"))
    assert link(client, org, run) is None


def test_what_is_too_long_for_an_address_has_no_link(client, org, alice, run):
    run.messages = [{"role": "user", "content": "x" * 250_000}]
    run.save()
    client.force_login(alice)
    assert link(client, org, run) is None
