"""Schemathesis over the whole document of the API, in each of three modes."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.config._checks import (
    NEGATIVE_DATA_REJECTION_EXPECTED_STATUSES,
    POSITIVE_DATA_ACCEPTANCE_EXPECTED_STATUSES,
)
from schemathesis.core.parameters import ParameterLocation
from schemathesis.engine import events, from_schema
from schemathesis.openapi.checks import RejectedPositiveData, UseAfterFree

from tests.fuzz import chains
from tests.fuzz.exceptions import REVOKED, expected
from tests.fuzz.stock import Stock
from tests.fuzz.tally import Tally

MODES = ("positive", "negative", "stateful")
UUID = re.compile(r"[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}")
TIMEOUT_S = 30
PATIENCE_S = 20  # of providers: our server is slower than some time-outs, and a 504 is right then
# Beside what the checks take by themselves: a text that is too long may make a body too large, and a key that
# is sent twice says nothing of its second request.
CHECKS = {
    "negative_data_rejection": {"expected-statuses": [*NEGATIVE_DATA_REJECTION_EXPECTED_STATUSES, "413"]},
    "positive_data_acceptance": {"expected-statuses": [*POSITIVE_DATA_ACCEPTANCE_EXPECTED_STATUSES, "422"]},
}
IDS = {
    "chatProfileId": "profile_id",
    "baselineBatchId": "batch_id",
    "inputIds": "input_id",
    "variantIds": "variant_id",
    "evaluatorIds": "evaluator_id",
    "sessionId": "session_id",
}
NAMES = {"modelProvider": "own", "modelName": "tiny:1b", "username": "newcomer"}


def schema_of(
    document: dict[str, Any], url: str, token: str, *, mode: str, seed: int, examples: int, cover: bool
) -> Any:
    """The document with the settings of one run."""
    # NUL is refused wherever it stands, as the document's first words say: it makes no request right.
    generation = {
        "mode": "negative" if mode == "negative" else "positive",
        "max-examples": examples,
        "no-shrink": True,
        "allow-x00": mode == "negative",
        "database": "none",
    }
    no_ids = {"extra-data-sources": {"responses": False}}  # of earlier answers: the stock has them
    config = SchemathesisConfig.from_dict(
        {
            "seed": seed,
            "cache": {"enabled": False},  # a seed alone decides what is asked
            "base-url": url,
            "headers": {"Authorization": f"Bearer {token}"},
            "request-timeout": TIMEOUT_S,
            "output": {"sanitization": {"enabled": False}},  # a failure is to be repeated as it was
            "generation": generation,
            "checks": CHECKS | {"ignored_auth": {"enabled": cover and mode != "stateful"}},
            "phases": {
                "examples": {"enabled": cover and mode == "positive", **no_ids},
                "coverage": {"enabled": cover, **no_ids},
                "fuzzing": {"enabled": True, **no_ids},
                "stateful": {"enabled": mode == "stateful", "inference": {"algorithms": []}},
            },
        }
    )
    return schemathesis.openapi.from_dict(document, config=config)


@contextmanager
def real_ids(stock: Stock) -> Iterator[None]:
    """Most made-up ids become those of rows that are there, and lists begin at their first page mostly,
    so that calls get behind the 404.
    """

    @schemathesis.hook
    def before_call(context: Any, case: Any, kwargs: Any) -> None:
        # What is wrong on purpose stays so. Dictionaries of its own: cases of one operation share theirs.
        if not _is_wrong(case, ParameterLocation.BODY) and (body := _known(stock, case.body)) != case.body:
            case.body = body
        if not _is_wrong(case, ParameterLocation.PATH):
            case.path_parameters = {
                name: _replaced(stock, name, value) for name, value in (case.path_parameters or {}).items()
            }
            if case.operation.definition.raw["operationId"] == "batch_events":
                # A stream lasts as long as its batch, and one that was paused waits for ever.
                case.path_parameters["batch_id"] = stock.id_of("batch_id")
        if not _is_wrong(case, ParameterLocation.QUERY):
            case.query = {
                name: value
                for name, value in (case.query or {}).items()
                if name != "cursor" or not _often(value)
            }

    @schemathesis.hook
    def filter_failure(context: Any, failure: Any, case: Any, response: Any) -> bool:
        """False where the document cannot tell what is wrong with the request, or what stays."""
        name = case.operation.definition.raw["operationId"]
        if isinstance(failure, UseAfterFree):
            return name not in REVOKED
        refused = isinstance(failure, RejectedPositiveData) and response.status_code == 400
        return not (refused and expected(name, response.json()))

    try:
        yield
    finally:
        schemathesis.hooks.unregister(filter_failure)
        schemathesis.hooks.unregister(before_call)


@contextmanager
def fresh_rows(stock: Stock) -> Iterator[None]:
    """For calls that have nothing to do with each other: what one deletes is there for the next."""

    @schemathesis.hook
    def before_call(context: Any, case: Any, kwargs: Any) -> None:
        if stock.used_up:
            stock.renew()

    @schemathesis.hook
    def after_call(context: Any, case: Any, response: Any) -> None:
        if response.status_code < 300 and case.method.upper() != "GET":
            stock.touched = True
            stock.used_up |= case.method.upper() == "DELETE"

    try:
        yield
    finally:
        schemathesis.hooks.unregister(after_call)
        schemathesis.hooks.unregister(before_call)


def _is_wrong(case: Any, location: ParameterLocation) -> bool:
    return case.meta is not None and case.meta.is_negative_at(location)


def _replaced(stock: Stock, name: str, value: Any) -> Any:
    """What looks like an id came out of an earlier answer, and stays."""
    known = stock.id_of(name)
    if known and not UUID.fullmatch(str(value)) and (name == "org_id" or _often(value)):
        return known
    return value


def _known(stock: Stock, body: Any) -> Any:
    """Ids in a body, often those of rows that are there; and no server but ours is ever called."""
    if isinstance(body, list):
        return [_known(stock, one) for one in body]
    if not isinstance(body, dict):
        return body
    made = {name: _known_value(stock, name, value) for name, value in body.items()}
    if "baseUrl" in made and "enabled" in made:
        made["enabled"] = True  # a call that finds no server is a 503, and rightly
    return made


def _known_value(stock: Stock, name: str, value: Any) -> Any:
    kind = IDS.get(name)
    if name == "baseUrl" and isinstance(value, str) and value.startswith("http"):
        return f"{stock.provider_url}/{zlib.crc32(value.encode())}"  # each its own
    if name.endswith("Timeout") and isinstance(value, int | float):
        return max(value, PATIENCE_S)
    if kind and isinstance(value, str) and _often(value):
        return stock.id_of(kind)
    if kind and isinstance(value, list) and value and isinstance(value[0], str) and _often(value):
        return [stock.id_of(kind)]
    if name in NAMES and isinstance(value, str) and _often(value):
        return NAMES[name]
    return _known(stock, value)


def _often(value: Any) -> bool:
    """Seven times of eight, and for the same value always the same."""
    return zlib.crc32(repr(value).encode("utf-8", "surrogatepass")) % 8 != 0


def run(
    document: dict[str, Any],
    url: str,
    stock: Stock,
    *,
    mode: str,
    seed: int,
    examples: int,
    cover: bool = True,
) -> Tally:
    """So many examples of each operation, or so many chains; `cover` adds what covers the schema."""
    tally = Tally()
    token = stock.token()
    schema = schema_of(document, url, token, mode=mode, seed=seed, examples=examples, cover=cover)
    if mode == "stateful":
        sent_with = {"headers": {"Authorization": f"Bearer {token}"}, "timeout": TIMEOUT_S}
        with real_ids(stock):
            chains.run(schema, stock, tally, seed=seed, chains=examples, **sent_with)
    else:
        with fresh_rows(stock), real_ids(stock):
            _run_each(schema, stock, tally)
    return tally


def _run_each(schema: Any, stock: Stock, tally: Tally) -> None:
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioStarted):
            stock.used_up |= stock.touched
        elif isinstance(event, events.ScenarioFinished):
            tally.count(event.recorder)
        elif isinstance(event, events.NonFatalError):
            tally.fail_by_error(event.label, event.value)
        elif isinstance(event, events.FatalError):
            raise event.exception
