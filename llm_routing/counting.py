"""What is counted for Prometheus when a call to a model has ended."""

from __future__ import annotations

import re
from uuid import UUID

from evalsuite.errors import EvalsuiteError
from evalsuite.metrics import families
from evalsuite.metrics.changes import Changes
from llm_routing.errors import ProviderError
from llm_routing.types import Completion

SUCCEEDED, LOST = "succeeded", "lost"


def outcome_of(error: EvalsuiteError | None) -> str:
    """A short name: `succeeded`, `provider_timeout`, `cancelled`; `internal_error` where it is our fault."""
    if error is None:
        return SUCCEEDED
    if not isinstance(error, ProviderError):
        return "internal_error"
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__).lower()


def count_call(
    changes: Changes,
    org_id: UUID,
    provider: str,
    model: str,
    kind: str,
    *,
    outcome: str,
    completion: Completion | None = None,
) -> None:
    """One call and, where an answer came (perhaps an unusable one), what it took."""
    changes.count(families.PROVIDER_REQUESTS, org_id, provider, model, kind, outcome)
    if completion is None:
        return
    for direction, tokens in (("input", completion.input_tokens), ("output", completion.output_tokens)):
        changes.count(families.TOKENS, org_id, provider, model, kind, direction, by=tokens or 0)
    if completion.timings.first_token_ms is not None:
        changes.observe(families.FIRST_TOKEN, completion.timings.first_token_ms, provider, model)
    if completion.cold_start:
        changes.count(families.MODEL_LOADS, provider, model)
