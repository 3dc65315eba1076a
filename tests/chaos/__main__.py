"""`make chaos`: every scene at its full size, one after the other, and a table of what came out.

`python -m tests.chaos storm serve` runs some of them; `--cells 2000 --seed 7` another storm.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from tests.chaos import scenarios
from tests.chaos.scenarios import Report


@dataclass(frozen=True)
class Line:
    """One scene in the table; `report` is None where it broke off."""

    name: str
    report: Report | None

    def columns(self) -> list[str]:
        if self.report is None or self.report.figures is None:
            return [self.name, *["-"] * 7, "BROKEN"]
        figures = self.report.figures
        attempts = figures.attempts
        lost = figures.cells - figures.states["succeeded"] - figures.states["failed"]
        numbers = (
            figures.cells,
            lost,
            attempts["succeeded"] - figures.states["succeeded"],
            figures.provider_calls,
            attempts["lost"],
            attempts["retry"],
        )
        return [self.name, *map(str, numbers), f"{self.report.seconds:.0f}", "holds"]


HEADINGS = [
    "scene", "cells", "lost", "twice", "calls", "attempts lost", "attempts repeated", "seconds", "verdict",
]  # fmt: skip


def table(lines: list[Line]) -> str:
    rows = [HEADINGS, *(line.columns() for line in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) for row in rows
    )


def on_its_own(scene: Callable[..., Report], **sizes: float) -> Callable[[], Report]:
    """A scene on an installation that nobody else has used."""

    def run() -> Report:
        with scenarios.installation() as (made, provider):
            return scene(made, provider, **sizes)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("scenes", nargs="*", metavar="scene")
    parser.add_argument("--cells", type=int, default=10_000, help="cells of the storm")
    parser.add_argument("--seed", type=int, default=1, help="who is killed in the storm")
    given = parser.parse_args()
    scenes: dict[str, Callable[[], Report]] = {
        "storm": lambda: scenarios.storm(cells=given.cells, seed=given.seed),
        "serve": lambda: scenarios.serve_dies(cells=500, kills=5),
        "redis": on_its_own(scenarios.redis_fails, cells=300, away_s=60),
        "poison": on_its_own(scenarios.a_cell_kills, cells=200),
        "deploy": on_its_own(scenarios.deploy, cells=1_000),
        "clock": on_its_own(scenarios.clock_is_off, cells=1_000),
    }
    if unknown := set(given.scenes) - set(scenes):
        parser.error(f"no such scene: {', '.join(sorted(unknown))}; there are {', '.join(scenes)}")
    asked = given.scenes or list(scenes)
    if "clock" in asked and scenarios.libfaketime() is None:
        parser.error("the scene clock wants libfaketime, a package of Debian; name the others to go without")
    lines = []
    for name in asked:
        try:
            lines.append(Line(name, scenes[name]()))
        except Exception:  # noqa: BLE001 - the others shall run all the same, and the table tells
            traceback.print_exc()
            lines.append(Line(name, None))
    print(f"\n{table(lines)}")
    if any(line.report is None for line in lines):
        sys.exit(1)


if __name__ == "__main__":
    main()
