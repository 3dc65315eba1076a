"""Steer a batch from a script."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from evalsuite.errors import EvalsuiteError
from evalsuite.orgs.models import User
from experiments import terminal
from experiments.models import Batch
from experiments.services import steering
from experiments.services.evaluating import evaluate_again


def evaluate(batch: Batch, *, actor: User | None) -> None:
    evaluate_again(batch.experiment, batch=batch, actor=actor)


ACTIONS: dict[str, Callable[..., object]] = {
    "pause": steering.pause,
    "resume": steering.resume,
    "cancel": steering.cancel,
    "retry": steering.retry_failed,
    "evaluate": evaluate,
}


class Command(BaseCommand):
    help = (
        "Pause, resume or cancel a batch, retry its failed cells, or let its evaluators look at its answers "
        "again. Exit status: 0 done, 2 wrong usage or not possible in the batch's state."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("action", choices=ACTIONS)
        parser.add_argument("batch", type=UUID, help="its id")
        parser.add_argument("--author", metavar="USERNAME", help="in whose name it is done")
        parser.add_argument(
            "--token-budget", type=int, metavar="N", help="with resume: the batch's budget from now on"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        batch = Batch.objects.select_related("experiment__org").filter(pk=options["batch"]).first()
        if batch is None:
            raise CommandError(f"There is no batch {options['batch']}.", returncode=terminal.USAGE)
        wishes = {} if options["token_budget"] is None else {"token_budget": options["token_budget"]}
        if wishes and options["action"] != "resume":
            raise CommandError("--token-budget goes with resume only.", returncode=terminal.USAGE)
        try:
            ACTIONS[options["action"]](batch, actor=terminal.person(options["author"]), **wishes)
        except EvalsuiteError as problem:
            raise CommandError(str(problem), returncode=terminal.USAGE) from None
        pending = batch.evaluations.open().count() if options["action"] == "evaluate" else None
        queued = "" if pending is None else f", {pending} evaluations queued"
        self.stdout.write(f"Batch {batch.pk}: {batch.state}{queued}")
