"""Run an experiment over the API, wait for it and judge it: as `manage.py run_experiment`, from anywhere.

    EVALSUITE_KEY=evs_... python3 pipeline.py https://evalsuite.example ORG EXPERIMENT \\
      --baseline BATCH --fail-if "correctness < 0.8" --fail-if-worse correctness

The key is made on the page "API keys". ORG is an id or a slug, EXPERIMENT an id; docs/pipeline.md tells what
may be a baseline and what a condition may name. Nothing but the standard library is needed: copy this file
to where your pipeline runs.
Exit status: 0 all is fine, 1 a gate is broken, 2 trouble (cells failed, wrong usage, no answer, time over).
"""

from __future__ import annotations

import argparse
import http.client
import json
import math
import operator
import os
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any

FINE, QUALITY, TROUBLE = 0, 1, 2
LOOK_S = 1.0
PAUSES_S = (1, 2, 4, 8)  # before a request is sent again whose connection was lost, or that met a restart
PASSING = {502, 503, 504}
CONDITION = re.compile(r"\s*([^\s<>=!]+)\s*(<=|>=|<|>)\s*([^\s<>=]+)\s*")
OPERATORS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


class Trouble(Exception):
    """What keeps us from judging, in words."""


class Api:
    """The API of one experiment, opened by a key for programs."""

    def __init__(self, site: str, org: str, experiment: str) -> None:
        if not site.startswith(("http://", "https://")):
            raise Trouble(f"{site} must begin with http:// or https://")
        self.root = f"{site.rstrip('/')}/api/v1"
        self.key = os.environ.get("EVALSUITE_KEY", "")
        if not self.key:
            raise Trouble("The environment has no EVALSUITE_KEY.")
        found = [one["id"] for one in self.get("/orgs")["orgs"] if org in (one["id"], one["slug"])]
        if not found:
            raise Trouble(f"There is no organisation {org} that you are a member of.")
        self.path = f"/orgs/{found[0]}/experiments/{urllib.parse.quote(experiment, safe='')}"
        self.batches = f"/orgs/{found[0]}/experiments/batches"

    def get(self, path: str, **query: Any) -> Any:
        given = {name: value for name, value in query.items() if value not in (None, [])}
        return self._send("GET", f"{path}?{urllib.parse.urlencode(given, doseq=True)}", None, {})[0]

    def run(self, body: dict[str, Any]) -> str:
        """Start a batch; answers its id. The key keeps a request that is sent again from starting another."""
        headers = {"Prefer": "respond-async", "Idempotency-Key": str(uuid.uuid4())}
        _, answer = self._send("POST", f"{self.path}/run", body, headers)
        return str(answer["Location"].rstrip("/").rpartition("/")[2])

    def _send(self, method: str, path: str, body: Any, headers: dict[str, str]) -> Any:
        """Every request may be sent again: only `run` writes, and has a key."""
        for pause in PAUSES_S:
            try:
                return self._send_once(method, path, body, headers)
            except urllib.error.HTTPError as error:
                if error.code not in PASSING:
                    raise
                why = f"status {error.code}"
            except (OSError, http.client.HTTPException) as error:
                why = str(error) or type(error).__name__
            print(f"No answer ({why}); again in {pause} s", file=sys.stderr)
            time.sleep(pause)
        return self._send_once(method, path, body, headers)

    def _send_once(self, method: str, path: str, body: Any, headers: dict[str, str]) -> Any:
        headers = {**headers, "Content-Type": "application/json", "Authorization": f"Bearer {self.key}"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.root + path, data, headers, method=method)  # noqa: S310 - see __init__
        with urllib.request.urlopen(request, timeout=120) as answer:  # nosec B310  # noqa: S310
            return json.load(answer), answer.headers


def main() -> int:
    given = arguments()
    try:
        conditions = [parsed(text) for text in given.fail_if]
        api = Api(given.site, given.org, given.experiment)
        baseline = find_baseline(api, given.baseline, needed=bool(given.fail_if_worse))
        batch = wait(api, api.run({"variantIds": given.variant}), given.timeout)
        return judge(api, batch, conditions, baseline, given)
    except Trouble as trouble:
        print(trouble, file=sys.stderr)
    except urllib.error.HTTPError as error:
        print(f"{error.url}: {error.code} {error.read().decode(errors='replace')}", file=sys.stderr)
    except (OSError, http.client.HTTPException, ValueError) as error:
        print(f"No answer that can be read: {error}", file=sys.stderr)
    return TROUBLE


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("site")
    parser.add_argument("org")
    parser.add_argument("experiment")
    parser.add_argument("--variant", metavar="ID", nargs="+", help="only these")
    parser.add_argument(
        "--baseline", metavar="BATCH|VARIANT", help="the id of an earlier batch or of a variant"
    )
    parser.add_argument("--fail-if", metavar='"METRIC < NUMBER"', action="append", default=[])
    parser.add_argument("--fail-if-worse", metavar="METRIC", action="append", default=[])
    parser.add_argument("--margin", metavar="NUMBER", type=margin, default=0.0)
    parser.add_argument("--timeout", metavar="SECONDS", type=float, default=math.inf)
    return parser.parse_args()


