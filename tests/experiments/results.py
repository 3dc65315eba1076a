"""A batch with answers, for tests of how results are shown."""

from __future__ import annotations

from experiments.models import Batch, EvalScore, Experiment, ExperimentRun
from tests import factories


def make_batch(experiment: Experiment, *, repeats: int = 1, state: str = "succeeded", **fields) -> Batch:
    """A finished batch with a cell for each variant and input: `V on KEY` is what they answered."""
    variants, inputs = list(experiment.variants.all()), list(experiment.inputs.all())
    total = len(variants) * len(inputs) * repeats
    batch = Batch.objects.create(
        experiment=experiment, total=total, repeats=repeats, state="finished", finished_at="2026-01-01T00:00Z"
    )
    places = [(v, i, n) for v in variants for i in inputs for n in range(1, repeats + 1)]
    ExperimentRun.objects.bulk_create(
        ExperimentRun(
            experiment=experiment,
            batch=batch,
            variant=variant,
            input=row,
            repeat=repeat,
            position=position,
            state=state,
            model_provider="ollama",
            model_name="tiny:1b",
            temperature=0.7,
            top_p=1.0,
            messages=[{"role": "user", "content": row.content}],
            snapshot={"content": row.content, "expected": row.expected},
            **{
                "output": f"{variant.name} on {row.key}",
                "latency_ms": 100 + position,
                "output_tokens": 5,
                **fields,
            },
        )
        for position, (variant, row, repeat) in enumerate(places)
    )
    return batch


def cell(batch: Batch, variant: int, key: str, repeat: int = 1) -> ExperimentRun:
    """The run of the batch's nth variant (from 1) on the input with this key."""
    return batch.runs.get(variant__name=f"variant {variant}", input__key=key, repeat=repeat)


def score(run: ExperimentRun, metric, value: float, **fields) -> EvalScore:
    return EvalScore.objects.create(run=run, metric=metric, value=value, **fields)


def make_experiment(org, *, inputs: int = 3, variants: int = 2) -> Experiment:
    return factories.make_experiment(org, inputs=inputs, variants=variants)
