"""Experiments, their test sets and variants to edit; what was run, to read."""

from experiments.admin import authoring, evaluation, inputs, running

__all__ = ["authoring", "evaluation", "inputs", "running"]
