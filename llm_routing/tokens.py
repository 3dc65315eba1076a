"""Guessing how many tokens a prompt has, for servers that cut prompts without a word."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from llm_routing.types import Message

LONGEST_WORD = 16  # letters that one token may hold
DENSEST_SCRIPT = 4  # letters of a script without spaces that one token may hold
CERTAINTY = 0.9
_WORD = re.compile(r"[^\W\d_]+")
_FIRST_WIDE = "\u0e00"  # from Thai on, most scripts put no spaces between words


def least_tokens(messages: Iterable[Message]) -> int:
    """A number of tokens that the prompt hardly has fewer of, and usually has a third more.

    Tokenizers split at the edges of words, so that a word is one token or more: rows of words are
    counted. Digits, punctuation and blanks are not, since a single token can hold a long run of them,
    nor is what the chat template adds. A tenth is left off for vocabularies with tokens of two words:
    a mark that is sometimes missing does less harm than one that nobody believes.
    """
    words = (match.group() for message in messages for match in _WORD.finditer(message.content))
    return math.floor(sum(map(_least, words)) * CERTAINTY)


def _least(word: str) -> int:
    most = DENSEST_SCRIPT if word[0] >= _FIRST_WIDE else LONGEST_WORD
    return math.ceil(len(word) / most)
