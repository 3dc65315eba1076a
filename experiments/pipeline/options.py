"""The gates and reports that a command line asks for, checked before anything runs."""

from __future__ import annotations

import math
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evalsuite.errors import EvalsuiteError
from experiments.models import Experiment, ExperimentVariant
from experiments.pipeline import against, gates, thresholds
from experiments.pipeline.gates import Checks

REPORTS = ("junit", "markdown")


class BadOption(EvalsuiteError):
    code, status = "BAD_OPTION", 400


def add_to(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--baseline",
        metavar="BATCH|VARIANT",
        help="what to compare with: an earlier batch, or one of the variants that run; "
        "else the batch that the experiment keeps as its baseline",
    )
    parser.add_argument(
        "--fail-if",
        action="append",
        default=[],
        metavar='"METRIC < NUMBER"',
        help="a condition (<, <=, >, >=) that no variant but the baseline may meet; also thumbs, latency, "
        "latency.p50, latency.p95, tokens; may be given again",
    )
    parser.add_argument(
        "--fail-if-worse",
        action="append",
        default=[],
        metavar="METRIC",
        help="no variant may be worse in it than the baseline: by interval and test, not by the mean; "
        "may be given again",
    )
    parser.add_argument(
        "--margin",
        action="append",
        default=[],
        metavar="[METRIC=]NUMBER",
        help="differences up to it do not matter; may be given again, by metric",
    )
    parser.add_argument("--junit", metavar="FILE", type=Path, help="write JUnit XML there")
    parser.add_argument("--markdown", metavar="FILE", type=Path, help="write a summary in Markdown there")


def checks(
    experiment: Experiment, variants: Sequence[ExperimentVariant], options: Mapping[str, Any]
) -> Checks:
    """Raises EvalsuiteError naming what is wrong."""
    margin, margins = _margins(options["margin"])
    found = Checks(
        thresholds=[thresholds.parse(text) for text in options["fail_if"]],
        never_worse=options["fail_if_worse"],
        baseline=against.find(experiment, options["baseline"]),
        margin=margin,
        margins=margins,
    )
    gates.require_sound(found, experiment, variants, named=options["baseline"] is not None)
    _require_places(options)
    if options["no_wait"] and (found.asked or any(options[name] for name in REPORTS)):
        raise BadOption("--no-wait knows no results: it goes with no gate and no report.")
    return found


def _margins(texts: Sequence[str]) -> tuple[float, Mapping[str, float]]:
    """The one for all metrics, and those of single ones."""
    overall, margins = 0.0, {}
    for text in texts:
        key, _, number = text.rpartition("=")
        if key:
            margins[key] = _margin(number)
        else:
            overall = _margin(number)
    return overall, margins


def _margin(text: str) -> float:
    try:
        margin = float(text)
    except ValueError:
        margin = math.nan
    if not (math.isfinite(margin) and margin >= 0):
        raise BadOption(f"--margin: {text} must be a finite number that is not negative.")
    return margin


def _require_places(options: Mapping[str, Any]) -> None:
    """A path that cannot be written is better known before than after ten thousand calls."""
    for name in REPORTS:
        path: Path | None = options[name]
        if path is not None and (path.is_dir() or not path.parent.is_dir()):
            raise BadOption(f"--{name}: {path} cannot be written: there is no such folder, or it is one.")
