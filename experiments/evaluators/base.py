"""What every evaluator looks like."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import jsonschema

from evalsuite.errors import InvalidBody
from evalsuite.parsers import require_storable
from llm_routing.types import Message

LONGEST_REASON = 200  # characters; the reason may quote the whole setting


@dataclass(frozen=True, slots=True)
class Sample:
    """What an evaluator may look at: the answer, the input as it was when the batch was planned, the call.

    Times are milliseconds. None always means "not told" (no reference answer, no such figure), never zero.
    """

    output: str
    content: str = ""  # of the input
    expected: str | None = None  # the input's reference answer
    metadata: Mapping[str, Any] = field(default_factory=dict)  # of the input
    messages: Sequence[Message] = ()  # as they were sent
    latency_ms: float | None = None  # the whole call; None for a cached answer, which was no call
    first_token_ms: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    stop_reason: str | None = None  # "stop", "length" or what else the provider said
    cold_start: bool = False  # the call waited for the weights: its times compare with nothing


@dataclass(frozen=True, slots=True)
class Verdict:
    """A value for the metric, or None with the reason why there is none. Missing is never 0."""

    value: float | None
    note: str = ""

    @classmethod
    def passed(cls, holds: bool, note: str = "") -> Verdict:
        """1 or 0; the note is for 0 only."""
        return cls(1.0) if holds else cls(0.0, note)


class Evaluator(ABC):
    """Scores one answer. Built from a validated configuration; holds no state between samples.

    `config` has every setting that the schema has a default for.
    """

    kind: ClassVar[str]
    title: ClassVar[str]
    description: ClassVar[str]  # one or two sentences, for people who choose
    # JSON schema of the configuration. Each property has a title, and a description where that is not enough:
    # forms are made of it.
    config_schema: ClassVar[Mapping[str, Any]]
    # True: it calls a model, so it does not run beside the cell but in a task of its own.
    needs_call: ClassVar[bool] = False

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config: Mapping[str, Any] = {**self.defaults(), **config}

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """The settings that have a default, with it."""
        properties = cls.config_schema["properties"]
        return {name: rule["default"] for name, rule in properties.items() if "default" in rule}

    @classmethod
    def validate(cls, config: Mapping[str, Any]) -> None:
        """Raises InvalidBody naming the setting, as `config.mode`, and the reason."""
        require_storable({"config": dict(config)})
        validator = jsonschema.Draft202012Validator(dict(cls.config_schema))
        problems: dict[str, list[str]] = {}
        for error in validator.iter_errors(dict(config)):
            for name, reason in _problems(error):
                problems.setdefault(name, []).append(reason)
        problems = problems or {f"config.{name}": why for name, why in cls.check(config).items()}
        if problems:
            raise InvalidBody(problems)

    @classmethod
    def check(cls, config: Mapping[str, Any]) -> dict[str, list[str]]:
        """What the schema cannot say: reasons against settings that it accepts, by setting."""
        return {}

    @abstractmethod
    def evaluate(self, sample: Sample) -> Verdict:
        """The verdict on one answer."""


def _problems(error: Any) -> Iterator[tuple[str, str]]:
    """By dotted name of the setting, why it is refused."""
    path = ".".join(["config", *map(str, error.absolute_path)])
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        unknown = error.instance.keys() - error.schema.get("properties", {}).keys()
        yield from ((f"{path}.{name}", "There is no such setting.") for name in sorted(unknown))
    elif error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        yield from ((f"{path}.{name}", "This is required.") for name in missing)
    else:
        yield path, error.message[:LONGEST_REASON]
