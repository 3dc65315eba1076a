"""The console as a person uses it, in Chromium, on a real server, worker and provider."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from experiments.models import Experiment, ExperimentRun
from playground.models import PlaygroundSession
from tests import factories
from tests.e2e.conftest import require_accessible
from tests.fakes.obedient_ollama import ObedientOllama

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]


@pytest.fixture
def model(org, ollama):
    model = factories.make_model(base_url=ollama.base_url, slots=4)
    factories.set_default_model(org, model)
    return model


def test_from_login_to_a_thumb(signed_in, embedded_worker, org, model):
    page = signed_in
    page.get_by_role("link", name="Experiments").click()
    expect(page.get_by_text("No experiments yet.")).to_be_visible()
    expect(page.get_by_text("Select an experiment or create a new one.")).to_be_visible()

    page.get_by_role("button", name="New").click()
    create = page.get_by_role("button", name="Create")
    expect(create).to_be_disabled()
    page.get_by_label("Name").fill("Tone of voice")
    page.get_by_label("Description (optional)").fill("Which prompt is kinder?")
    create.click()
    expect(page.get_by_role("heading", name="Tone of voice")).to_be_visible()
    expect(page.get_by_text("No variants yet.")).to_be_visible()
    expect(page.get_by_text("No runs yet. Add inputs & variants, then click Run.")).to_be_visible()
    run = page.get_by_role("button", name="Run", exact=True)
    expect(run).to_be_disabled()

    page.get_by_role("button", name="Add variant").click()
    page.locator("#variant-name").fill("Kind")
    page.get_by_label("System prompt (optional)").fill("Be kind.")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator("#variants-card").get_by_text("Kind", exact=True)).to_be_visible()
    expect(run).to_be_disabled()

    page.get_by_label("Add inputs, one per line").fill("first line\n\nsecond line\n")
    page.get_by_role("button", name="Add inputs").click()
    expect(page.locator("#inputs-card .badge")).to_have_text("2")
    expect(run).to_be_enabled()

    run.click()
    cells = page.locator(".cell")
    expect(cells).to_have_count(2)
    expect(page.locator(".batch-progress").get_by_text("Finished")).to_be_visible(timeout=15_000)
    expect(cells.first.locator(".output")).to_have_text("echo: first line")
    expect(page.get_by_role("button", name="Run", exact=True)).to_be_enabled()

    up = cells.first.get_by_role("button", name="Thumbs up")
    up.click()
    expect(up).to_have_attribute("aria-pressed", "true")
    page.reload()
    expect(page.locator(".cell").first.get_by_role("button", name="Thumbs up")).to_have_attribute(
        "aria-pressed", "true"
    )
    assert ExperimentRun.objects.filter(thumbs_up=True).count() == 1
    page.locator(".cell").first.get_by_role("button", name="Thumbs up").click()
    expect(page.locator(".cell").first.get_by_role("button", name="Thumbs up")).to_have_attribute(
        "aria-pressed", "false"
    )
    require_accessible(page)

    page.locator(".cell-title").first.click()
    expect(page.get_by_role("heading", name="Messages as sent")).to_be_visible()
    expect(page.get_by_text("Be kind.")).to_be_visible()
    require_accessible(page)


def test_the_playground_streams(signed_in, org):
    with ObedientOllama() as ollama:
        factories.set_default_model(org, factories.make_model(base_url=ollama.base_url))
        page = signed_in
        page.goto(f"/app/orgs/{org.pk}/playground")
        run = page.get_by_role("button", name="Run")
        expect(run).to_be_disabled()
        require_accessible(page)
        page.get_by_label("Write a prompt").fill("   ")
        expect(run).to_be_disabled()
        page.get_by_label("Write a prompt").fill("wait sleep-1")
        page.get_by_label("Temperature").fill("1.2")
        run.click()
        expect(page.get_by_role("button", name="Running…")).to_be_disabled()
        expect(page.locator("#output")).to_have_text("echo: wait sleep-1", timeout=10_000)
        expect(page.locator("#latency")).to_contain_text("ms")
        expect(run).to_be_enabled()
    session = PlaygroundSession.objects.get()
    assert session.temperature == 1.2


def test_stopping_the_playground_ends_the_call(signed_in, org, model, ollama):
    page = signed_in
    page.goto(f"/app/orgs/{org.pk}/playground")
    page.get_by_label("Write a prompt").fill("wait sleep-9")
    page.get_by_role("button", name="Run").click()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#error")).to_have_text("Stopped.")
    expect(page.get_by_role("button", name="Run")).to_be_enabled()


def test_a_provider_s_error_is_shown_in_words(signed_in, org, model):
    page = signed_in
    page.goto(f"/app/orgs/{org.pk}/playground")
    page.get_by_label("Write a prompt").fill("this is too-long")
    page.get_by_role("button", name="Run").click()
    expect(page.locator("#error")).to_have_text("too long: 931 of 512 tokens")


def test_what_people_and_models_write_is_text(signed_in, org, alice, embedded_worker, model):
    bad = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    experiment = factories.make_experiment(org, variants=1, name=bad)
    experiment.inputs.create(key="case_1", content=bad)
    page = signed_in
    page.goto(f"/app/orgs/{org.pk}/experiments/{experiment.pk}")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator(".cell .output")).to_have_text(f"echo: {bad}", timeout=15_000)
    expect(page.get_by_role("heading", name=bad)).to_be_visible()


def test_a_viewer_sees_results_and_no_buttons(signed_in, org, alice, model):
    experiment = factories.make_experiment(org, inputs=1, variants=1)
    factories.make_run(experiment)
    alice.memberships.update(role="viewer")
    page = signed_in
    page.goto(f"/app/orgs/{org.pk}/experiments/{experiment.pk}")
    expect(page.locator(".cell .output")).to_have_text("an answer")
    expect(page.get_by_role("button", name="Run", exact=True)).to_have_count(0)
    expect(page.get_by_role("button", name="Thumbs up")).to_be_disabled()


def test_the_theme_is_kept(signed_in):
    page = signed_in
    page.get_by_role("button", name="Theme").click()
    page.get_by_role("button", name="Dark").click()
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.evaluate("getComputedStyle(document.body).colorScheme") == "dark"


def test_phone_has_its_bar_and_no_sideways_scrolling(signed_in, org, model):
    experiment = factories.make_experiment(org, inputs=2, variants=1)
    factories.make_run(experiment, output="word " * 200)
    page = signed_in
    page.set_viewport_size({"width": 390, "height": 844})
    for path in ("playground", "experiments", f"experiments/{experiment.pk}"):
        page.goto(f"/app/orgs/{org.pk}/{path}")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
        require_accessible(page)


def test_logging_out_ends_the_session(signed_in, org):
    page = signed_in
    page.get_by_role("button", name="Account").click()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    require_accessible(page)
    page.goto(f"/app/orgs/{org.pk}/experiments")
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    assert Experiment.objects.count() == 0
