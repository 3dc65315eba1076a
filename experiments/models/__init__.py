from experiments.models.evaluation import (
    METRIC_KEY,
    EvalMetricDefinition,
    EvalScore,
    Evaluator,
    Thumb,
)
from experiments.models.evaluations import Evaluation
from experiments.models.experiment import Experiment, ExperimentInput, ExperimentVariant
from experiments.models.runs import Batch, ExperimentRun, IdempotencyKey, RunAttempt
from experiments.models.tally import Tally

__all__ = [
    "METRIC_KEY",
    "Batch",
    "EvalMetricDefinition",
    "EvalScore",
    "Evaluation",
    "Evaluator",
    "Experiment",
    "ExperimentInput",
    "ExperimentRun",
    "ExperimentVariant",
    "IdempotencyKey",
    "RunAttempt",
    "Tally",
    "Thumb",
]
