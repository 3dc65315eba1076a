"""A comparison in words, for people. What variants and metrics are called comes in as it is: plain text."""

from __future__ import annotations

import math
from collections.abc import Callable

from experiments.services.comparison import Comparison, Side


def sentence(one: Comparison, quote: Callable[[str], str] = str) -> str:
    """`quote` makes the names of variants and metrics safe for the place where the words are shown."""
    return f"{verdict(one, quote)} {_evidence(one)}".strip()


def verdict(one: Comparison, quote: Callable[[str], str] = str) -> str:
    baseline, candidate = (quote(name) for name in names(one.baseline, one.candidate))
    metric = quote(one.metric_name)
    if one.call == "unsure":
        return _unsure(one, metric)
    if one.call == "same":
        return (
            f"No difference that matters in {metric} between {candidate} and {baseline}: "
            f"at most {figure(one.margin)} either way."
        )
    beyond = f" by more than {figure(one.margin)}" if one.margin else ""
    return f"{candidate} is {one.call.value} than {baseline} in {metric}{beyond}."


def _unsure(one: Comparison, metric: str) -> str:
    if not one.pairs:
        return f"Cannot tell yet: no input has {metric} on both sides."
    about = f"Cannot tell yet about {metric}"
    if one.inputs_needed:
        more = "more input" if one.inputs_needed == 1 else "more inputs"
        return f"{about}: about {one.inputs_needed:,} {more} would settle it."
    if one.difference is None or one.low is None:
        return f"{about}: {_inputs(one.pairs)} {'is' if one.pairs == 1 else 'are'} too few or too alike."
    if not one.difference and not one.margin:
        return (
            f"{about}: on average there is no difference at all. With a margin it could be called the same."
        )
    return f"{about}: the difference is so close to the margin that no number of inputs will settle it soon."


def _evidence(one: Comparison) -> str:
    if one.difference is None:
        return ""
    inputs = f"over {_inputs(one.pairs)}"
    record = f"{one.wins:,} won, {one.losses:,} lost, {one.ties:,} tied"
    if one.low is None or one.high is None:
        return f"The difference is {signed(one.difference)} {inputs}; {record}."
    between = f"95 % interval {signed(one.low)} to {signed(one.high)}"
    return f"The difference is {signed(one.difference)} ({between}) {inputs}; {record}."


def _inputs(number: int) -> str:
    return f"{number:,} shared {'input' if number == 1 else 'inputs'}"


def names(baseline: Side, candidate: Side) -> tuple[str, str]:
    """What the two are called: by variant, and by batch where the variant is the same."""
    if baseline.variant.name != candidate.variant.name:
        return baseline.variant.name, candidate.variant.name
    return _with_batch(baseline), _with_batch(candidate)


def _with_batch(side: Side) -> str:
    return f"{side.variant.name} ({side.batch})" if side.batch else side.variant.name


def figure(value: float) -> str:
    """Three digits that count, without an exponent."""
    if not value:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def signed(value: float) -> str:
    return f"+{figure(value)}" if value > 0 else figure(value)
