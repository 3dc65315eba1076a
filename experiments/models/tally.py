"""How people have pressed the thumbs of one cell."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tally:
    """The thumbs of all people on one answer, and the viewer's own; `mine` is None where they gave none."""

    up: int = 0
    down: int = 0
    mine: bool | None = None
