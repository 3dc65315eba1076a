from experiments.models.evaluation import EvalMetricDefinition, EvalScore, Evaluator
from experiments.models.experiment import Experiment, ExperimentInput, ExperimentVariant
from experiments.models.runs import Batch, ExperimentRun, RunAttempt

__all__ = [
    "Batch",
    "EvalMetricDefinition",
    "EvalScore",
    "Evaluator",
    "Experiment",
    "ExperimentInput",
    "ExperimentRun",
    "ExperimentVariant",
    "RunAttempt",
]
