"""What was asked in one mode and how it was answered, and what went wrong."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from schemathesis.core.failures import Failure
from schemathesis.core.transport import Response
from schemathesis.engine.recorder import ScenarioRecorder

LONGEST_TOLD = 400  # characters of an answer


@dataclass
class Tally:
    answers: Counter[str] = field(default_factory=Counter)  # by class of status
    repeated: int = 0  # requests of checks, such as once more without a token; not among the answers
    reached: set[str] = field(default_factory=set)  # operations
    accepted: set[str] = field(default_factory=set)  # those that answered 2xx at least once
    breaks: dict[tuple[str, str], str] = field(default_factory=dict)  # the first of each kind

    @property
    def requests(self) -> int:
        return self.answers.total()

    def add(self, other: Tally) -> None:
        self.answers += other.answers
        self.repeated += other.repeated
        self.reached |= other.reached
        self.accepted |= other.accepted
        self.breaks = other.breaks | self.breaks

    def count(self, recorder: ScenarioRecorder) -> None:
        for case_id, interaction in recorder.interactions.items():
            node, answer = recorder.cases[case_id], interaction.response
            label = node.value.operation.label
            if node.parent_id is not None and node.transition is None:
                self.repeated += 1
            else:
                self._count_answer(label, answer)
            for check in recorder.checks.get(case_id, []):
                if check.failure_info is not None:
                    told = answer.text if answer is not None else ""
                    self.fail(label, check.failure_info.failure, check.failure_info.code_sample, told)

    def _count_answer(self, label: str, answer: Response | None) -> None:
        status = f"{answer.status_code // 100}xx" if answer is not None else "none"
        self.answers[status] += 1
        self.reached.add(label)
        if status == "2xx":
            self.accepted.add(label)

    def fail(self, label: str, failure: Failure, request: str, answer: str) -> None:
        how = f"{failure.title}: {failure.message}\n{request}\n{answer[:LONGEST_TOLD]}"
        self.breaks.setdefault((label, failure.title), how)

    def fail_by_error(self, label: str, error: Exception) -> None:
        """Where there was no answer, or no request."""
        self.breaks.setdefault((label, str(error).partition("\n")[0]), f"{error}\n{error!r}")

    def told(self) -> str:
        """Every break with a curl line that repeats it."""
        return "\n\n".join(f"--- {label}\n{text}" for (label, _), text in sorted(self.breaks.items()))

    def __str__(self) -> str:
        answers = ", ".join(f"{status} {n:,}" for status, n in sorted(self.answers.items()))
        return (
            f"{self.requests:>6,} requests  {answers:<32}  {len(self.reached):>3} operations reached, "
            f"{len(self.accepted):>3} with 2xx  {len(self.breaks)} breaks"
        )
