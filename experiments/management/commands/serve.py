"""The product in one process, as `make run` starts it."""

from __future__ import annotations

import signal
from argparse import ArgumentParser
from contextlib import ExitStack, suppress
from typing import Any, NoReturn

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand

from evalsuite import startup
from experiments import demo, serving, terminal
from experiments.services import planning, results


class Command(BaseCommand):
    help = "Migrate, start worker and models, run the sample experiment the first time, and serve."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=8000)

    def handle(self, *args: Any, **options: Any) -> None:
        startup.require_safe("serve")
        signal.signal(signal.SIGTERM, _interrupt)
        try:
            with serving.only_process(), suppress(KeyboardInterrupt):
                self._serve(options["host"], options["port"])
        except serving.AlreadyServing as problem:
            raise SystemExit(f"evalsuite: {problem}") from None
        self._say("Stopped. All data is kept.")

    def _serve(self, host: str, port: int) -> None:
        call_command("migrate", interactive=False, verbosity=0)
        serving.collect_static(self._say)
        password = demo.seed()
        with ExitStack() as stack:
            try:
                models = stack.enter_context(serving.models_of_this_machine(self._say))
                begin_to_end = stack.enter_context(serving.worker())
                demo.choose_default_model(models)
                self._run_sample()
            finally:  # it is nowhere else, so it is told whatever happens
                self._tell_login(password)
            url = f"http://{host}:{port}"
            serving.serve(
                host=host, port=port, when_up=lambda: self._tell_url(url), when_told_to_end=begin_to_end
            )

    def _run_sample(self) -> None:
        experiment = demo.sample_to_run()
        if experiment is None:
            return
        batch = planning.start_batch(experiment=experiment, author=experiment.created_by)
        if not settings.EMBEDDED_BROKER:
            self._say(f"The sample experiment waits for the workers: {experiment.name}")
            return
        self._say(f"\nRunning the sample experiment: {experiment.name}")
        terminal.watch(batch, self.stdout)
        self._say(f"\n{terminal.table(results.results_of(experiment, batch=batch))}\n")

    def _tell_login(self, password: str | None) -> None:
        if password:
            self._say(f"\nSign in as {demo.USERNAME} with the password {password}")
            self._say("It is shown this once. To set another: make password")
        else:
            self._say(f"\nSign in as {demo.USERNAME}. To set another password: make password")

    def _tell_url(self, url: str) -> None:
        self._say(f"Evalsuite is at {url} (Ctrl-C stops it)\n")

    def _say(self, line: str) -> None:
        """At once, also where the lines go into a file or a pipe."""
        self.stdout.write(line)
        self.stdout.flush()


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt
