"""Evaluators that ask a model: what they send, and how they read what comes back.

They make no call themselves. A queue of its own does (`experiments.services.judging`), accounted and
limited like every call, and retried without calling the tested model again.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from experiments.evaluators.base import Evaluator, Sample, Verdict
from llm_routing.types import Completion, Message


@dataclass(frozen=True, slots=True)
class Question:
    """One call: the messages, and the JSON schema that the answer must fit."""

    messages: tuple[Message, ...]
    schema: Mapping[str, Any]


class NoVerdict(Exception):
    """The model's answer gives no score. `ask_again`: it had no form at all, which may pass."""

    def __init__(self, reason: str, *, ask_again: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.ask_again = ask_again


class CallingEvaluator(Evaluator):
    """Its configuration may name a model (modelProvider, modelName) and parameters, as a variant's does."""

    needs_call = True

    @property
    def parameters(self) -> Mapping[str, Any]:
        """How to call, by the wire names of a variant's config."""
        return self.config

    @abstractmethod
    def question(self, sample: Sample) -> Question:
        """What to ask about one answer. Another one at each call."""

    @abstractmethod
    def read(self, completion: Completion) -> Verdict:
        """The verdict in the model's answer. Raises NoVerdict."""

    def evaluate(self, sample: Sample) -> Verdict:
        return Verdict(None, "This evaluator calls a model: its scores come from the queue of evaluations.")
