"""How much test data there is to be, and how it is spread over experiments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from evalsuite.errors import EvalsuiteError

VARIANTS, BATCHES = 2, 2
BLOCK = VARIANTS * BATCHES  # the cells of one input
SCORES_PER_CELL = 3


class BadShape(EvalsuiteError):
    """Such an installation cannot be made."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes. `largest` is the number of cells of the newest experiment, the others share the rest evenly.

    Every experiment has two variants and two batches with all of its inputs.
    """

    experiments: int = 10_000
    cells: int = 1_000_000
    largest: int = 5_000
    empty: int = 0  # experiments, the oldest, that have no cells
    orgs: int = 200  # in all; the others have an experiment each, without cells
    members: int = 200  # of the org that has it all
    days: int = 60  # the data is as old as this, and younger
    seed: int = 1

    def check(self) -> None:
        """Raises BadShape."""
        if (
            min(self.experiments, self.orgs, self.members, self.days) < 1
            or min(self.cells, self.largest, self.empty) < 0
        ):
            raise BadShape(
                "There must be at least one experiment, org, member and day, and no negative size."
            )
        if self.cells % BLOCK or self.largest % BLOCK:
            raise BadShape(f"Each input has {BLOCK} cells: their number must be a multiple of that.")
        if self.empty >= self.experiments:
            raise BadShape("One experiment at least, the newest, has cells.")
        alone = self.experiments == self.empty + 1
        if self.largest > self.cells or (alone and self.largest != self.cells):
            raise BadShape("The largest experiment has more cells than there are to be, or leaves some over.")

    def inputs(self) -> Iterator[int]:
        """The number of inputs of each experiment, the oldest first."""
        others = self.experiments - 1 - self.empty
        yield from [0] * self.empty
        if others:
            each, more = divmod((self.cells - self.largest) // BLOCK, others)
            yield from (each + (number < more) for number in range(others))
        yield self.largest // BLOCK
