"""An Ollama that also judges: a chat with a schema gets a verdict, any other one is echoed.

The last word of the judged answer decides the verdict: `verdict-invalid` is no JSON, `verdict-once-invalid`
none at the first call, `verdict-off` a score off every scale, `verdict-503` a busy server (Retry-After 1) at
the first call, `verdict-dies` a connection that is cut in the middle at the first call, `verdict-400` a
request that is refused. Everything else is worth `score`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

from tests.fakes import ollama
from tests.fakes.server import Cut, Pause, Script, Seen

ANSWER = re.compile(r"^BEGIN ANSWER (\w+)$\n(.*)\n^END ANSWER \1$", re.DOTALL | re.MULTILINE)
REASONS = "It is as the rubric wants it."


class JudgingOllama(ollama.FakeOllama):
    """`judged` counts the calls for each judged answer, `asked` has the bodies of all judging calls."""

    def __init__(self, *, score: Any = 1, delay_s: float = 0.0) -> None:
        super().__init__()
        self.score = score
        self.delay_s = delay_s
        self.judged: Counter[str] = Counter()
        self.asked: list[dict[str, Any]] = []

    def default(self, seen: Seen) -> Script:
        if seen.path != "/api/chat" or not seen.body["messages"]:
            return super().default(seen)
        last = seen.body["messages"][-1]["content"]
        if not seen.body.get("format"):
            return ollama.answer(f"echo: {last}")
        found = ANSWER.search(last)
        assert found, last
        self.asked.append(seen.body)
        self.judged[found[2]] += 1
        script = self._verdict(found[2].split()[-1] if found[2].split() else "", self.judged[found[2]] == 1)
        return Script([Pause(self.delay_s), *script.steps], **_but_steps(script)) if self.delay_s else script

    def _verdict(self, order: str, first: bool) -> Script:
        busy = "server busy, please try again.  maximum pending requests exceeded"
        always = {
            "verdict-invalid": ollama.answer("I would say four out of five."),
            "verdict-off": self.says(99),
            "verdict-400": ollama.refusal(400, '"m" does not support chat'),
        }
        at_first = {
            "verdict-once-invalid": ollama.answer('{"reasons": "It ends in the mid'),
            "verdict-503": ollama.refusal(503, busy, headers={"Retry-After": "1"}),
            "verdict-dies": ollama.stream(ollama.piece('{"reasons": "It'), Cut()),
        }
        usual = self.says(self.score)
        return always.get(order) or (at_first.get(order, usual) if first else usual)

    def says(self, score: Any) -> Script:
        text = json.dumps({"reasons": REASONS, "score": score})
        return ollama.answer(text[:9], text[9:])


def _but_steps(script: Script) -> dict[str, Any]:
    return {"status": script.status, "headers": script.headers, "content_type": script.content_type}
