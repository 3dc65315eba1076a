"""What each changing route makes: the one table that a new route must find its place in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rest_framework_simplejwt.tokens import RefreshToken

from evalsuite.orgs.invitations import invite
from tests import factories
from tests.audit.events import forget_events
from tests.audit.world import open_batch

Body = dict[str, Any] | Callable[[Any], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Makes:
    """`events` of a call with `body`; with none of them the route changes nothing at all.

    `bad`: what it refuses; None: ids that are not there. `before`: prepares, and answers other ids for the
    address. `also`: tables that may change without the event, since they tell of something else.
    """

    events: tuple[str, ...] = ()
    body: Body = field(default_factory=dict)
    bad: dict[str, Any] | None = None
    before: Callable[[Any], dict[str, Any] | None] = lambda world: None
    headers: dict[str, str] = field(default_factory=dict)
    refused: tuple[str, ...] = ()  # events that a refused call makes all the same
    streams: bool = False
    seen_by_its_event_alone: bool = False  # what it changes is in no table that is compared
    also: frozenset[str] = frozenset()
    of_other_org: bool = False  # its event belongs to `world.other_org`, which no part of the path names


def makes(*events: str, **how: Any) -> Makes:
    return Makes(events, **how)


NOTHING = makes()
CALLED = frozenset({"playground.comparison", "playground.playgroundsession", "playground.playgroundmessage"})
MODEL = {"modelProvider": "own", "modelName": "tiny:1b"}


def refresh(world) -> dict[str, str]:
    return {"refresh": str(RefreshToken.for_user(world.alice))}


def new_password(world) -> dict[str, str]:
    return {
        "old_password": factories.PASSWORD,
        "new_password1": "another-good-horse-9",
        "new_password2": "another-good-horse-9",
    }


def file_to_import(world) -> dict[str, Any]:
    return {"text": "key,content\nk1,c1\n", "import": "1"}


def answered(world) -> None:
    """A question that is being answered holds up the next one."""
    world.session.messages.filter(content="more").delete()


def a_second_endpoint(world) -> dict[str, Any]:
    made, _ = world.model.provider.endpoints.get_or_create(base_url="http://127.0.0.1:7")
    return {"endpoint_id": made.pk}


def a_link(world) -> dict[str, Any]:
    """Into another org: alice is a member of this one."""
    if not hasattr(world, "link"):
        chris = factories.make_user("chris", org=factories.make_org("Another"), role="owner")
        world.other_org = chris.memberships.get().org
        _, world.link = invite(org=world.other_org, actor=chris, role="rater")
        forget_events()
    return {"token": world.link}


CREDENTIALS = {"username": "alice", "password": factories.PASSWORD}
WRONG = {"username": "alice", "password": "wrong"}
LOG_IN = makes(
    "account.login",
    body=CREDENTIALS,
    bad=WRONG,
    refused=("account.login.failed",),
    seen_by_its_event_alone=True,
)
PASSWORD = makes(
    "account.password.changed",
    body=new_password,
    bad={"old_password": "wrong"},
    refused=("account.password.refused",),
)
STYLE = {"key": "tone", "name": "Tone", "direction": "higher"}
EVALUATOR = {"kind": "exact_match", "metricKey": "correctness", "name": "F"}
PROFILE = {"name": "P", "temperature": "0.5", "top_p": "1"}

JOINED = "org.member.joined"
# (method, path as the URL conf has it) -> what it makes
ROUTES: dict[tuple[str, str], Makes] = {
    # Accounts
    ("POST", "login"): LOG_IN,
    ("PUT", "login"): NOTHING,  # Django reads no form from a PUT: the page is shown again
    ("POST", "logout"): makes("account.logout", seen_by_its_event_alone=True),
    ("POST", "join/<str:token>"): makes(JOINED, before=a_link, of_other_org=True),
    ("POST", "api/v1/invitations/accept"): makes(
        JOINED, before=a_link, body=lambda world: {"token": world.link}, bad={"token": "x"}, of_other_org=True
    ),
    ("POST", "account/password"): PASSWORD,
    ("PUT", "account/password"): NOTHING,
    **{  # redirects
        (method, path): NOTHING
        for method in ("POST", "PUT", "PATCH", "DELETE")
        for path in ("", "admin/password_change/")
    },
    ("POST", "api/v1/auth/token"): LOG_IN,
    ("POST", "api/v1/auth/token/refresh"): makes(
        "account.token.refreshed", body=refresh, bad={"refresh": "x"}
    ),
    ("POST", "api/v1/auth/logout"): makes("account.logout", body=refresh, bad={"refresh": "x"}),
}


def api(method: str, path: str, *events: str, **how: Any) -> None:
    ROUTES[method, f"api/v1/orgs/<str:org_id>{path}"] = Makes(events, **how)


def page(path: str, *events: str, **how: Any) -> None:
    ROUTES["POST", f"app/orgs/<str:org_id>/{path}"] = Makes(events, **how)


MEMBER = "/members/<str:member_id>"
api("PATCH", "", "org.updated", body={"name": "Another"}, bad={"name": ""})
api("POST", "/members", "org.member.added", body={"username": "newcomer", "role": "rater"}, bad={"role": "x"})
api("PATCH", MEMBER, "org.member.changed", body={"role": "editor"}, bad={"role": "x"})
api("DELETE", MEMBER, "org.member.removed")

INVITATION = "/invitations/<str:invitation_id>"
api("POST", "/invitations", "org.member.invited", body={"role": "rater"}, bad={"role": "x"})
api("DELETE", INVITATION, "org.invitation.revoked")

NEW_KEY = {"name": "ci", "permissions": ["org:experiments:read"], "expiresInDays": 7}
NEW_KEY_FORM = {"name": "ci", "permissions": ["org:experiments:read"], "days": "7"}
api("POST", "/api-keys", "apikey.created", body=NEW_KEY, bad={**NEW_KEY, "permissions": []})
api("DELETE", "/api-keys/<str:key_id>", "apikey.revoked")

PROFILES, OF_PROFILE = "/chat-profiles", "/chat-profiles/<str:profile_id>"
api("POST", PROFILES, "chat_profile.created", body={"name": "New", **MODEL}, bad={"name": ""})
api("PATCH", OF_PROFILE, "chat_profile.updated", body={"temperature": 0.1}, bad={"temperature": 9})
api("DELETE", OF_PROFILE, "chat_profile.deleted")
api("POST", f"{OF_PROFILE}/versions/<str:version>/restore", "chat_profile.restored")

OF_PROVIDER = "/providers/<str:provider_id>"
NEW_PROVIDER = {
    "slug": "gpu",
    "name": "GPU",
    "kind": "ollama",
    "endpoints": [{"baseUrl": "http://127.0.0.1:9"}],
}
api("POST", "/providers", "provider.created", body=NEW_PROVIDER, bad={**NEW_PROVIDER, "kind": "x"})
api("PATCH", OF_PROVIDER, "provider.updated", body={"name": "N"}, bad={"connectTimeout": -1})
api("DELETE", OF_PROVIDER, "provider.deleted")
api("POST", f"{OF_PROVIDER}/sync", "provider.synced")
api("POST", f"{OF_PROVIDER}/test")
api(
    "POST",
    f"{OF_PROVIDER}/pull",
    "model.pull.started",
    "model.pull.ended",
    body={"modelName": "llama3.2:1b"},
    bad={"modelName": "?"},
    streams=True,
)
OF_MODEL = "/models/<str:model_id>"
api("PATCH", OF_MODEL, "model.updated", body={"numCtx": 1024}, bad={"numCtx": 9_999_999})
api("DELETE", OF_MODEL, "model.deleted")
api("PUT", "/default-model", "org.default_model.changed", body=MODEL, bad={"modelName": "none"})

PLAY, ASK = "/playground", {"prompt": "hi", **MODEL}
COMPARE = {"prompt": "hi", "columns": [MODEL]}
DONE = "playground.completion"
api("POST", f"{PLAY}/complete", DONE, body=ASK, bad={"prompt": ""}, also=CALLED)
api("POST", f"{PLAY}/stream", DONE, body=ASK, bad={"prompt": ""}, streams=True, also=CALLED)
api("POST", f"{PLAY}/compare/stream", DONE, body=COMPARE, bad={"columns": []}, streams=True, also=CALLED)
MORE = f"{PLAY}/sessions/<str:session_id>/messages"
api("POST", MORE, DONE, body={"prompt": "more"}, bad={}, also=CALLED, before=answered)
api("DELETE", f"{PLAY}/sessions/<str:session_id>", "playground.session.deleted")
api("DELETE", f"{PLAY}/comparisons/<str:comparison_id>", "playground.comparison.deleted")
api(
    "POST", f"{PLAY}/comparisons/<str:comparison_id>/stop", "playground.comparison.stopped", bad={"column": 9}
)

OF_METRIC = "/metrics/<str:metric_id>"
api("POST", "/metrics", "experiment.metric.created", body={"key": "tone"}, bad={"key": ""})
api("PATCH", OF_METRIC, "experiment.metric.updated", body={"maximum": 5}, bad={"step": -1})
api("DELETE", OF_METRIC, "experiment.metric.deleted")

EXPERIMENTS, ONE = "/experiments", "/experiments/<str:experiment_id>"
api("POST", EXPERIMENTS, "experiment.created", body={"name": "N"}, bad={"name": ""})
api("PATCH", ONE, "experiment.updated", body={"description": "D"}, bad={"name": ""})
api("DELETE", ONE, "experiment.deleted")
api("POST", f"{ONE}/variants", "experiment.variant.created", body={"name": "V"}, bad={"name": ""})
api(
    "PATCH",
    f"{ONE}/variants/<str:variant_id>",
    "experiment.variant.updated",
    body={"name": "V"},
    bad={"name": ""},
)
api("DELETE", f"{ONE}/variants/<str:variant_id>", "experiment.variant.deleted")
INPUTS = {"inputs": [{"key": "k", "content": "c"}, {"key": "l", "content": "d"}]}
api("POST", f"{ONE}/inputs", "experiment.inputs.created", body=INPUTS, bad={"inputs": [{"key": "k"}]})
api(
    "PATCH",
    f"{ONE}/inputs/<str:input_id>",
    "experiment.input.updated",
    body={"content": "x"},
    bad={"key": ""},
)
api("DELETE", f"{ONE}/inputs/<str:input_id>", "experiment.input.deleted")
OF_EVALUATOR = f"{ONE}/evaluators/<str:evaluator_id>"
api("POST", f"{ONE}/evaluators", "experiment.evaluator.created", body=EVALUATOR, bad={"kind": "x"})
api("PATCH", OF_EVALUATOR, "experiment.evaluator.updated", body={"enabled": False}, bad={"name": ""})
api("DELETE", OF_EVALUATOR, "experiment.evaluator.deleted")
AGAIN = "experiment.evaluation.started"
api("POST", f"{ONE}/evaluate", AGAIN, bad={"evaluatorIds": []})
api("POST", "/experiments/batches/<str:batch_id>/evaluate", AGAIN, bad={"evaluatorIds": []})

HURRY = {"Prefer": "respond-async"}
api("POST", f"{ONE}/run", "experiment.run.started", headers=HURRY, bad={"repeats": 0})
api("POST", f"{ONE}/run/plan", bad={"repeats": 0})
BATCH = "/experiments/batches/<str:batch_id>"


def paused(world):
    return open_batch(world, state="paused")


def failed(world):
    return open_batch(world, cell="failed")


api("POST", f"{BATCH}/cancel", "experiment.batch.cancelled", before=open_batch)
api("POST", f"{BATCH}/pause", "experiment.batch.paused", before=open_batch)
api("POST", f"{BATCH}/resume", "experiment.batch.resumed", before=paused, bad={"tokenBudget": 0})
api("POST", f"{BATCH}/retry", "experiment.batch.retried", before=failed)

RUN = "/experiments/runs/<str:run_id>"
RATED, SCORED = "experiment.feedback.updated", "experiment.score.created"
api("DELETE", RUN, "experiment.run.deleted")
api("POST", f"{RUN}/feedback", RATED, body={"thumbsUp": False}, bad={"thumbsUp": "x"})
NEW_SCORE = {"metricKey": "brevity", "value": 2}
api("POST", f"{RUN}/scores", "experiment.metric.created", SCORED, body=NEW_SCORE, bad={"value": 2})
api(
    "PATCH", f"{RUN}/scores/<str:score_id>", "experiment.score.updated", body={"value": 0}, bad={"value": "x"}
)
api("DELETE", f"{RUN}/scores/<str:score_id>", "experiment.score.deleted")

page("playground/sessions/<str:session_id>/delete", "playground.session.deleted")
page("members/<str:member_id>/role", "org.member.changed", body={"role": "editor"}, bad={"role": "x"})
page("members/<str:member_id>/remove", "org.member.removed")
page("invitations", "org.member.invited", body={"role": "rater", "days": "7"}, bad={"role": "x"})
page(f"{INVITATION[1:]}/revoke", "org.invitation.revoked")
page("api-keys", "apikey.created", body=NEW_KEY_FORM, bad={**NEW_KEY_FORM, "name": ""})
page("api-keys/<str:key_id>/revoke", "apikey.revoked")
page("metrics", "experiment.metric.created", body=STYLE, bad={"key": ""})
page("metrics/<str:metric_id>", "experiment.metric.updated", body=STYLE, bad={"step": "x"})
page("metrics/<str:metric_id>/delete", "experiment.metric.deleted")
page("experiments/new", "experiment.created", body={"name": "N"}, bad={"name": ""})

P_BATCH, P_RUN, P_ONE = BATCH[1:], RUN[1:], ONE[1:]
page(f"{P_BATCH}/cancel", "experiment.batch.cancelled", before=open_batch)
page(f"{P_BATCH}/pause", "experiment.batch.paused", before=open_batch)
page(f"{P_BATCH}/resume", "experiment.batch.resumed", before=paused, bad={"token_budget": "x"})
page(f"{P_BATCH}/retry", "experiment.batch.retried", before=failed)
page(f"{P_RUN}/rate", RATED, body={"thumb": "up"}, bad={"thumb": "x"})
page(f"{P_RUN}/note", RATED, body={"note": "n"})
page(
    f"{P_RUN}/score", SCORED, body=lambda world: {"metric": world.metric_id, "value": "1"}, bad={"value": "x"}
)
page(f"{P_RUN}/scores/<str:score_id>/remove", "experiment.score.deleted")
page(
    f"{P_ONE}/baseline",
    "experiment.updated",
    body=lambda world: {"batch": world.batch_id},
    bad={"batch": "x"},
)
page(f"{P_ONE}/delete", "experiment.deleted")
page(f"{P_ONE}/variants", "experiment.variant.created", body={"name": "V"}, bad={"name": ""})
page(f"{P_ONE}/inputs", "experiment.inputs.created", body={"lines": "a\nb"}, bad={"lines": ""})
page(f"{P_ONE}/evaluators", "experiment.evaluator.created", body=EVALUATOR, bad={"kind": "x"})
P_EVALUATOR = OF_EVALUATOR[1:]
page(P_EVALUATOR, "experiment.evaluator.updated", body=EVALUATOR, bad={"metricKey": ""})
page(f"{P_EVALUATOR}/switch", "experiment.evaluator.updated")
page(f"{P_EVALUATOR}/delete", "experiment.evaluator.deleted")
page(f"{P_ONE}/evaluate", AGAIN, body=lambda world: {"evaluator": world.evaluator_id}, bad={})
page(f"{P_ONE}/import", "experiment.inputs.created", body=file_to_import, bad={"text": "key,content\n,\n"})
page(f"{P_ONE}/review/<str:run_id>", RATED, body={"thumb": "up"}, bad={"thumb": "x"})
page(f"{P_ONE}/run", "experiment.run.started", bad={"repeats": "0"})
page(f"{P_ONE}/plan", bad={"repeats": "0"})
page("profiles/new", "chat_profile.created", body=lambda world: {**PROFILE, "model": world.model_id}, bad={})
page("profiles/<str:profile_id>/save", "chat_profile.updated", body=PROFILE, bad={"name": ""})
page("profiles/<str:profile_id>/delete", "chat_profile.deleted")
page("profiles/<str:profile_id>/versions/<str:version>/restore", "chat_profile.restored")
page("models/default", "org.default_model.changed", body=lambda world: {"model": world.model_id}, bad={})
page("models/providers/<str:provider_id>/sync", "provider.synced")
page("models/providers/<str:provider_id>/test")
PLACE = {"base_url": "http://127.0.0.1:8", "slots": "2", "weight": "1"}
WAITS = {f"{name}_timeout": "9" for name in ("connect", "first_token", "idle", "total")}
P_PROVIDER = OF_PROVIDER[1:]
P_ENDPOINT = f"{P_PROVIDER}/endpoints/<str:endpoint_id>"
NEW_SERVER = {"name": "GPU", "slug": "gpu", "kind": "ollama", **PLACE}
page("providers", "provider.created", body=NEW_SERVER, bad={**NEW_SERVER, "base_url": "ftp://x"})
page(f"{P_PROVIDER}/save", "provider.updated", body={"name": "N", **WAITS}, bad={"name": ""})
page(f"{P_PROVIDER}/delete", "provider.deleted")
page(f"{P_PROVIDER}/endpoints", "provider.updated", body=PLACE, bad={**PLACE, "slots": "0"})
page(f"{P_ENDPOINT}/save", "provider.updated", body=PLACE, bad={**PLACE, "weight": "x"})
page(f"{P_ENDPOINT}/delete", "provider.updated", before=a_second_endpoint)
page("models/<str:model_id>/context", "model.updated", body={"num_ctx": "1024"}, bad={"num_ctx": "1"})
