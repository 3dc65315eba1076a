"""Experiments, their test sets and variants to edit; what was run, to read."""

from experiments.admin import authoring, evaluation, evaluations, inputs, running

__all__ = ["authoring", "evaluation", "evaluations", "inputs", "running"]
