from __future__ import annotations

from collections import Counter

from experiments.evaluators.base import Evaluator, Sample, Verdict
from experiments.evaluators.text import NORMALISATION, normalised


class TokenF1(Evaluator):
    """How many words the answer and the expected answer share, 0..1, as in SQuAD.

    Source: Rajpurkar et al., "SQuAD: 100,000+ Questions for Machine Comprehension of Text", 2016.
    """

    kind = "token_f1"
    title = "Similarity: token F1"
    description = "0 to 1: how many words the answer shares with the expected answer, in any order."
    config_schema = {
        "type": "object",
        "properties": {name: rule for name, rule in NORMALISATION.items() if name != "whitespace"},
        "additionalProperties": False,
    }

    def evaluate(self, sample: Sample) -> Verdict:
        if sample.expected is None:
            return Verdict(None, "The input has no expected answer.")
        settings = {**self.config, "whitespace": "collapse"}
        given, wanted = (
            Counter(normalised(text, settings).split()) for text in (sample.output, sample.expected)
        )
        if not wanted:
            return Verdict(1.0 if not given else 0.0)
        return Verdict(2 * (given & wanted).total() / (given.total() + wanted.total()))
