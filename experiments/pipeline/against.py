"""What a new batch is compared with: another batch, variant by variant, or one of its own variants."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from evalsuite.errors import EvalsuiteError
from evalsuite.ids import parse_id
from experiments.models import Batch, Experiment, ExperimentVariant
from experiments.services.comparison import Side


class NoBaseline(EvalsuiteError):
    code, status = "NO_BASELINE", 400


@dataclass(frozen=True, slots=True)
class Baseline:
    """Exactly one of the two."""

    batch: Batch | None = None
    variant: ExperimentVariant | None = None

    def __str__(self) -> str:
        return f"batch {self.batch.pk}" if self.batch else f"variant {self.variant}"

    def side_for(self, candidate: ExperimentVariant, batch: Batch | None) -> Side | None:
        """The other side of this variant of the new batch; None where it has none.

        In a batch it is the same variant, or the only one there is.
        """
        if self.variant is not None:
            return None if candidate == self.variant else Side(self.variant, batch)
        theirs = _variants_of(self.batch)
        if candidate in theirs:
            return Side(candidate, self.batch)
        return Side(theirs[0], self.batch) if len(theirs) == 1 else None


def find(experiment: Experiment, text: str | None) -> Baseline | None:
    """The batch or variant with this id, the variant of this name, or, where nothing is named, the batch
    that the experiment keeps for it. Raises NoBaseline.
    """
    if text is None:
        baseline = Baseline(batch=experiment.baseline) if experiment.baseline else None
    else:
        baseline = _named(experiment, text)
    if baseline and baseline.batch and baseline.batch.finished_at is None:
        raise NoBaseline(f"The baseline, batch {baseline.batch.pk}, is under way.")
    return baseline


def _named(experiment: Experiment, text: str) -> Baseline:
    known = parse_id(text)
    if known and (batch := experiment.batches.filter(pk=known).first()):
        return Baseline(batch=batch)
    variants = experiment.variants.filter(pk=known) if known else experiment.variants.filter(name=text)
    found = list(variants)
    if len(found) > 1:
        raise NoBaseline(f"Several variants are called {text}. Name one by its id.")
    if not found:
        raise NoBaseline(f"The experiment has no batch and no variant {text} that could be the baseline.")
    return Baseline(variant=found[0])


def require_pairs(baseline: Baseline, variants: Collection[ExperimentVariant]) -> None:
    """Before anything runs. Raises NoBaseline where these variants have nothing to be compared with."""
    if baseline.variant is not None and baseline.variant not in variants:
        raise NoBaseline(f"The baseline, {baseline}, is not among the variants that run.")
    if not any(baseline.side_for(variant, None) for variant in variants):
        raise NoBaseline(f"No variant that runs can be compared with the baseline, {baseline}.")


def _variants_of(batch: Batch | None) -> list[ExperimentVariant]:
    return list(ExperimentVariant.objects.filter(runs__batch=batch).distinct())
