"""The examples of the API guide, run as they stand there against the product on a socket."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import factories

GUIDE = Path(__file__).resolve().parent.parent / "docs" / "api.md"


@pytest.mark.django_db(transaction=True)
def test_examples_do_what_they_say(site, embedded_worker, org, alice, ollama, settings, capsys):
    settings.PRIVATE_PROVIDER_NETWORKS = ["127.0.0.0/8"]
    factories.set_default_model(org, factories.make_model(base_url=ollama.base_url, slots=8))
    examples = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(examples) == 3
    names = {"base": site.url, "username": "alice", "password": factories.PASSWORD}
    for example in examples:
        exec(compile(example, str(GUIDE), "exec"), names)
    assert names["answer"].status_code == 200
    assert names["run"].status_code == 200
    assert len(names["runs"]) == len(names["run"].json()["runs"]) == 12
    assert {run["state"] for run in names["runs"]} == {"succeeded"}
    assert [
        variant["cells"]["total"]
        for variant in names["api"].get(f"{names['one']}/results").json()["variants"]
    ] == [6, 6]
    [compared] = names["compared"]["comparisons"]
    assert (compared["metricKey"], compared["pairs"]) == ("correctness", 3)
    assert names["refused"].status_code == 409
    assert names["refused"].json()["error"] == "CONFLICT"
    assert "CONFLICT" in capsys.readouterr().out
