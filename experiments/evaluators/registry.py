"""All kinds of evaluators, by the name that the database and the API use."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from experiments.evaluators.base import Evaluator, Sample, Verdict
from experiments.evaluators.chrf import ChrF
from experiments.evaluators.contains import Contains
from experiments.evaluators.exact_match import ExactMatch
from experiments.evaluators.json_schema import JsonSchema
from experiments.evaluators.json_valid import JsonValid
from experiments.evaluators.judge import Judge
from experiments.evaluators.latency import Latency
from experiments.evaluators.length import Length
from experiments.evaluators.numeric import NumericCloseness
from experiments.evaluators.regex import RegularExpression
from experiments.evaluators.token_f1 import TokenF1
from experiments.evaluators.tokens import Tokens

log = logging.getLogger(__name__)

ALL: tuple[type[Evaluator], ...] = (
    ExactMatch,
    Contains,
    RegularExpression,
    NumericCloseness,
    JsonValid,
    JsonSchema,
    TokenF1,
    ChrF,
    Length,
    Latency,
    Tokens,
    Judge,
)
KINDS: dict[str, type[Evaluator]] = {cls.kind: cls for cls in ALL}


class Broken(Evaluator):
    """Stands in for one that cannot be built from its settings: it scores nothing, and harms nothing."""

    kind = title = description = "broken"
    config_schema = {"type": "object", "properties": {}}

    def __init__(self, reason: str) -> None:
        super().__init__({})
        self.reason = reason

    def evaluate(self, sample: Sample) -> Verdict:
        return Verdict(None, self.reason)


def calls_a_model(kind: str) -> bool:
    """Also of a kind that is here no more: it calls nobody."""
    return kind in KINDS and KINDS[kind].needs_call


def build(kind: str, config: Mapping[str, Any]) -> Evaluator:
    """The evaluator of a stored row. Never raises: what was valid once may be so no more."""
    if kind not in KINDS:
        return Broken(f"There is no kind of evaluator {kind} any more.")
    try:
        return KINDS[kind](config)
    except Exception as error:
        log.exception("an evaluator of the kind %s cannot be built", kind)
        return Broken(f"The settings of this evaluator are broken: {type(error).__name__}.")
