"""What every evaluator looks like."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jsonschema

from evalsuite.errors import InvalidBody


@dataclass(frozen=True, slots=True)
class Sample:
    """What an evaluator may look at. `expected` is None where the input has no reference answer."""

    output: str
    content: str
    expected: str | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """A value for the metric, or None with the reason why there is none. Missing is never 0."""

    value: float | None
    note: str = ""


class Evaluator(ABC):
    """Scores one answer. Built from a validated configuration; holds no state between samples."""

    kind: ClassVar[str]
    title: ClassVar[str]
    config_schema: ClassVar[Mapping[str, Any]]  # JSON schema of the configuration

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config

    @classmethod
    def validate(cls, config: Mapping[str, Any]) -> None:
        """Raises InvalidBody naming the setting and the reason."""
        validator = jsonschema.Draft202012Validator(dict(cls.config_schema))
        problems: dict[str, list[str]] = {}
        for problem in validator.iter_errors(dict(config)):
            name = ".".join(["config", *map(str, problem.absolute_path)])
            problems.setdefault(name, []).append(problem.message)
        if problems:
            raise InvalidBody(problems)

    @abstractmethod
    def evaluate(self, sample: Sample) -> Verdict:
        """The verdict on one answer."""
