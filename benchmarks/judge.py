"""How good a judge the embedded model is: the sample's answers, judged and held against exact match.

Run: DEBUG=1 .venv/bin/python -m benchmarks.judge
Uses a throwaway SQLite database, the product's own worker and the embedded engine. Prints, for several ways
of asking, the share of valid verdicts, the agreement with the exact-match evaluator, and milliseconds.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

folder = tempfile.mkdtemp()
os.environ.update(
    DEBUG="1", DATABASE_URL=f"sqlite:///{folder}/bench.sqlite3", BROKER_URL="memory://", REDIS_URL=""
)
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "evalsuite.settings")
os.environ.setdefault("LOG_LEVEL", "ERROR")

RUBRIC = (
    "The answer must name the sentiment of the review, positive or negative, and name the right one. "
    "Any other answer is wrong."
)
LABELS = {"labels": {"wrong": 0, "right": 1}}
WAYS: dict[str, dict[str, Any]] = {
    "labels, expected answer shown": {"scale": LABELS},
    "labels, expected answer hidden": {"scale": LABELS, "showExpected": False},
    "1 to 5, expected answer shown": {"scale": {"minimum": 1, "maximum": 5, "step": 1}},
}
PATIENCE_S = 900


@dataclass(frozen=True, slots=True)
class Agreement:
    """Judged answers by (exact match says right, judge says right)."""

    pairs: Counter[tuple[bool, bool]]

    @property
    def n(self) -> int:
        return self.pairs.total()

    @property
    def share(self) -> float:
        return (self.pairs[True, True] + self.pairs[False, False]) / self.n

    @property
    def by_chance(self) -> float:
        """What two raters with these habits would agree on without looking."""
        right = (self.pairs[True, True] + self.pairs[True, False]) / self.n
        said = (self.pairs[True, True] + self.pairs[False, True]) / self.n
        return right * said + (1 - right) * (1 - said)

    @property
    def kappa(self) -> float | None:
        """Cohen's: 1 is full agreement, 0 no better than chance. None where one answer fits all."""
        return None if self.by_chance == 1 else (self.share - self.by_chance) / (1 - self.by_chance)


def main() -> None:
    import django

    django.setup()
    from django.core.management import call_command

    from evalsuite.orgs.models import User
    from experiments import demo
    from experiments.serving import embedded_model
    from experiments.worker import EmbeddedWorker

    call_command("migrate", verbosity=0)
    demo.seed()
    with embedded_model() as models, EmbeddedWorker():
        demo.choose_default_model(models)
        experiment = demo.sample_to_run()
        if experiment is None:
            raise SystemExit("There is no sample experiment to run.")
        author = User.objects.get(username=demo.USERNAME)
        run_sample(experiment, author)
        print(f"{models[0].name}, {experiment.runs.count()} answers of the experiment '{experiment.name}'\n")
        for name, way in WAYS.items():
            measure(experiment, author, name, way)


def run_sample(experiment: Any, author: Any) -> None:
    from experiments.services import planning

    batch = planning.start_batch(experiment=experiment, author=author)
    if not planning.wait_until_finished(batch, timeout_s=PATIENCE_S):
        raise SystemExit("The sample did not finish.")


def measure(experiment: Any, author: Any, name: str, way: dict[str, Any]) -> None:
    from evalsuite.quotas.models import UsageRecord
    from experiments.services import authoring
    from experiments.services.evaluating import evaluate_again

    judge = authoring.create_evaluator(
        experiment=experiment,
        author=author,
        kind="judge",
        name=name,
        metric_key=f"judged_{experiment.evaluators.count()}",
        config={"rubric": RUBRIC, "maxTokens": 256, **way},
    )
    calls_before = UsageRecord.objects.filter(kind="judge").count()
    started = time.monotonic()
    asked = evaluate_again(experiment, actor=author, evaluator_ids=[judge.pk])
    while judge.evaluations.open().exists():
        if time.monotonic() - started > PATIENCE_S:
            raise SystemExit("The judge did not finish.")
        time.sleep(0.1)
    seconds = time.monotonic() - started
    calls = UsageRecord.objects.filter(kind="judge").count() - calls_before
    report(judge, name, asked=asked, calls=calls, seconds=seconds)


def report(judge: Any, name: str, *, asked: int, calls: int, seconds: float) -> None:
    agreement = agreement_of(judge)
    print(name)
    print(f"  valid verdicts      {agreement.n} of {asked} ({agreement.n / asked:.0%}), {calls} calls")
    print(f"  time                {seconds * 1000 / asked:,.0f} ms per verdict, two in parallel")
    reasons = Counter(judge.evaluations.filter(state="missing").values_list("reason", flat=True))
    for reason, count in reasons.most_common(3):
        print(f"  missing             {count}: {reason}")
    if agreement.n:
        kappa = "not defined" if agreement.kappa is None else f"{agreement.kappa:.2f}"
        print(
            f"  agreement           {agreement.share:.0%}; by chance {agreement.by_chance:.0%}; kappa {kappa}"
        )
        print(
            f"  right, said right   {agreement.pairs[True, True]}, said wrong {agreement.pairs[True, False]}"
        )
        wrong = agreement.pairs[False, True], agreement.pairs[False, False]
        print(f"  wrong, said right   {wrong[0]}, said wrong {wrong[1]}")
    values = Counter(judge.scores.values_list("value", flat=True))
    print(f"  values              {', '.join(f'{value:g}: {n}' for value, n in sorted(values.items()))}\n")


def agreement_of(judge: Any) -> Agreement:
    from experiments.models import EvalScore

    exact = EvalScore.objects.filter(run__experiment=judge.experiment, evaluator__kind="exact_match")
    known = dict(exact.values_list("run", "value"))
    scale = judge.config["scale"]
    middle = 0.5 if "labels" in scale else (scale["minimum"] + scale["maximum"]) / 2
    scores = judge.scores.values_list("run", "value")
    return Agreement(Counter((known[run] == 1, value > middle) for run, value in scores if run in known))


if __name__ == "__main__":
    main()
