"""What a body or a query may say by the document and is refused all the same, and why no schema can tell.

By operation: the fields that the refusal may name. A refusal that names any other field is a break.
"""

from __future__ import annotations

from typing import Any

PERIOD = "`from` comes before `to`, and a report has 366 days at most"
SCALE = (
    "minimum, maximum, step and labels of a scale must not contradict each other, or what was there before"
)
BY_KIND = (
    "the kind decides what belongs into `config`; `evaluator_kind_list` tells, and what a kind works out"
)
TWICE = "of two names for one thing only one may be given, unless both mean the same"
UNIQUE = "keys must differ from each other and from those that are there"
SMALLER = "no more than the model that it is for has"
EMPTY = "an experiment has to have inputs and variants before it can run"
FORMAT = "a JSON schema must be one that answers can be checked against"

REFUSED: dict[str, tuple[set[str], str]] = {
    "audit_list": ({"from"}, PERIOD),
    "audit_export": ({"from"}, PERIOD),
    "usage_read": ({"from"}, PERIOD),
    "metric_create": ({"minimum", "maximum", "step", "labels", "key"}, SCALE),
    "metric_update": ({"minimum", "maximum", "step", "labels"}, SCALE),
    "evaluator_create": ({"config"}, BY_KIND),
    "evaluator_update": ({"config"}, BY_KIND),
    "experiment_comparison": ({"baselineBatch", "candidateBatch"}, TWICE),
    "experiment_results": ({"batch"}, TWICE),
    "experiment_run": ({"inputs", "variants"}, EMPTY),
    "experiment_plan": ({"inputs", "variants"}, EMPTY),
    "playground_compare_stream": (
        {"columns", "variables", "repeats"},
        "a session keeps its settings, and goes on once at a time; "
        f"each variable has its place in the prompt; {FORMAT}",
    ),
    "provider_create": ({"endpoints"}, "each address only once"),
    "provider_update": ({"endpoints"}, "each address only once"),
    "variant_create": ({"format"}, FORMAT),
    "variant_update": ({"format"}, FORMAT),
    "input_create": ({"inputs", "key"}, UNIQUE),
    "model_update": ({"numCtx"}, SMALLER),
}
# Codes of refusals that tell of something outside the request.
OUTSIDE = {
    "ADDRESS_NOT_ALLOWED": "where a name leads, and whether one may go there, is the operator's to say",
}
# What can be read after it was deleted, by what reads it.
REVOKED = {
    "api_key_read": "a key that is revoked stays in the list, as the document says",
    "invitation_read": "one that is revoked stays in the list, as the document says",
}


def expected(operation_id: str, answer: Any) -> bool:
    """Whether this 400 of a request that fits the document is one of the above. `answer`: its JSON."""
    if answer["error"] in OUTSIDE:
        return True
    fields, _ = REFUSED.get(operation_id, (set(), ""))
    named = {name.split(".")[0] for name in answer["details"]}
    return answer["error"] == "INVALID_BODY" and bool(named) and named <= fields
