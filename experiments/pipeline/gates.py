"""Gates: what must hold for a run to pass, and whether it did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from evalsuite.errors import NotFound
from experiments.models import Batch, Experiment, ExperimentVariant
from experiments.pipeline import against
from experiments.pipeline.against import Baseline, NoBaseline
from experiments.pipeline.thresholds import OF_EVERY_VARIANT, Threshold
from experiments.services import comparison, figures, wording
from experiments.services.comparison import Call, Comparison, Side
from experiments.services.results import VariantResult


class Outcome(StrEnum):
    HOLDS = "holds"
    BROKEN = "broken"
    UNKNOWN = "unknown"  # there is nothing to judge by, which is trouble and no verdict


@dataclass(frozen=True, slots=True)
class Gate:
    """One condition on one variant. `name` has words of ours, metric keys and numbers alone."""

    name: str
    variant: ExperimentVariant
    outcome: Outcome
    note: str  # what it was judged by; may hold names of variants


@dataclass(frozen=True, slots=True)
class Checks:
    """What was asked for, found to make sense before anything runs."""

    thresholds: Sequence[Threshold] = ()
    never_worse: Sequence[str] = ()  # keys of metrics
    baseline: Baseline | None = None
    margin: float = 0.0
    margins: Mapping[str, float] = field(default_factory=dict)

    @property
    def asked(self) -> bool:
        return bool(self.thresholds or self.never_worse)


@dataclass(frozen=True, slots=True)
class Judged:
    """`unmatched`: variants that the baseline has no counterpart of."""

    comparisons: Sequence[Comparison] = ()
    gates: Sequence[Gate] = ()
    unmatched: Sequence[ExperimentVariant] = ()

    def has(self, outcome: Outcome) -> bool:
        return any(gate.outcome is outcome for gate in self.gates)


def require_sound(
    checks: Checks, experiment: Experiment, variants: Sequence[ExperimentVariant], *, named: bool
) -> None:
    """Raises NotFound for a metric that is none, NoBaseline where one is needed or `named` in vain."""
    for threshold in checks.thresholds:
        if threshold.figure not in OF_EVERY_VARIANT:
            _require_metric(experiment, threshold.figure)
    for key in (*checks.never_worse, *checks.margins):
        _require_metric(experiment, key)
    if checks.baseline is not None and (named or checks.never_worse):
        against.require_pairs(checks.baseline, variants)
    elif checks.never_worse:
        raise NoBaseline("--fail-if-worse needs a --baseline, or one that the experiment keeps.")


def _require_metric(experiment: Experiment, key: str) -> None:
    if figures.measure_of(experiment.org, key) is None:
        raise NotFound("metric", f"There is no metric {key}.")


def judge(checks: Checks, batch: Batch, results: Sequence[VariantResult]) -> Judged:
    """All comparisons with the baseline and all gates, for the variants of this batch."""
    baseline = checks.baseline
    candidates = [found for found in results if baseline is None or found.variant != baseline.variant]
    gates = [_below(threshold, found) for found in candidates for threshold in checks.thresholds]
    if baseline is None:
        return Judged(gates=gates)
    sides = {found.variant: baseline.side_for(found.variant, batch) for found in candidates}
    compared = [
        one for variant, side in sides.items() if side for one in _compared(checks, batch, side, variant)
    ]
    gates += [_not_worse(one) for one in compared if one.metric_key in checks.never_worse]
    return Judged(compared, gates, [variant for variant, side in sides.items() if side is None])


def _compared(checks: Checks, batch: Batch, side: Side, variant: ExperimentVariant) -> Sequence[Comparison]:
    """Of the metrics that a gate is about, else of all."""
    return comparison.compare_metrics(
        batch.experiment,
        baseline=side,
        candidate=Side(variant, batch),
        margin=checks.margin,
        margins=checks.margins,
        metric_keys=checks.never_worse,
    )


def _below(threshold: Threshold, found: VariantResult) -> Gate:
    value = threshold.value_of(found)
    name = f"fail if {threshold}"
    if value is None:
        return Gate(name, found.variant, Outcome.UNKNOWN, f"There is no {threshold.figure} to judge by.")
    outcome = Outcome.BROKEN if threshold.is_met_by(value) else Outcome.HOLDS
    return Gate(name, found.variant, outcome, f"{threshold.figure} is {wording.figure(value)}.")


def _not_worse(one: Comparison) -> Gate:
    """Worse is what interval and test call worse; that it cannot be told yet breaks no gate."""
    name = f"fail if {one.metric_key} is worse"
    outcome = Outcome.BROKEN if one.call is Call.WORSE else Outcome.HOLDS
    if not one.pairs:
        outcome = Outcome.UNKNOWN
    return Gate(name, one.candidate.variant, outcome, wording.sentence(one))