def margin(text: str) -> float:
    number = float(text)
    if not 0 <= number < math.inf:
        raise ValueError
    return number


def parsed(text: str) -> tuple[str, str, float]:
    found = CONDITION.fullmatch(text)
    try:
        limit = float(found[3]) if found else math.nan
    except ValueError:
        limit = math.nan
    if not found or not math.isfinite(limit):
        raise Trouble(f'--fail-if: "{text}" must be such as "correctness < 0.8"')
    return found[1], found[2], limit


def find_baseline(api: Api, wanted: str | None, *, needed: bool) -> dict[str, str]:
    """`{"batch": id}`, `{"variant": id}`, or nothing."""
    if wanted is None:
        kept = api.get(api.path, nested="false")["experiment"]["baselineBatchId"]
        if needed and not kept:
            raise Trouble("--fail-if-worse needs a --baseline, or one that the experiment keeps.")
        return {"batch": kept} if kept else {}
    variants = api.get(api.path)["experiment"]["variants"]
    if wanted in [one["id"] for one in variants]:
        return {"variant": wanted}
    return {"batch": api.get(f"{api.batches}/{urllib.parse.quote(wanted, safe='')}")["batch"]["id"]}


def wait(api: Api, batch_id: str, timeout_s: float) -> dict[str, Any]:
    """Until the cells are closed and the evaluators have seen them."""
    deadline = time.monotonic() + timeout_s
    while True:
        batch: dict[str, Any] = api.get(f"{api.batches}/{batch_id}")["batch"]
        counts, pending = batch["counts"], batch["evaluations"]["pending"]
        closed = batch["total"] - counts["queued"] - counts["running"]
        print(f"{closed}/{batch['total']} cells, {pending} evaluations to go", file=sys.stderr)
        if batch["finishedAt"] and not pending:
            return batch
        if batch["pausedReason"] in {"person", "budget"}:
            raise Trouble(f"The batch {batch_id} is paused: {batch['pausedNote']}")
        if time.monotonic() >= deadline:
            raise Trouble(f"The time is over; the batch {batch_id} goes on.")
        time.sleep(LOOK_S)


def judge(api: Api, batch: dict[str, Any], conditions: Any, baseline: dict[str, str], given: Any) -> int:
    counts = batch["counts"]
    results = ran(api, batch["id"])
    candidates = [one for one in results if one["variantId"] != baseline.get("variant")]
    held = [*judge_figures(candidates, conditions)]
    if baseline:
        held += judge_against(api, batch["id"], candidates, baseline, given)
    if counts["failed"] or counts["cancelled"]:
        raise Trouble(f"{counts['failed']} cells failed, {counts['cancelled']} were cancelled.")
    if None in held:
        raise Trouble("A gate has nothing to judge by.")
    return FINE if all(held) else QUALITY


def ran(api: Api, batch_id: str) -> list[dict[str, Any]]:
    """Results of the variants that are in the batch."""
    variants = api.get(f"{api.path}/results", batch=batch_id)["variants"]
    return [one for one in variants if one["cells"]["total"]]


def judge_figures(candidates: Any, conditions: Any) -> Iterator[bool | None]:
    for variant in candidates:
        for figure, compared, limit in conditions:
            value = figures(variant).get(figure)
            held = None if value is None else not OPERATORS[compared](value, limit)
            print(f"{variant['name']}: {figure} is {value}; fail if {compared} {limit:g}: {told(held)}")
            yield held


def figures(variant: dict[str, Any]) -> dict[str, float | None]:
    latency = variant["latency"]
    own = {"thumbs": variant["thumbs"]["rate"], "tokens": variant["tokens"]["outputMean"]}
    times = {"latency": latency["meanMs"], "latency.p50": latency["p50Ms"], "latency.p95": latency["p95Ms"]}
    return {**own, **times, **{metric["metricKey"]: metric["mean"] for metric in variant["metrics"]}}


def judge_against(
    api: Api, batch_id: str, candidates: Any, baseline: dict[str, str], given: Any
) -> Iterator[bool | None]:
    """Worse is what interval and test call worse. A variant that the baseline has not is told, and passes."""
    theirs = [one["variantId"] for one in ran(api, baseline["batch"])] if "batch" in baseline else []
    for variant in candidates:
        other = counterpart(variant["variantId"], theirs, baseline)
        if other is None:
            print(f"{variant['name']} has no counterpart in the baseline.")
            continue
        answer = api.get(
            f"{api.path}/comparison",
            baseline=other,
            candidate=variant["variantId"],
            baselineBatch=baseline.get("batch", batch_id),
            candidateBatch=batch_id,
            metric=given.fail_if_worse,
            margin=given.margin,
        )
        for one in answer["comparisons"]:
            print(one["words"])
            if one["metricKey"] in given.fail_if_worse:
                yield one["call"] != "worse" if one["pairs"] else None


def counterpart(variant_id: str, theirs: list[str], baseline: dict[str, str]) -> str | None:
    if "variant" in baseline:
        return baseline["variant"]
    if variant_id in theirs:
        return variant_id
    return theirs[0] if len(theirs) == 1 else None


def told(held: bool | None) -> str:
    return "nothing to judge by" if held is None else "ok" if held else "BROKEN"


if __name__ == "__main__":
    sys.exit(main())
