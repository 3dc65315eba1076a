"""The one model server that a fuzzed installation may reach."""

from __future__ import annotations

from tests.fakes.ollama import FakeOllama, answer, model, stream
from tests.fakes.server import Script, Seen, json_script


class ProviderForAll(FakeOllama):
    """Lists one model, pulls any, and answers hello."""

    def default(self, seen: Seen) -> Script:
        if seen.path.endswith("/models"):  # of a server of the other kind
            return json_script({"object": "list", "data": [{"id": "new:1b", "object": "model"}]})
        path = "/api/" + seen.path.rpartition("/api/")[2]  # also below another address
        if path == "/api/chat":
            return answer("Hel", "lo")
        if path == "/api/pull":
            return stream({"status": "success"})
        if path == "/api/tags":
            return json_script({"models": [model("new:1b")]})
        return super().default(seen)
