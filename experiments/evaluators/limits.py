"""Limits on a figure of an answer, as settings and as a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.evaluators.base import Verdict

LARGEST = 1_000_000_000


def limit(title: str, *, minimum: int = 0) -> dict[str, Any]:
    """A setting that is a bound."""
    return {"type": "integer", "minimum": minimum, "maximum": LARGEST, "title": title}


def contradictions(config: Mapping[str, Any], *pairs: tuple[str, str]) -> dict[str, list[str]]:
    """Reasons against bounds (least, most) of which there is none, or that nothing can keep."""
    names = [name for pair in pairs for name in pair]
    if not any(name in config for name in names):
        return {names[-1]: [f"Set at least one limit: {', '.join(names)}."]}
    return {
        most: [f"This must not be less than {least}."]
        for least, most in pairs
        if least in config and most in config and config[least] > config[most]
    }


def broken(config: Mapping[str, Any], least: str, most: str, figure: float, noun: str) -> str:
    """Why the figure is not within the bounds that are set; empty where it is."""
    if least in config and figure < config[least]:
        return f"{figure:,.0f} {noun}, at least {config[least]:,} are wanted."
    if most in config and figure > config[most]:
        return f"{figure:,.0f} {noun}, at most {config[most]:,} are allowed."
    return ""


def verdict(*reasons: str) -> Verdict:
    """1 where no reason is given, else 0 with them."""
    given = [reason for reason in reasons if reason]
    return Verdict.passed(not given, " ".join(given))
