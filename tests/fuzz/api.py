"""Schemathesis over the whole document of the API, and a tally of what came back."""

from __future__ import annotations

import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.config._checks import (
    NEGATIVE_DATA_REJECTION_EXPECTED_STATUSES,
    POSITIVE_DATA_ACCEPTANCE_EXPECTED_STATUSES,
)
from schemathesis.core.parameters import ParameterLocation
from schemathesis.engine import events, from_schema
from schemathesis.openapi.checks import RejectedPositiveData

from tests.fuzz.exceptions import expected
from tests.fuzz.stock import Stock

MODES = ("positive", "negative", "stateful")
UUID = re.compile(r"[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}")
TIMEOUT_S = 30
# Beside what the checks take by themselves: a text that is too long may make a body too large, and a key that
# is sent twice says nothing of its second request.
CHECKS = {
    "negative_data_rejection": {"expected-statuses": [*NEGATIVE_DATA_REJECTION_EXPECTED_STATUSES, "413"]},
    "positive_data_acceptance": {"expected-statuses": [*POSITIVE_DATA_ACCEPTANCE_EXPECTED_STATUSES, "422"]},
}
LONGEST_TOLD = 400  # characters of an answer
IDS = {
    "chatProfileId": "profile_id",
    "baselineBatchId": "batch_id",
    "inputIds": "input_id",
    "variantIds": "variant_id",
    "evaluatorIds": "evaluator_id",
    "sessionId": "session_id",
}
MODEL = {"modelProvider": "own", "modelName": "tiny:1b"}


@dataclass
class Tally:
    """What was asked and answered, by mode and class of status, and what went wrong."""

    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    operations: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    accepted: set[str] = field(default_factory=set)  # operations that answered 2xx at least once
    failures: dict[tuple[str, str], str] = field(default_factory=dict)  # the first of each kind

    def total(self, mode: str | None = None) -> int:
        return sum(n for (of, _), n in self.requests.items() if mode in (None, of))

    def by_status(self, mode: str) -> dict[str, int]:
        return {status: n for (of, status), n in sorted(self.requests.items()) if of == mode}

    def add(self, other: Tally) -> None:
        self.requests += other.requests
        self.accepted |= other.accepted
        self.failures |= {key: how for key, how in other.failures.items() if key not in self.failures}
        for mode, labels in other.operations.items():
            self.operations[mode] |= labels

    def count(self, mode: str, scenario: events.ScenarioFinished) -> None:
        recorder = scenario.recorder
        for case_id, interaction in recorder.interactions.items():
            label = recorder.cases[case_id].value.operation.label
            answer = interaction.response
            status = f"{answer.status_code // 100}xx" if answer is not None else "none"
            self.requests[mode, status] += 1
            self.operations[mode].add(label)
            if status == "2xx":
                self.accepted.add(label)
            for check in recorder.checks.get(case_id, []):
                if check.failure_info is not None:
                    failure = check.failure_info.failure
                    kind = f"{failure.title}: {failure.message}"
                    told = answer.text[:LONGEST_TOLD] if answer is not None else ""
                    self.fail(label, kind, check.name, f"{check.failure_info.code_sample}\n{told}")

    def fail(self, label: str, kind: str, check: str, how: str) -> None:
        first_line = kind.splitlines()[0]
        self.failures.setdefault((f"{label} [{check}]", first_line), f"{kind}\n{how}")

    def told(self) -> str:
        """Every failure with a curl line that repeats it."""
        return "\n\n".join(f"--- {label}\n{text}" for (label, _), text in sorted(self.failures.items()))


def schema_of(
    document: dict[str, Any], url: str, token: str, *, mode: str, seed: int, examples: int, cover: bool
) -> Any:
    """The document with the settings of one run."""
    # NUL is refused wherever it stands, as the document's first words say: it makes no request right.
    generation = {
        "mode": "all" if mode == "stateful" else mode,
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
            "checks": CHECKS,
            "phases": {
                "examples": {"enabled": cover and mode == "positive", **no_ids},
                "coverage": {"enabled": cover and mode != "stateful", **no_ids},
                "fuzzing": {"enabled": mode != "stateful", **no_ids},
                "stateful": {"enabled": mode == "stateful"},
            },
        }
    )
    return schemathesis.openapi.from_dict(document, config=config)


@contextmanager
def real_ids(stock: Stock) -> Iterator[None]:
    """Most made-up ids become those of rows that are there, so that calls get behind the 404."""

    @schemathesis.hook
    def before_call(context: Any, case: Any, kwargs: Any) -> None:
        if stock.used_up:
            stock.renew()
        # What is wrong on purpose stays so. Dictionaries of its own: cases of one operation share theirs.
        if not _is_wrong(case, ParameterLocation.BODY) and (body := _known(stock, case.body)) != case.body:
            case.body = body
        if not _is_wrong(case, ParameterLocation.PATH):
            case.path_parameters = {
                name: _replaced(stock, name, value) for name, value in (case.path_parameters or {}).items()
            }

    @schemathesis.hook
    def after_call(context: Any, case: Any, response: Any) -> None:
        if response.status_code < 300 and case.method.upper() != "GET":
            stock.touched = True
            stock.used_up |= case.method.upper() == "DELETE"

    @schemathesis.hook
    def filter_failure(context: Any, failure: Any, case: Any, response: Any) -> bool:
        """False where the document cannot tell what is wrong with the request."""
        refused = isinstance(failure, RejectedPositiveData) and response.status_code == 400
        name = case.operation.definition.raw["operationId"]
        return not (refused and expected(name, response.json()))

    try:
        yield
    finally:
        schemathesis.hooks.unregister(filter_failure)
        schemathesis.hooks.unregister(before_call)
        schemathesis.hooks.unregister(after_call)


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
    made = {}
    for name, value in body.items():
        kind = IDS.get(name)
        if name == "baseUrl" and isinstance(value, str) and value.startswith("http"):
            made[name] = f"{stock.provider_url}/{zlib.crc32(value.encode())}"  # each its own
        elif kind and isinstance(value, str) and _often(value):
            made[name] = stock.id_of(kind)
        elif kind and isinstance(value, list) and value and isinstance(value[0], str) and _often(value):
            made[name] = [stock.id_of(kind)]
        elif name in MODEL and isinstance(value, str) and _often(value):
            made[name] = MODEL[name]
        else:
            made[name] = _known(stock, value)
    return made


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
    """All operations in one mode, with so many examples each; `cover` adds those that cover the schema."""
    tally = Tally()
    schema = schema_of(document, url, stock.token(), mode=mode, seed=seed, examples=examples, cover=cover)
    with real_ids(stock):
        for event in from_schema(schema).execute():
            if isinstance(event, events.ScenarioStarted):
                stock.used_up |= stock.touched
            elif isinstance(event, events.ScenarioFinished):
                tally.count(mode, event)
            elif isinstance(event, events.NonFatalError):
                tally.fail(event.label, str(event.value), "error", repr(event.value))
            elif isinstance(event, events.FatalError):
                raise event.exception
    return tally
