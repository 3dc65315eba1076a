"""All kinds of evaluators, by the name that the database and the API use."""

from __future__ import annotations

from experiments.evaluators.base import Evaluator
from experiments.evaluators.contains import Contains
from experiments.evaluators.exact_match import ExactMatch

KINDS: dict[str, type[Evaluator]] = {cls.kind: cls for cls in (ExactMatch, Contains)}
