"""How texts are made comparable before they are compared."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

NORMALISATION: Mapping[str, Any] = {
    "ignoreCase": {"type": "boolean", "default": True},
    "ignorePunctuation": {"type": "boolean", "default": True},
}


def normalised(text: str, config: Mapping[str, Any]) -> str:
    """NFC, spaces collapsed; case and punctuation dropped unless the configuration keeps them."""
    text = unicodedata.normalize("NFC", text)
    if config.get("ignorePunctuation", True):
        text = "".join(" " if unicodedata.category(character)[0] == "P" else character for character in text)
    if config.get("ignoreCase", True):
        text = text.casefold()
    return " ".join(text.split())
