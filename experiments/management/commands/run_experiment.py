"""Run an experiment from a script: wait for it, tell what came out; the exit status says how it went."""

from __future__ import annotations

import io
import json
import time
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from evalsuite.errors import EvalsuiteError
from experiments import serving, terminal
from experiments.models import Batch, Experiment, ExperimentVariant
from experiments.pipeline import gates, junit, markdown
from experiments.pipeline import options as pipeline
from experiments.pipeline.gates import Checks, Judged, Outcome
from experiments.services import planning, results
from experiments.services.results import VariantResult
from llm_routing import resolution
from llm_routing.embedded import EmbeddedModelMissing

FINE, QUALITY, TROUBLE = 0, 1, terminal.USAGE
INTERRUPTED = 130
NOTHING = Judged()


class Command(BaseCommand):
    help = (
        "Run an experiment, compare it with a baseline, and show what came out. Exit status: 0 all is fine, "
        "1 a gate is broken (--fail-if, --fail-if-worse), 2 trouble: cells failed or were cancelled, a gate "
        "has nothing to judge by, wrong usage, nothing to run, the time was over (the batch goes on) or the "
        "batch was paused."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("experiment", help="its id, or its name")
        parser.add_argument("--org", metavar="SLUG", help="where the name is to be found")
        parser.add_argument("--author", metavar="USERNAME", help="in whose name it runs")
        parser.add_argument("--variant", metavar="ID", nargs="+", type=UUID, help="only these")
        parser.add_argument("--input", metavar="ID", nargs="+", type=UUID, help="only these")
        parser.add_argument("--repeats", type=_positive, default=1, metavar="N")
        parser.add_argument("--parallel", type=_positive, metavar="N", help="most calls in the air at once")
        parser.add_argument("--fill-gaps", action="store_true", help="only cells that have no answer yet")
        parser.add_argument(
            "--use-cache",
            action="store_true",
            help="take over equal earlier answers (seed fixed, or temperature 0)",
        )
        parser.add_argument(
            "--at-most-once",
            action="store_true",
            help="never make a call again that may have reached the model",
        )
        parser.add_argument(
            "--token-budget",
            type=_positive,
            metavar="N",
            help="pause when the calls have used so many tokens",
        )
        parser.add_argument("--timeout", type=float, metavar="SECONDS", help="wait no longer than this")
        parser.add_argument("--no-wait", action="store_true", help="only start it (needs a broker)")
        parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
        pipeline.add_to(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            experiment = _find(options["experiment"], options["org"])
            author = terminal.person(options["author"])
            checks = pipeline.checks(experiment, _variants(experiment, options["variant"]), options)
            with _workforce(experiment, wait=not options["no_wait"]):
                batch = planning.start_batch(
                    experiment=experiment,
                    author=author,
                    input_ids=options["input"],
                    variant_ids=options["variant"],
                    repeats=options["repeats"],
                    parallel=options["parallel"],
                    fill_gaps=options["fill_gaps"],
                    use_cache=options["use_cache"],
                    at_most_once=options["at_most_once"],
                    token_budget=options["token_budget"],
                )
                ended = options["no_wait"] or self._watch(batch, options)
        except (EvalsuiteError, EmbeddedModelMissing) as problem:
            raise CommandError(str(problem), returncode=TROUBLE) from None
        except KeyboardInterrupt:
            self.stderr.write("Interrupted. What was begun goes on as soon as there is a worker.")
            raise SystemExit(INTERRUPTED) from None
        batch.refresh_from_db()
        self._report(batch, checks, options, ended=ended)

    def _watch(self, batch: Batch, options: dict[str, Any]) -> bool:
        """Until the cells are closed and the evaluators have seen them. Progress goes beside the results,
        so that these can be piped on.
        """
        begin = time.monotonic()
        screen = io.StringIO() if options["json"] else self.stderr
        if not terminal.watch(batch, screen, timeout_s=options["timeout"]):
            return False
        left = options["timeout"] and max(0.0, options["timeout"] - (time.monotonic() - begin))
        return terminal.watch_evaluations(batch, screen, timeout_s=left)

    def _report(self, batch: Batch, checks: Checks, options: dict[str, Any], *, ended: bool) -> None:
        waited = not options["no_wait"]
        rows = [row for row in results.results_of(batch.experiment, batch=batch) if row.cells["total"]]
        judged = gates.judge(checks, batch, rows) if waited and ended else NOTHING
        status, verdict = _verdict(batch, judged, checks, ended=ended) if waited else (FINE, "")
        if options["json"]:
            self.stdout.write(
                json.dumps(terminal.document(batch, rows, judged), ensure_ascii=False, indent=2)
            )
        else:
            self._tell(batch, rows, judged, verdict)
        _write(batch, rows, judged, verdict, options)
        if status != FINE:
            raise SystemExit(status)

    def _tell(self, batch: Batch, rows: list[VariantResult], judged: Judged, verdict: str) -> None:
        self.stdout.write(f"Batch {batch.pk}: {batch.state}")
        if batch.finished_at:
            self.stdout.write(terminal.table(rows))
        for line in terminal.verdicts(judged):
            self.stdout.write(line)
        if verdict:
            self.stdout.write(verdict)


def _verdict(batch: Batch, judged: Judged, checks: Checks, *, ended: bool) -> tuple[int, str]:
    """Exit status, and the same in words. Trouble goes before quality: what failed was not judged."""
    if batch.waits_for_a_person:
        return TROUBLE, f"{batch.paused_note} `manage.py batch resume {batch.pk}` lets it go on."
    if not ended:
        return TROUBLE, "The time is over; the batch goes on as long as there is a worker."
    cells = terminal.count(batch)
    if cells.failed + cells.cancelled:
        return TROUBLE, f"Trouble: {cells.failed:,} cells failed, {cells.cancelled:,} were cancelled."
    if judged.has(Outcome.UNKNOWN):
        return TROUBLE, "Trouble: a gate has nothing to judge by."
    if judged.has(Outcome.BROKEN):
        broken = sum(gate.outcome is Outcome.BROKEN for gate in judged.gates)
        return (
            QUALITY,
            f"Failed: {broken} of {len(judged.gates)} gates {'is' if broken == 1 else 'are'} broken.",
        )
    return FINE, "Passed: every gate holds." if checks.asked else "All cells succeeded."


def _write(
    batch: Batch, rows: list[VariantResult], judged: Judged, verdict: str, options: dict[str, Any]
) -> None:
    """The reports that were asked for. Raises CommandError where one cannot be written."""
    try:
        if options["junit"]:
            with options["junit"].open("w", encoding="utf-8") as file:
                junit.write(file, batch, rows, judged)
        if options["markdown"]:
            summary = markdown.summary(batch, rows, judged, verdict=verdict)
            options["markdown"].write_text(summary, encoding="utf-8")
    except OSError as problem:
        raise CommandError(f"A report could not be written: {problem}", returncode=TROUBLE) from problem


def _variants(experiment: Experiment, ids: Sequence[UUID] | None) -> list[ExperimentVariant]:
    """Those that are going to run."""
    variants = experiment.variants.order_by("id")
    return list(variants.filter(pk__in=ids) if ids else variants)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _find(text: str, slug: str | None) -> Experiment:
    """By id or by name. Raises CommandError where there is none, or more than one of that name."""
    experiments = Experiment.objects.select_related("org").order_by("org__slug", "pk")
    if slug:
        experiments = experiments.filter(org__slug=slug)
    found = list(experiments.filter(pk=text) if _is_id(text) else experiments.filter(name=text))
    where = f" in the organisation {slug}" if slug else ""
    if not found:
        raise CommandError(f"There is no experiment {text}{where}.", returncode=TROUBLE)
    if len(found) > 1:
        these = ", ".join(f"{one.pk} ({one.org.slug})" for one in found)
        raise CommandError(
            f"Several experiments are called {text}: {these}. Name one by its id.", returncode=TROUBLE
        )
    return found[0]


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


@contextmanager
def _workforce(experiment: Experiment, *, wait: bool) -> Iterator[None]:
    """Somebody to do the work: the workers behind the broker, the process that serves, or this one."""
    with ExitStack() as stack:
        if settings.EMBEDDED_BROKER:
            try:
                stack.enter_context(serving.only_process())
            except serving.AlreadyServing:
                pass  # its sweeper finds the batch within seconds
            else:
                if not wait:
                    raise CommandError(
                        "--no-wait needs a worker elsewhere: set BROKER_URL, or start `manage.py serve`.",
                        returncode=TROUBLE,
                    )
                if _needs_embedded(experiment):
                    stack.enter_context(serving.embedded_model())
                stack.enter_context(serving.worker())
        yield


def _needs_embedded(experiment: Experiment) -> bool:
    """True where a variant runs on the embedded model, which is there only while somebody has started it."""
    variants = experiment.variants.select_related("chat_profile")
    return any(
        resolution.resolve(
            experiment.org, profile=one.chat_profile, explicit=one.config, system_prompt=one.system_prompt
        ).model.provider.slug
        == serving.EMBEDDED
        for one in variants
    )
