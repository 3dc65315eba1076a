"""What changed from one version of a chat profile to another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evalsuite.textdiff import Piece, compare
from llm_routing.models import ChatProfile, ChatProfileVersion, ProfileFacts

WORDS = {
    "name": "Name",
    "system_prompt": "System prompt",
    "model_provider": "Provider",
    "model_name": "Model",
    "temperature": "Temperature",
    "top_p": "Top-p",
    "max_tokens": "Max tokens",
}
BY_WORDS = ("name", "system_prompt")  # the other facts change as a whole


@dataclass(frozen=True, slots=True)
class Change:
    """One fact that differs: its name for people, and its text before and after in pieces."""

    label: str
    pieces: Sequence[Piece]
    is_long: bool


def changes_between(before: ProfileFacts, after: ProfileFacts) -> list[Change]:
    """Facts that differ, in the order of the form."""
    return [
        Change(WORDS[name], _pieces(name, before, after), is_long=name == "system_prompt")
        for name in WORDS
        if getattr(before, name) != getattr(after, name)
    ]


def changed_names(
    profile: ChatProfile, versions: Sequence[ChatProfileVersion]
) -> list[tuple[ChatProfileVersion, list[str]]]:
    """Versions that follow each other, newest first, each with the facts that it changed, in words."""
    if not versions:
        return []
    former = profile.versions.filter(number__lt=versions[-1].number).first()
    told = []
    for version, before in zip(versions, [*versions[1:], former], strict=True):
        differing = [
            words.lower()
            for name, words in WORDS.items()
            if before is not None and getattr(version, name) != getattr(before, name)
        ]
        told.append((version, differing))
    return told


def _pieces(name: str, before: ProfileFacts, after: ProfileFacts) -> list[Piece]:
    old, new = _text(getattr(before, name)), _text(getattr(after, name))
    by_words = compare(old, new).pieces if name in BY_WORDS else None
    return by_words or [Piece("removed", old), Piece("added", new)]


def _text(value: object) -> str:
    if value is None:
        return "no limit"
    return f"{value:g}" if isinstance(value, float) else str(value)
