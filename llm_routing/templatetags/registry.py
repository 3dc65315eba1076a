"""Words of the models page."""

from __future__ import annotations

from django import template

register = template.Library()


@register.filter
def weight(size_bytes: int) -> str:
    """Bytes of weights as Ollama tells them: units of a thousand."""
    for unit, size in (("GB", 10**9), ("MB", 10**6)):
        if size_bytes >= size:
            return f"{size_bytes / size:.1f} {unit}"
    return f"{size_bytes / 1_000:.0f} KB"
