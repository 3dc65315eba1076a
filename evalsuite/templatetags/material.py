"""Template tags of the console's look."""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

register = template.Library()

STATE_ICONS = {
    "queued": "schedule",
    "running": "autorenew",
    "succeeded": "check_circle",
    "finished": "check_circle",
    "failed": "error",
    "cancelled": "cancel",
    "paused": "pause_circle",
}


@cache
def _icons() -> Path:
    """The folder of the icons' wheel; found, not imported, since its code needs cairo."""
    spec = find_spec("material_icons")
    if spec is None or not spec.origin:
        raise ModuleNotFoundError("python-material-icons is not installed")
    return Path(spec.origin).parent / "icons" / "outlined"


@cache
def _svg(name: str) -> SafeString:
    text = (_icons() / f"{name}.svg").read_text()
    drawing = re.search(r"<svg[^>]*>(.*)</svg>", text, re.DOTALL)
    if drawing is None:
        raise ValueError(f"the icon {name} is no SVG")
    # The wheel is a locked dependency; nothing that a user wrote comes this way.
    return mark_safe(  # nosec B308 B703  # noqa: S308
        f'<svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">{drawing[1]}</svg>'
    )


@register.simple_tag
def icon(name: str) -> SafeString:
    """A Material icon, inline. Raises FileNotFoundError for a name that does not exist."""
    return _svg(name)


@register.simple_tag
def state_icon(state: str) -> SafeString:
    return icon(STATE_ICONS[state])


@register.simple_tag
def status_chip(state: str) -> SafeString:
    """A state by icon and word."""
    return format_html(
        '<span class="status" data-state="{}">{} {}</span>',
        state,
        icon(STATE_ICONS[state]),
        state.capitalize(),
    )
