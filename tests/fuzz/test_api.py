"""A share of `make fuzz` in every run: each operation of the document, in each mode, over real HTTP."""

from __future__ import annotations

import pytest
import requests

from tests.fuzz import api
from tests.fuzz.providing import ProviderForAll
from tests.fuzz.stock import Stock

SEED = 1
EXAMPLES = {"positive": 1, "negative": 2, "stateful": 5}  # the last are chains
LEAST = {"positive": 100, "negative": 100, "stateful": 80}  # requests


@pytest.fixture
def stock(transactional_db, settings):
    settings.PRIVATE_PROVIDER_NETWORKS = ["127.0.0.0/8"]
    settings.LIMIT_PLAYGROUND_PER_MINUTE = None
    settings.RUN_SYNC_WAIT = 0.1  # there is no worker
    with ProviderForAll() as server:
        yield Stock(server.url)


@pytest.mark.parametrize("mode", api.MODES)
def test_no_answer_is_outside_the_document(site, stock, mode):
    document = requests.get(f"{site.url}/api/v1/schema", timeout=20).json()
    tally = api.run(document, site.url, stock, mode=mode, seed=SEED, examples=EXAMPLES[mode], cover=False)
    print(f"\n{mode}: {tally}")
    assert tally.told() == ""
    assert tally.requests >= LEAST[mode]
    if mode == "positive":
        assert len(tally.reached) == sum(map(len, document["paths"].values()))
