"""What differs between two texts, word by word. Pure functions; the work is bounded whatever the texts are.

The longest common subsequence is found by the bits of large numbers, many comparisons at once
(Hyyrö, "Bit-parallel LCS-length computation revisited", 2004): texts without a common word take
milliseconds too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

MOST_WORDS = 6_000  # on each side, spaces and signs counted, without what both begin or end with
LONGEST = 200_000  # characters on each side
WORDS = re.compile(r"\w+|\s+|[^\w\s]")

Kind = Literal["same", "removed", "added"]


@dataclass(frozen=True, slots=True)
class Piece:
    kind: Kind
    text: str


@dataclass(frozen=True, slots=True)
class Difference:
    """`pieces` lead from the old text to the new one; None where the texts are too long for that."""

    pieces: list[Piece] | None
    is_same: bool

    @property
    def has_common_words(self) -> bool:
        return any(piece.kind == "same" and re.search(r"\w", piece.text) for piece in self.pieces or ())

    @property
    def old(self) -> list[Piece]:
        return [piece for piece in self.pieces or () if piece.kind != "added"]

    @property
    def new(self) -> list[Piece]:
        return [piece for piece in self.pieces or () if piece.kind != "removed"]


def compare(old: str, new: str) -> Difference:
    if old == new:
        return Difference([Piece("same", old)] if old else [], is_same=True)
    if max(len(old), len(new)) > LONGEST:
        return Difference(None, is_same=False)
    before, after = WORDS.findall(old), WORDS.findall(new)
    head = _shared(before, after)
    tail = _shared(before[head:][::-1], after[head:][::-1])
    ends = len(before) - tail, len(after) - tail
    if max(ends) - head > MOST_WORDS:
        return Difference(None, is_same=False)
    middle = _script(before[head : ends[0]], after[head : ends[1]])
    steps: list[tuple[Kind, str]] = [
        *(("same", word) for word in before[:head]),
        *middle,
        *(("same", word) for word in before[ends[0] :]),
    ]
    return Difference(_joined(_without_islands(steps)), is_same=False)


def _shared(before: Sequence[str], after: Sequence[str]) -> int:
    """With how many equal words both begin."""
    n = 0
    for one, other in zip(before, after, strict=False):
        if one != other:
            break
        n += 1
    return n


def _script(before: Sequence[str], after: Sequence[str]) -> list[tuple[Kind, str]]:
    """The shortest way from the one to the other, from the end to the beginning and turned round."""
    rows = _rows(before, after)
    i, j = len(before), len(after)
    steps: list[tuple[Kind, str]] = []
    while i or j:
        if i and j and before[i - 1] == after[j - 1]:
            i, j = i - 1, j - 1
            steps.append(("same", before[i]))
        elif j and (not i or not rows[j] >> (i - 1) & 1):
            j -= 1
            steps.append(("added", after[j]))
        else:
            i -= 1
            steps.append(("removed", before[i]))
    return steps[::-1]


def _rows(before: Sequence[str], after: Sequence[str]) -> list[int]:
    """After each word of `after`, a bit for each of `before`: 0 where the common subsequence grows there."""
    places: dict[str, int] = {}
    for place, word in enumerate(before):
        places[word] = places.get(word, 0) | 1 << place
    full = (1 << len(before)) - 1
    row = full
    rows = [row]
    for word in after:
        hits = row & places.get(word, 0)
        row = (row + hits | row - hits) & full
        rows.append(row)
    return rows


def _without_islands(steps: Sequence[tuple[Kind, str]]) -> Iterable[tuple[Kind, str]]:
    """A space that stayed between two words that did not is part of both: so a sentence reads in one go."""
    last = len(steps) - 1
    for place, (kind, word) in enumerate(steps):
        lonely = kind == "same" and word.isspace() and 0 < place < last
        if lonely and steps[place - 1][0] != "same" and steps[place + 1][0] != "same":
            yield "removed", word
            yield "added", word
        else:
            yield kind, word


def _joined(steps: Iterable[tuple[Kind, str]]) -> list[Piece]:
    """Neighbours of one kind as one piece; within a change what was removed comes first."""
    pieces: list[Piece] = []
    removed: list[str] = []
    added: list[str] = []
    same: list[str] = []

    def close_change() -> None:
        if removed:
            pieces.append(Piece("removed", "".join(removed)))
        if added:
            pieces.append(Piece("added", "".join(added)))
        removed.clear()
        added.clear()

    for kind, word in steps:
        if kind == "same":
            close_change()
            same.append(word)
            continue
        if same:
            pieces.append(Piece("same", "".join(same)))
            same.clear()
        (removed if kind == "removed" else added).append(word)
    close_change()
    if same:
        pieces.append(Piece("same", "".join(same)))
    return pieces
