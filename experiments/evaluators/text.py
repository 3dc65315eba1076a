"""How texts are made comparable before they are compared."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

NORMALISATION: Mapping[str, Any] = {
    "ignoreCase": {"type": "boolean", "default": True, "title": "Ignore case"},
    "ignorePunctuation": {
        "type": "boolean",
        "default": True,
        "title": "Ignore punctuation",
        "description": "Each mark counts as a space.",
    },
    "whitespace": {
        "enum": ["collapse", "remove", "keep"],
        "default": "collapse",
        "title": "Whitespace",
        "description": "collapse: one space between words, none around; remove: none at all; keep: as it is.",
    },
    "unicode": {
        "enum": ["NFC", "NFKC", "none"],
        "default": "NFC",
        "title": "Unicode form",
        "description": "NFC: the same letter is the same; NFKC: also full-width letters and ligatures.",
    },
    "ignoreAccents": {"type": "boolean", "default": False, "title": "Ignore accents"},
    "ignoreArticles": {
        "type": "boolean",
        "default": False,
        "title": "Ignore articles",
        "description": "The English a, an, the.",
    },
}
ARTICLES = re.compile(r"\b(?:a|an|the)\b", re.IGNORECASE)
MOST_MARKS = 30  # on one letter, as in the Unicode annex 15: more would cost time by their square
TOO_MANY_MARKS = re.compile(rb"[^\0]{31}")
JOINER = "\u034f"  # combining grapheme joiner: invisible, ends a run of marks


def normalised(text: str, config: Mapping[str, Any]) -> str:
    """The text as the settings of `NORMALISATION` compare it. Time grows with the text's length alone."""
    form = config["unicode"]
    if form != "none":
        text = _in_form(text, form)
    if config["ignoreAccents"]:
        text = "".join(one for one in _in_form(text, "NFD") if not unicodedata.combining(one))
    if config["ignorePunctuation"]:
        text = text.translate({ord(one): " " for one in set(text) if unicodedata.category(one)[0] == "P"})
    if config["ignoreCase"]:
        text = text.casefold()
    if config["ignoreArticles"]:
        text = ARTICLES.sub(" ", text)
    if config["whitespace"] == "keep":
        return text
    return ("" if config["whitespace"] == "remove" else " ").join(text.split())


def _in_form(text: str, form: Any) -> str:
    if text.isascii():
        return text
    if TOO_MANY_MARKS.search(bytes(map(unicodedata.combining, text))):
        text = _stream_safe(text)
    return unicodedata.normalize(form, text)


def _stream_safe(text: str) -> str:
    """With a joiner after every 30 marks in a row: sorting a million of them would take minutes."""
    parts, marks = [], 0
    for one in text:
        marks = marks + 1 if unicodedata.combining(one) else 0
        if marks > MOST_MARKS:
            parts.append(JOINER)
            marks = 1
        parts.append(one)
    return "".join(parts)


def shown(text: str, longest: int = 80) -> str:
    """A piece of a text for a note, on one line."""
    line = " ".join(text[: longest * 2].split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"
