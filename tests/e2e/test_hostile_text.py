"""A hundred hostile texts in everything that people, files and models write, on every page that shows it."""

from __future__ import annotations

import pytest

from evalsuite.orgs import api_keys
from evalsuite.orgs.models import User
from experiments.models import EvalScore, Experiment, ExperimentInput, ExperimentRun, ExperimentVariant
from llm_routing.models import ChatProfile, RegisteredModel
from playground.models import PlaygroundMessage, PlaygroundSession
from tests import factories
from tests.admin.helpers import url
from tests.e2e.hostile_texts import TEXTS

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]
LISTEN = """
window.reports = [];
document.addEventListener("securitypolicyviolation", (one) => reports.push(one.blockedURI));
"""


@pytest.fixture
def written(org, alice):
    """Each text once in every place: output, key, name, note, model name, prompt, message."""
    User.objects.filter(pk=alice.pk).update(is_staff=True, is_superuser=True)
    provider = factories.make_model().provider
    experiment = factories.make_experiment(org, name=TEXTS[0], user=alice)
    metric = factories.make_metric(org, "style", description=TEXTS[1])
    for number, text in enumerate(TEXTS):
        RegisteredModel.objects.create(provider=provider, name=f"{text}{number}", digest="d")
        ChatProfile.objects.create(
            org=org,
            name=f"{text}{number}"[:128],
            system_prompt=text,
            model_provider="ollama",
            model_name=text,
        )
        Experiment.objects.create(org=org, name=text, description=text)
        variant = ExperimentVariant.objects.create(experiment=experiment, name=text, system_prompt=text)
        case = ExperimentInput.objects.create(
            experiment=experiment, key=f"{number} {text}"[:64], content=text, expected=text
        )
        run = factories.make_run(
            experiment, variant=variant, input=case, output=text, feedback_note=text, model_name=text
        )
        EvalScore.objects.create(run=run, metric=metric, value=1, note=text, rater=alice)
        session = PlaygroundSession.objects.create(
            org=org, user=alice, model_provider="ollama", model_name=text, temperature=0.7, top_p=1
        )
        PlaygroundMessage.objects.create(session=session, role="user", content=text)
        PlaygroundMessage.objects.create(session=session, role="assistant", content=text)
    api_keys.create_key(org=org, actor=alice, name=TEXTS[2], permissions=["org:experiments:read"])
    return experiment


def addresses(org, experiment):
    console = f"/app/orgs/{org.pk}"
    one = f"{console}/experiments/{experiment.pk}"
    for page in (
        "playground",
        "playground/history",
        "experiments",
        "models",
        "profiles",
        "api-keys",
        "members",
        "providers",
        "usage?by=experiment",
        "metrics",
    ):
        yield f"{console}/{page}"
    yield from (one, f"{one}?view=grid", f"{one}?view=list", f"{one}?view=charts", f"{one}/review")
    run = ExperimentRun.objects.filter(experiment=experiment).first()
    yield f"{console}/experiments/runs/{run.pk}"
    yield f"{console}/profiles/{ChatProfile.objects.first().pk}"
    for model in (
        Experiment,
        ExperimentInput,
        ExperimentRun,
        RegisteredModel,
        ChatProfile,
        PlaygroundMessage,
    ):
        yield url(model, "changelist")
        yield url(model, "change", model.objects.last().pk)


def test_there_are_a_hundred():
    assert len(set(TEXTS)) == 100


def test_nothing_that_was_written_runs(signed_in, org, written):
    page = signed_in
    dialogs, shown = [], 0
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.add_init_script(LISTEN)
    for address in addresses(org, written):
        answer = page.goto(address, wait_until="load")
        assert answer.status == 200, address
        assert page.evaluate("window.reports") == [], address
        assert page.title() != "ran"
        shown += sum(text in page.content() or text in page.inner_text("body") for text in TEXTS[:5])
    assert shown > 20  # it was there to be seen

    # What is exported goes to the disk, whatever a browser is asked to do with its address.
    base = f"/app/orgs/{org.pk}/experiments/{written.pk}/export"
    stays = page.url
    for table in ("inputs", "runs", "scores"):
        for kind in ("csv", "jsonl", "xlsx"):
            with page.expect_download() as download:
                page.evaluate("address => { location.href = address }", f"{base}/{table}/{kind}")
            assert download.value.suggested_filename.endswith(f".{kind}")
            headers = page.request.get(f"{base}/{table}/{kind}").headers
            assert headers["x-content-type-options"] == "nosniff"
            assert "html" not in headers["content-type"]
    assert page.url == stays
    assert page.evaluate("window.reports") == []
    assert dialogs == []
