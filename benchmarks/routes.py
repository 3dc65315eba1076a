"""Every page and every list that is measured, by its path in the URL conf, and what is left out, and why.

`tests/test_sizes.py` holds that each path which answers GET is in exactly one of the two.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

API, APP = "api/v1/", "app/"
ORG = "orgs/<str:org_id>/"
ONE = f"{ORG}experiments/<str:experiment_id>"
BATCH = f"{ORG}experiments/batches/<str:batch_id>"
RUN = f"{ORG}experiments/runs/<str:run_id>"
PLAY = f"{ORG}playground/"

# With the queries that each is asked with; `{word}` stands for a row, as in `words_of`.
MEASURED: dict[str, tuple[str, ...]] = {
    f"{API}me": ("",),
    f"{API}orgs": ("",),
    f"{API}orgs/<str:org_id>": ("",),
    f"{API}{ORG}members": ("", "limit=200"),
    f"{API}{ORG}members/<str:member_id>": ("",),
    f"{API}{ORG}api-keys": ("",),
    f"{API}{ORG}invitations": ("",),
    f"{API}{ORG}usage": ("", "groupBy=model", "groupBy=user", "groupBy=experiment"),
    f"{API}{ORG}limits": ("",),
    f"{API}{ORG}audit": (
        "",
        "limit=200",
        "event=experiment.created",
        "event=experiment",
        "object={run}",
        "actor={owner}",
        "event=account.login",
        "from={old_day}&to={old_day}",
    ),
    f"{API}{ORG}chat-profiles": ("",),
    f"{API}{ORG}chat-profiles/<str:profile_id>": ("",),
    f"{API}{ORG}chat-profiles/<str:profile_id>/versions": ("",),
    f"{API}{ORG}providers": ("",),
    f"{API}{ORG}providers/<str:provider_id>": ("",),
    f"{API}{ORG}models": ("",),
    f"{API}{ORG}models/<str:model_id>": ("",),
    f"{API}{ORG}default-model": ("",),
    f"{API}{PLAY}sessions": ("",),
    f"{API}{ORG}metrics": ("",),
    f"{API}{ORG}metrics/<str:metric_id>": ("",),
    f"{API}{ORG}evaluator-kinds": ("",),
    f"{API}{ORG}experiments": ("", "nested=false", "nested=false&limit=200", "limit=10"),
    f"{API}{ONE}": ("", "nested=false"),
    f"{API}{ONE}/variants": ("",),
    f"{API}{ONE}/variants/<str:variant_id>": ("",),
    f"{API}{ONE}/inputs": ("", "limit=200"),
    f"{API}{ONE}/inputs/<str:input_id>": ("",),
    f"{API}{ONE}/batches": ("",),
    f"{API}{ONE}/runs": ("", "limit=200", "batchId={batch}", "variantId={variant}&state=failed"),
    f"{API}{ONE}/evaluators": ("",),
    f"{API}{ONE}/evaluators/<str:evaluator_id>": ("",),
    f"{API}{ONE}/results": ("", "batch={batch}"),
    f"{API}{ONE}/comparison": ("baseline={variant}&candidate={other_variant}&batch={batch}",),
    f"{API}{BATCH}": ("",),
    f"{API}{BATCH}/progress": ("",),
    f"{API}{RUN}": ("",),
    f"{API}{RUN}/scores": ("",),
    f"{API}{RUN}/scores/<str:score_id>": ("",),
    f"{APP}{ORG}menu": ("",),
    f"{APP}{ORG}experiments": ("",),
    f"{APP}{ONE}": (
        "",
        "view=list",
        "view=charts",
        "batch={batch}&view=grid&page=2",
        "batch={batch}&view=list&state=failed",
        "cell={run}",
    ),
    f"{APP}{ONE}/comparison": ("", "baseline={variant}&candidate={other_variant}&batch={batch}"),
    f"{APP}{ONE}/variants": ("",),
    f"{APP}{ONE}/inputs": ("",),
    f"{APP}{ONE}/evaluators": ("",),
    f"{APP}{ONE}/evaluators/new": ("",),
    f"{APP}{ONE}/evaluators/<str:evaluator_id>": ("",),
    f"{APP}{ONE}/evaluate": ("",),
    f"{APP}{ONE}/import": ("",),
    f"{APP}{ONE}/review": ("", "batch={batch}"),
    f"{APP}{BATCH}": ("",),
    f"{APP}{RUN}": ("",),
    f"{APP}{RUN}/diff": ("with={fellow_run}",),
    f"{APP}{ORG}metrics": ("",),
    f"{APP}{ORG}metrics/<str:metric_id>": ("",),
    f"{APP}{ORG}profiles": ("",),
    f"{APP}{ORG}profiles/<str:profile_id>": ("",),
    f"{APP}{ORG}models": ("",),
    f"{APP}{ORG}usage": ("", "by=model", "by=user", "by=experiment&days=365"),
    f"{APP}{ORG}api-keys": ("",),
    f"{APP}{ORG}members": ("",),
    f"{APP}{ORG}providers": ("",),
    f"{APP}{ORG}providers/health": ("",),
    f"{APP}{ORG}audit": ("", "event=experiment.created", "object={run}", "actor={owner}"),
    f"{APP}{ORG}playground": ("",),
    f"{APP}{PLAY}history": ("",),
}
FILE = "a file of all rows that were asked for: as long as they are many, sent while they are read"
NO_LIST = "one row with what belongs to it; the test data has none, and none of its size depends on cells"
LEFT_OUT: dict[str, str] = {
    f"{API}schema": "the same for everybody, made once a process",
    f"{API}docs": "a page that loads the schema",
    f"{APP}": "leads to the first org",
    f"{API}{ORG}audit/export": FILE,
    f"{APP}{ORG}audit/export": FILE,
    f"{API}{ONE}/export/<str:table>/<str:kind>": FILE,
    f"{APP}{ONE}/export/<str:table>/<str:kind>": FILE,
    f"{API}{BATCH}/events": "a stream that lasts as long as its batch",
    f"{API}{ORG}api-keys/<str:key_id>": NO_LIST,
    f"{API}{ORG}invitations/<str:invitation_id>": NO_LIST,
    f"{API}{PLAY}sessions/<str:session_id>": NO_LIST,
    f"{API}{PLAY}comparisons/<str:comparison_id>": NO_LIST,
    f"{APP}{PLAY}sessions/<str:session_id>": NO_LIST,
    f"{APP}{ORG}profiles/<str:profile_id>/versions/<str:version>": NO_LIST,
}


@dataclass(frozen=True, slots=True)
class Route:
    """One address that is asked for. `name` is what a table shows."""

    name: str
    url: str


def measured(words: Mapping[str, str]) -> Iterator[Route]:
    """All addresses of MEASURED, with these rows in the places of their words."""
    for path, queries in MEASURED.items():
        for query in queries:
            address = re.sub(r"<str:(\w+?)(?:_id)?>", r"{\1}", path) + (f"?{query}" if query else "")
            yield Route(address.replace("orgs/{org}/", ""), "/" + address.format_map(words))


def admin_lists() -> Iterator[Route]:
    """The lists of the admin: each as it opens, and searched; long ones also sorted, and a second page."""
    from django.contrib import admin
    from django.urls import reverse

    import evalsuite.urls  # noqa: F401 - registers them
    from evalsuite.admin_lists import LongList

    for model, page in admin.site._registry.items():
        meta = model._meta
        path = reverse(f"admin:{meta.app_label}_{meta.model_name}_changelist")
        queries = ["", "q=refund"] if page.search_fields else [""]
        queries += ["p=2", "o=3"] if isinstance(page, LongList) else []
        for query in queries:
            address = path + (f"?{query}" if query else "")
            yield Route(address, address)


def words_of(experiment: Any) -> dict[str, str]:
    """The rows that stand for words, around one experiment with at least one finished batch."""
    from experiments.models import EvalScore, ExperimentRun

    org = experiment.org
    batch = experiment.batches.first()
    variants = list(experiment.variants.order_by("id"))
    runs = ExperimentRun.objects.filter(batch=batch, state="succeeded")
    run, fellow = runs.filter(variant=variants[0])[0], runs.filter(variant=variants[1])[0]
    score = EvalScore.objects.filter(run=run)[0]
    owner = org.memberships.order_by("id").first()
    found = {
        "org": org,
        "member": owner,
        "owner": owner.user,
        "profile": org.chat_profiles.first(),
        "provider": org.providers.first(),
        "model": org.model_default.model,
        "metric": score.metric,
        "experiment": experiment,
        "variant": variants[0],
        "other_variant": variants[1],
        "input": run.input,
        "batch": batch,
        "run": run,
        "fellow_run": fellow,
        "score": score,
        "evaluator": experiment.evaluators.first(),
    }
    return {
        **{word: str(row.pk) for word, row in found.items()},
        "old_day": f"{experiment.created_at:%Y-%m-%d}",
    }
