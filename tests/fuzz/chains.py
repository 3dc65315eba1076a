"""Chains of requests along the links of the API's document: make one, read it, change it, delete it.

Schemathesis' own state machine, so that nothing but the document decides what can follow what. A chain
has an organisation of its own, and what it deletes stays deleted until it ends.
"""

from __future__ import annotations

from typing import Any

import hypothesis
from schemathesis.core.failures import FailureGroup

from tests.fuzz.stock import Stock
from tests.fuzz.tally import Tally

STEPS = 40  # at most, in a chain
SETTINGS = hypothesis.settings(
    phases=[hypothesis.Phase.generate],
    stateful_step_count=STEPS,
    deadline=None,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)


def run(schema: Any, stock: Stock, tally: Tally, *, seed: int, chains: int, **sent_with: Any) -> None:
    """`sent_with`: for every request, such as its headers."""

    @hypothesis.seed(seed)
    class Chain(schema.as_state_machine()):  # type: ignore[misc]
        def setup(self) -> None:
            stock.renew()

        def get_call_kwargs(self, case: Any) -> dict[str, Any]:
            return sent_with

        def validate_response(self, response: Any, case: Any, *args: Any, **kwargs: Any) -> None:
            """What is wrong is counted, and the chain goes on."""
            try:
                super().validate_response(response, case, *args, **kwargs)
            except FailureGroup as failures:
                for failure in failures.exceptions:
                    tally.fail(case.operation.label, failure, case.as_curl_command(), response.text)

        def teardown(self) -> None:
            tally.count(self.recorder)

    Chain.run(settings=hypothesis.settings(SETTINGS, max_examples=chains))
