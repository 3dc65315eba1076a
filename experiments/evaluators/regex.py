from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import re2

from experiments.evaluators.base import LONGEST_REASON, Evaluator, Sample, Verdict

LONGEST_PATTERN = 1_000  # characters
LARGEST_PROGRAM = 10_000  # instructions; a Unicode class such as \p{L} has a thousand
FIRST_MEMORY = 512 << 10  # bytes; what does not fit into it is too large, and not compiled to its end
MEMORY = 8 << 20  # bytes, of the compiled expression and its automaton
LONGEST_ANSWER = 1_000_000  # characters
PIECE = 400_000  # instructions x bytes that take at most some ten milliseconds, at worst
BUDGET_S = 0.025  # of this thread's processor time. [an ordinary expression needs 0.002 for 1 MB]


class TooHeavy(Exception):
    """The expression takes too long on this text."""


class RegularExpression(Evaluator):
    """1 where the expression is found in the answer (or fits all of it), else 0.

    RE2 takes time in proportion to the answer, but for a few expressions that proportion is large. An
    answer is tried in pieces first: where they take too long there is no score. What becomes costly only
    behind a certain beginning is not noticed by that.
    """

    kind = "regex"
    title = "Regular expression"
    description = "1 where a regular expression (RE2 syntax) fits the answer, else 0."
    config_schema = {
        "type": "object",
        "properties": {
            "pattern": {
                "type": "string",
                "minLength": 1,
                "maxLength": LONGEST_PATTERN,
                "title": "Expression",
                "description": "RE2 syntax: no backreferences, no look-around.",
            },
            "match": {
                "enum": ["search", "full"],
                "default": "search",
                "title": "Where",
                "description": "search: anywhere in the answer; full: the whole answer.",
            },
            "negate": {
                "type": "boolean",
                "default": False,
                "title": "Must not match",
                "description": "1 where the expression does not fit.",
            },
            "ignoreCase": {"type": "boolean", "default": False, "title": "Ignore case"},
            "multiline": {
                "type": "boolean",
                "default": False,
                "title": "Lines",
                "description": "^ and $ fit at the beginning and the end of each line.",
            },
            "dotAll": {
                "type": "boolean",
                "default": False,
                "title": "Dot fits line ends",
            },
        },
        "required": ["pattern"],
        "additionalProperties": False,
    }

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        self._expression = _expression(self.config)

    @classmethod
    def check(cls, config: Mapping[str, Any]) -> dict[str, list[str]]:
        try:
            _expression({**cls.defaults(), **config})
        except ValueError as error:
            return {"pattern": [str(error)]}
        return {}

    def evaluate(self, sample: Sample) -> Verdict:
        if len(sample.output) > LONGEST_ANSWER:
            return Verdict(None, f"The answer is longer than {LONGEST_ANSWER:,} characters.")
        try:
            fits = fits_whole(self._expression, sample.output.encode())
        except TooHeavy:
            return Verdict(
                None, f"The expression takes too long on an answer of {len(sample.output):,} characters."
            )
        if self.config["negate"]:
            return Verdict.passed(not fits, "The expression fits.")
        return Verdict.passed(fits, "The expression does not fit.")


def _expression(config: Mapping[str, Any]) -> Any:
    flags = "".join(
        flag for flag, name in (("i", "ignoreCase"), ("m", "multiline"), ("s", "dotAll")) if config[name]
    )
    return compiled(config["pattern"], flags=flags, anywhere=config["match"] == "search")


@lru_cache(maxsize=64)
def compiled(pattern: str, *, flags: str = "", anywhere: bool = True) -> Any:
    """An expression that fits a whole text. Raises ValueError with the reason against a pattern.

    `anywhere` lets other text stand around it. Asked this way RE2 goes through a text once and forward;
    to find where a match begins it would also have to go backward.
    """
    try:
        _compile(pattern, FIRST_MEMORY)  # by itself: what ends another's bracket is none
        inner = f"(?{flags}:{pattern})"
        whole = _compile(f"(?s:.*?){inner}(?s:.*)" if anywhere else inner, MEMORY)
    except re2.error as error:
        raise ValueError(_reason(error)) from error
    if whole.programsize > LARGEST_PROGRAM:
        raise ValueError(
            f"This expression is too large: {whole.programsize:,} steps, and {LARGEST_PROGRAM:,} are allowed."
        )
    return whole


def _compile(pattern: str, memory: int) -> Any:
    options = re2.Options()
    options.max_mem = memory
    options.never_capture = True
    options.log_errors = False
    # Not re2.compile: it keeps what it has compiled, whoever sent it.
    return re2._Regexp(pattern.encode(), options)


def _reason(error: re2.error) -> str:
    reason = error.args[0] if error.args else ""
    words = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
    return f"This is no regular expression: {words}"[:LONGEST_REASON]


def fits_whole(expression: Any, text: bytes) -> bool:
    """Raises TooHeavy where the pieces of the text take longer than they may."""
    size = max(256, PIECE // expression.programsize)
    if len(text) > size:
        begun = time.thread_time()
        for piece in _pieces(text, size):
            expression.fullmatch(piece)
            if time.thread_time() - begun > BUDGET_S:
                raise TooHeavy
    return expression.fullmatch(text) is not None


def _pieces(text: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(text), size):
        yield text[start : start + size]
