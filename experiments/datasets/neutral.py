"""Text that a spreadsheet shows and never computes, in both directions."""

from __future__ import annotations

import re
from typing import Any

RISKY = "=+\\-@\t\r\n"  # a spreadsheet may take text that begins so for a formula
TO_NEUTRALISE = re.compile(f"'*[{RISKY}]")
NEUTRALISED = re.compile(f"'+[{RISKY}]")


def neutralised(value: Any) -> Any:
    """One apostrophe more where the text may be taken for a formula; other values as they are."""
    return f"'{value}" if isinstance(value, str) and TO_NEUTRALISE.match(value) else value


def restored(value: str) -> str:
    """The text before it was neutralised."""
    return value[1:] if NEUTRALISED.match(value) else value
