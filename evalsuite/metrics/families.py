"""Every metric of ours by name. docs/operations.md has a line for each; a test compares them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LATENCY_MS = (50, 100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 60_000, 120_000, 300_000)
OTHER = "other"  # experiments and variants that have no label of their own any more


@dataclass(frozen=True, slots=True)
class Family:
    """Histograms are of milliseconds. Their buckets are LATENCY_MS: other ones would not fit stored ones."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    kind: Literal["counter", "histogram", "gauge"] = "counter"

    @property
    def of_cells(self) -> bool:
        """Its labels are org, experiment and variant, of which the last two are bounded."""
        return self.labels == CELL


CELL = ("orgId", "experimentId", "variantId")
MODEL = ("modelProvider", "modelName")
ENDPOINT = ("orgId", "modelProvider", "endpoint")

# Counted in the transaction that records what they tell of, and added up from there.
PLAYGROUND_REQUESTS = Family(
    "playground_requests_total", "Completions asked for in the playground.", ("orgId", *MODEL)
)
PLAYGROUND_LATENCY = Family(
    "playground_latency_ms", "Whole completions in the playground, in milliseconds.", (), "histogram"
)
EXPERIMENT_RUNS = Family("experiment_runs_total", "Cells that ended with an answer or an error.", CELL)
EXPERIMENT_LATENCY = Family("experiment_latency_ms", "Calls of cells with an answer.", CELL, "histogram")
THUMBS_UP = Family("experiment_feedback_thumbs_up_total", "Thumbs set to up.", CELL)
THUMBS_DOWN = Family("experiment_feedback_thumbs_down_total", "Thumbs set to down.", CELL)
CELLS_CLOSED = Family("experiment_cells_closed_total", "Cells that ended, and how.", ("orgId", "outcome"))
ATTEMPTS_LOST = Family("experiment_attempts_lost_total", "Calls whose worker died.", ("orgId",))
PROVIDER_REQUESTS = Family(
    "provider_requests_total", "Calls to models, and how they ended.", ("orgId", *MODEL, "kind", "outcome")
)
FIRST_TOKEN = Family(
    "provider_first_token_ms", "From the request to the first token, in milliseconds.", MODEL, "histogram"
)
TOKENS = Family(
    "provider_tokens_total", "Tokens as providers count them.", ("orgId", *MODEL, "kind", "direction")
)
MODEL_LOADS = Family("provider_model_loads_total", "Loads of a model that we waited for.", MODEL)
QUOTA_REFUSALS = Family(
    "quota_refusals_total", "Calls, or groups of calls, that ran into a limit.", ("orgId", "limit")
)

# Asked for when somebody looks.
CELLS = Family("experiment_cells", "Cells by their state.", ("state",), "gauge")
QUEUE_DEPTH = Family("experiment_queue_depth", "Cells that could be called now.", ("orgId",), "gauge")
OLDEST_CLAIMABLE = Family(
    "experiment_oldest_claimable_seconds", "Wait of the cell that could be called first.", ("orgId",), "gauge"
)
SCORES = Family("experiment_scores", "Scores that stand.", (*CELL, "metricKey"), "gauge")
SCORE_AVERAGE = Family("experiment_score_average", "Their mean.", (*CELL, "metricKey"), "gauge")
SLOTS = Family("provider_slots", "Calls that an endpoint may have in the air.", ENDPOINT, "gauge")
SLOTS_IN_USE = Family("provider_slots_in_use", "Calls that it has in the air.", ENDPOINT, "gauge")
WAITING = Family("provider_waiting_requests", "Requests of people that wait for a slot.", ENDPOINT, "gauge")
PROVIDER_UP = Family("provider_up", "0 while the circuit breaker holds an endpoint.", ENDPOINT, "gauge")
QUOTA_LIMIT = Family("quota_limit", "What an org may use.", ("orgId", "limit"), "gauge")
QUOTA_USED = Family("quota_used", "What it uses of that now.", ("orgId", "limit"), "gauge")
ORG_INFO = Family("evalsuite_org_info", "1; names an org.", ("orgId", "org"), "gauge")
VARIANT_INFO = Family(
    "experiment_variant_info",
    "1; names an experiment and a variant.",
    (*CELL, "experiment", "variant"),
    "gauge",
)
READY = Family("evalsuite_ready", "1 where a part that the work needs is there.", ("part",), "gauge")

FAMILIES = {family.name: family for family in list(globals().values()) if isinstance(family, Family)}
