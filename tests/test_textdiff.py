"""Differences between texts: right, small, and quick whatever the texts are."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalsuite.textdiff import MOST_WORDS, WORDS, compare


def told(old, new):
    return [(piece.kind, piece.text) for piece in compare(old, new).pieces]


def test_words_that_changed_are_marked():
    assert told("The cat sat on the mat.", "The dog sat down on a mat!") == [
        ("same", "The "),
        ("removed", "cat"),
        ("added", "dog"),
        ("same", " sat"),
        ("added", " down"),
        ("same", " on "),
        ("removed", "the"),
        ("added", "a"),
        ("same", " mat"),
        ("removed", "."),
        ("added", "!"),
    ]


def test_a_sentence_that_was_replaced_reads_in_one_go():
    assert told("so it is", "we are many") == [("removed", "so it is"), ("added", "we are many")]
    assert not compare("so it is", "we are many").has_common_words


@pytest.mark.parametrize(
    ("old", "new", "pieces"),
    [
        ("", "new", [("added", "new")]),
        ("old", "", [("removed", "old")]),
        ("a b", "a b c", [("same", "a b"), ("added", " c")]),
    ],
)
def test_ends_and_empty_texts(old, new, pieces):
    assert told(old, new) == pieces


@pytest.mark.parametrize(("old", "new"), [("", ""), ("same", "same"), ("a  b", "a  b")])
def test_equal_texts_are_the_same(old, new):
    assert compare(old, new).is_same


TEXTS = st.text(alphabet="ab \n.é", max_size=60)


@settings(max_examples=300, deadline=None)
@given(TEXTS, TEXTS)
def test_both_texts_can_be_read_off_whatever_they_are(old, new):
    found = compare(old, new)
    assert "".join(piece.text for piece in found.old) == old
    assert "".join(piece.text for piece in found.new) == new
    kept = sum(len(WORDS.findall(p.text)) for p in found.pieces if p.kind == "same" and p.text.strip())
    assert kept <= longest(WORDS.findall(old), WORDS.findall(new))


def longest(a, b):
    """The textbook's table."""
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, one in enumerate(a, 1):
        for j, other in enumerate(b, 1):
            table[i][j] = table[i - 1][j - 1] + 1 if one == other else max(table[i - 1][j], table[i][j - 1])
    return table[-1][-1]


def test_the_common_words_are_as_many_as_there_can_be():
    old, new = ["a", "b", "c", "d", "e", "f", "g"], ["x", "b", "d", "y", "f", "z", "g"]
    kept = [p.text.strip() for p in compare(" ".join(old), " ".join(new)).pieces if p.kind == "same"]
    assert sum(len(text.split()) for text in kept) == longest(old, new)


def test_texts_that_are_too_long_are_not_compared():
    old = " ".join(f"a{n}" for n in range(MOST_WORDS))
    new = " ".join(f"b{n}" for n in range(MOST_WORDS))
    assert compare(old, new).pieces is None
    assert compare(old, old + " end").pieces is not None, "only what differs counts"
    assert compare("x" * 300_000, "y" * 10).pieces is None
