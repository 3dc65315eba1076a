"""Speed and time for people. `live.js` says the same of what comes by the stream."""

from __future__ import annotations

import math


def speed(per_second: float) -> str:
    """Empty where nothing moves."""
    if not per_second:
        return ""
    if per_second < 1:
        return f"{per_second * 60:.1f} cells/min"
    return f"{per_second:.1f} cells/s"


def time_left(seconds: float | None) -> str:
    """Rounded up, in the unit that fits. Empty where nobody can tell."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"about {math.ceil(seconds)} s left"
    if seconds < 5_400:
        return f"about {math.ceil(seconds / 60)} min left"
    return f"about {math.ceil(seconds / 3_600)} h left"
