from __future__ import annotations

import secrets
import time
from dataclasses import fields
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from evalsuite.errors import EvalsuiteError
from experiments.loadtest.loading import load
from experiments.loadtest.setup import author_of
from experiments.loadtest.shape import Shape

SIZES = {
    "experiments": "in the org",
    "cells": "in the org, each with three scores",
    "largest": "cells of the newest experiment",
    "empty": "experiments, the oldest, without cells",
    "orgs": "in all; the others are small",
    "members": "of the org",
    "days": "how far back the data reaches",
    "seed": "the same one makes the same data",
}


class Command(BaseCommand):
    help = (
        "Fill an empty database with one large organisation among many, for measuring. "
        "Nothing that is there is changed."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        for field in fields(Shape):
            usual: Any = field.default
            words = f"{SIZES[field.name]} ({usual:,})"
            parser.add_argument(f"--{field.name}", type=int, default=usual, metavar="N", help=words)
        parser.add_argument("--org", default="Load test", help="the name of the organisation")
        parser.add_argument("--slug", default="loadtest", help="its short name, which user names begin with")
        parser.add_argument("--password", help="of its members; without it one is made up and printed")
        usual = 1 if connection.vendor == "sqlite" else 2
        parser.add_argument("--processes", type=int, default=usual, metavar="N", help=f"that write ({usual})")
        parser.add_argument("--alongside", action="store_true", help="beside data that is there already")

    def handle(self, *args: Any, **options: Any) -> None:
        shape = Shape(**{field.name: options[field.name] for field in fields(Shape)})
        password = options["password"] or secrets.token_urlsafe(12)
        begun = time.monotonic()
        try:
            done = load(
                shape,
                name=options["org"],
                slug=options["slug"],
                password=password,
                alongside=options["alongside"],
                processes=options["processes"],
                tell=self.stdout.write,
            )
        except EvalsuiteError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            f"{shape.experiments:,} experiments, {done.cells:,} cells and {done.scores:,} scores"
            f" in {time.monotonic() - begun:.0f} s"
        )
        owner = author_of(options["slug"], 1)
        self.stdout.write(f"Organisation {done.org.name} ({done.org.pk}), owner {owner}")
        if not options["password"]:
            self.stdout.write(f"Members sign in with the password {password}")
