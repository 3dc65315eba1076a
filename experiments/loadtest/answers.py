"""A small stock of questions and answers, judged once by the evaluators themselves."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

from experiments.evaluators.base import Sample, Verdict
from experiments.evaluators.registry import build

# Kind, settings and the metric of the evaluators of every experiment.
EVALUATORS: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("exact_match", {}, "correctness"),
    ("token_f1", {}, "similarity"),
    ("latency", {"maxMs": 2_000}, "in_time"),
)
BY_PEOPLE = "style"  # a metric that people score, from 1 to 5
SUBJECTS = ("parcel", "invoice", "refund", "password", "warranty", "delivery", "discount", "repair")
WAYS = ("is late", "was wrong", "does not arrive", "cannot be found", "is asked for twice")
LATENCIES = 512  # different ones
STOCK = 256


@dataclass(frozen=True, slots=True)
class Case:
    """What an input asks, and what it should get."""

    content: str
    expected: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said to a case, and what the first two evaluators make of it."""

    output: str
    input_tokens: int
    output_tokens: int
    verdicts: tuple[Verdict, Verdict]


@dataclass(frozen=True, slots=True)
class Pace:
    """How long an answer took, and what the third evaluator makes of it."""

    latency_ms: int
    first_token_ms: float
    prompt_ms: float
    decode_ms: float
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Stock:
    cases: list[Case]
    answers: list[list[Answer]]  # by case
    paces: list[Pace]


def make(chance: Random) -> Stock:
    cases = [_case(number, chance) for number in range(STOCK)]
    return Stock(cases, [_answers(case) for case in cases], [_pace(chance) for _ in range(LATENCIES)])


def _case(number: int, chance: Random) -> Case:
    subject, way = SUBJECTS[number % len(SUBJECTS)], chance.choice(WAYS)
    return Case(
        f"A customer writes: my {subject} {way}, and this is message {number} about it. What do you answer?",
        f"We are sorry that your {subject} {way} and put it right today.",
    )


def _answers(case: Case) -> list[Answer]:
    outputs = (
        case.expected,
        case.expected.replace("We are sorry", "Sorry"),
        case.expected.replace("today", "within five working days") + " Thank you for your patience.",
        "Please call us.",
    )
    judges = [build(kind, settings) for kind, settings, _ in EVALUATORS[:2]]
    made = []
    for output in outputs:
        sample = Sample(output=output, content=case.content, expected=case.expected, metadata={})
        verdicts = tuple(judge.evaluate(sample) for judge in judges)
        tokens = len(case.content) // 4, len(output) // 4
        made.append(Answer(output, *tokens, verdicts))  # type: ignore[arg-type]
    return made


def _pace(chance: Random) -> Pace:
    first = round(chance.uniform(40, 400), 1)
    decode = round(chance.lognormvariate(6.5, 0.6), 1)
    latency = round(first + decode)
    kind, settings, _ = EVALUATORS[2]
    sample = Sample(output="", content="", expected=None, metadata={}, latency_ms=latency)
    return Pace(latency, first, round(first * 0.8, 1), decode, build(kind, settings).evaluate(sample))
