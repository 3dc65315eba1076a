"""Run an experiment from a script: wait for it, tell what came out; the exit status says how it went."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from evalsuite.errors import EvalsuiteError
from evalsuite.orgs.models import User
from experiments import serving, terminal
from experiments.models import Batch, Experiment
from experiments.services import planning, results
from llm_routing import resolution
from llm_routing.embedded import EmbeddedModelMissing

ALL_SUCCEEDED, SOME_FAILED, USAGE, TIMED_OUT = range(4)
INTERRUPTED = 130


class Command(BaseCommand):
    help = (
        "Run an experiment and show its results. Exit status: 0 all cells succeeded, 1 some failed or "
        "were cancelled, 2 wrong usage or nothing to run, 3 the time was over (the batch goes on)."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("experiment", help="its id, or its name")
        parser.add_argument("--org", metavar="SLUG", help="where the name is to be found")
        parser.add_argument("--author", metavar="USERNAME", help="in whose name it runs")
        parser.add_argument("--variant", metavar="ID", nargs="+", type=UUID, help="only these")
        parser.add_argument("--input", metavar="ID", nargs="+", type=UUID, help="only these")
        parser.add_argument("--repeats", type=_positive, default=1, metavar="N")
        parser.add_argument("--parallel", type=_positive, metavar="N", help="most calls in the air at once")
        parser.add_argument("--timeout", type=float, metavar="SECONDS", help="wait no longer than this")
        parser.add_argument("--no-wait", action="store_true", help="only start it (needs a broker)")
        parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            experiment = _find(options["experiment"], options["org"])
            author = _author(options["author"])
            with _workforce(experiment, wait=not options["no_wait"]):
                batch = planning.start_batch(
                    experiment=experiment,
                    author=author,
                    input_ids=options["input"],
                    variant_ids=options["variant"],
                    repeats=options["repeats"],
                    parallel=options["parallel"],
                )
                ended = options["no_wait"] or self._watch(batch, options)
        except (EvalsuiteError, EmbeddedModelMissing) as problem:
            raise CommandError(str(problem), returncode=USAGE) from None
        except KeyboardInterrupt:
            self.stderr.write("Interrupted. What was begun goes on as soon as there is a worker.")
            raise SystemExit(INTERRUPTED) from None
        batch.refresh_from_db()
        self._tell(batch, as_json=options["json"], in_vain=not ended)
        _exit(batch, ended=ended, waited=not options["no_wait"])

    def _watch(self, batch: Batch, options: dict[str, Any]) -> bool:
        """Progress goes beside the results, so that these can be piped on."""
        if options["json"]:
            return planning.wait_until_finished(batch, timeout_s=options["timeout"] or float("inf"))
        return terminal.watch(batch, self.stderr, timeout_s=options["timeout"])

    def _tell(self, batch: Batch, *, as_json: bool, in_vain: bool) -> None:
        rows = [row for row in results.results_of(batch.experiment, batch=batch) if row.cells["total"]]
        if as_json:
            self.stdout.write(json.dumps(terminal.document(batch, rows), ensure_ascii=False, indent=2))
            return
        self.stdout.write(f"Batch {batch.pk}: {batch.state}")
        if batch.finished_at:
            self.stdout.write(terminal.table(rows))
        elif in_vain:
            self.stdout.write("The time is over; the batch goes on as long as there is a worker.")


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
        raise CommandError(f"There is no experiment {text}{where}.", returncode=USAGE)
    if len(found) > 1:
        these = ", ".join(f"{one.pk} ({one.org.slug})" for one in found)
        raise CommandError(
            f"Several experiments are called {text}: {these}. Name one by its id.", returncode=2
        )
    return found[0]


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _author(username: str | None) -> User | None:
    if username is None:
        return None
    author = User.objects.filter(username=username).first()
    if author is None:
        raise CommandError(f"There is no user {username}.", returncode=USAGE)
    return author


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
                        returncode=USAGE,
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


def _exit(batch: Batch, *, ended: bool, waited: bool) -> None:
    if not ended:
        raise SystemExit(TIMED_OUT)
    cells = terminal.count(batch)
    if waited and cells.failed + cells.cancelled:
        raise SystemExit(SOME_FAILED)
