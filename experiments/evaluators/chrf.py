from __future__ import annotations

from experiments.evaluators.base import Evaluator, Sample, Verdict

LONGEST = 20_000  # characters of either text. [20,000 take 0.2 s and 10 MB, a million 10 s and 1 GB]


class ChrF(Evaluator):
    """chrF of sacrebleu, as a share: 0..1.

    Source: Popović, "chrF: character n-gram F-score for automatic MT evaluation", 2015.
    """

    kind = "chrf"
    title = "Similarity: chrF"
    description = "0 to 1: how alike the answer and the expected answer are, letter by letter (chrF)."
    config_schema = {
        "type": "object",
        "properties": {
            "ignoreCase": {"type": "boolean", "default": False, "title": "Ignore case"},
            "characters": {
                "type": "integer",
                "minimum": 1,
                "maximum": 10,
                "default": 6,
                "title": "Longest run of characters",
            },
            "words": {
                "type": "integer",
                "minimum": 0,
                "maximum": 2,
                "default": 0,
                "title": "Longest run of words",
                "description": "2 is chrF++.",
            },
            "beta": {
                "type": "integer",
                "minimum": 1,
                "maximum": 10,
                "default": 2,
                "title": "Weight of completeness",
                "description": "So many times as much as the weight of brevity.",
            },
        },
        "additionalProperties": False,
    }

    def evaluate(self, sample: Sample) -> Verdict:
        if not sample.expected or not sample.expected.strip():
            return Verdict(None, "The input has no expected answer.")
        if max(len(sample.output), len(sample.expected)) > LONGEST:
            return Verdict(None, f"Texts of more than {LONGEST:,} characters are not compared.")
        from sacrebleu.metrics.chrf import CHRF  # when first used: it brings 30 MB and takes a second

        chrf = CHRF(
            char_order=self.config["characters"],
            word_order=self.config["words"],
            beta=self.config["beta"],
            lowercase=self.config["ignoreCase"],
        )
        return Verdict(chrf.sentence_score(sample.output, [sample.expected]).score / 100)
