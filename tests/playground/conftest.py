"""A model server that answers by who asks, and a client of the bench's stream."""

from __future__ import annotations

import json

import pytest
import requests
from rest_framework_simplejwt.tokens import RefreshToken

from tests import factories
from tests.fakes.ollama import FakeOllama, answer
from tests.fakes.server import Script, Seen


class BySystemPrompt(FakeOllama):
    """Each column is told apart by its system prompt; "Hello" where nothing was scripted for it."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts: dict[str, Script] = {}

    def default(self, seen: Seen) -> Script:
        if seen.path != "/api/chat":
            return super().default(seen)
        return self.scripts.get(system_prompt(seen), answer("Hel", "lo"))

    def seen(self, name: str) -> Seen:
        return next(seen for seen in self.requests if system_prompt(seen) == name)


def system_prompt(seen: Seen) -> str:
    first = (seen.body["messages"] or [{"role": "none"}])[0]
    return first["content"] if first["role"] == "system" else ""


@pytest.fixture
def bench_ollama(org):
    with BySystemPrompt() as server:
        factories.set_default_model(org, factories.make_model(base_url=server.url, slots=8))
        yield server


@pytest.fixture
def bench(site, org, alice, bench_ollama):
    return Bench(f"{site.url}/api/v1/orgs/{org.pk}/playground", alice)


class Bench:
    """Calls the bench's routes as a user."""

    def __init__(self, url, user) -> None:
        self.url = url
        self.headers = {"Authorization": f"Bearer {RefreshToken.for_user(user).access_token}"}

    def post(self, route, body, **options):
        return requests.post(f"{self.url}/{route}", json=body, headers=self.headers, timeout=30, **options)

    def open(self, *names, prompt="hi", **body):
        """The answer to a comparison with a column for each name, as it begins."""
        columns = body.pop("columns", None) or [{"systemPrompt": name} for name in names]
        return self.post("compare/stream", {"prompt": prompt, "columns": columns, **body}, stream=True)

    def run(self, *names, **body):
        """All events of a comparison: (name, data)."""
        with self.open(*names, **body) as response:
            assert response.status_code == 200, response.text
            return list(events(response))


def events(response):
    block = {}
    for text in response.iter_lines(chunk_size=1, decode_unicode=True):
        if text:
            name, _, value = text.partition(": ")
            block[name] = value
        elif "event" in block:
            yield block["event"], json.loads(block["data"])
            block = {}


def ends(got):
    """The last word on each (column, repeat): event name and data."""
    return {(data["column"], data["repeat"]): (name, data) for name, data in got if name in ("done", "error")}
