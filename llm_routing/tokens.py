"""Guessing how many tokens a prompt has, for servers that cut prompts without a word."""

from __future__ import annotations

from collections.abc import Iterable

from llm_routing.types import Message

CHARACTERS_PER_TOKEN = 8


def least_tokens(messages: Iterable[Message]) -> int:
    """A number of tokens that the prompt has at least.

    Common tokenizers need about four characters of prose for a token, and fewer of anything else.
    Half of that density leaves room for every vocabulary: a server that counts fewer has cut.
    """
    return sum(len(" ".join(message.content.split())) for message in messages) // CHARACTERS_PER_TOKEN
