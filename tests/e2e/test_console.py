"""The console as a person uses it, in Chromium, on a real server, worker and provider."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from experiments.models import Experiment, ExperimentRun
from tests import factories
from tests.e2e.conftest import require_accessible

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
    expect(page.locator(".setup-counts > *")).to_have_text(["1 variant", "2 inputs", "0 evaluators"])
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
    expect(page.get_by_role("dialog").get_by_text("Be kind.")).to_be_visible()
    require_accessible(page)


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


def test_results_come_first_once_there_are_some(signed_in, org, model):
    experiment = factories.make_experiment(org, inputs=2, variants=2)
    page = signed_in
    page.goto(f"/app/orgs/{org.pk}/experiments/{experiment.pk}")
    expect(page.locator("#variants-card")).to_be_visible()
    factories.make_run(experiment)
    page.reload()
    expect(page.locator("#variants-card")).to_be_hidden()
    assert page.get_by_role("heading", name="Runs").bounding_box()["y"] < 400
    page.get_by_text("Set-up").press("Enter")
    expect(page.get_by_role("button", name="Add variant")).to_be_visible()
    require_accessible(page)


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


def test_what_is_opened_is_fetched_then(signed_in, org, alice, model):
    other = factories.make_org("Zweite")
    alice.memberships.create(org=other, role="viewer")
    experiment = factories.make_experiment(org, inputs=2, variants=0)
    page = signed_in
    page.goto(f"/app/orgs/{org.pk}/experiments/{experiment.pk}")
    page.get_by_text("Show 2 inputs").click()
    expect(page.locator("#inputs-card .key")).to_have_text(["case_1", "case_2"])

    page.get_by_role("button", name="Add variant").click()
    page.locator("#variant-name").fill("Kind")
    page.get_by_text("Template, model and parameters").click()
    page.get_by_label("Model", exact=True).select_option(str(model.pk))
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator("#variants-card .chip")).to_have_text(model.name)

    page.locator(".org-switch").click()
    page.get_by_role("link", name="Zweite").click()
    expect(page.locator(".org-switch")).to_contain_text("Zweite")


@pytest.mark.parametrize("width", [390, 360])
def test_a_phone_shows_the_whole_bar_and_the_rest_in_the_menu(signed_in, org, alice, width):
    alice.is_staff = True
    alice.save()
    page = signed_in
    page.set_viewport_size({"width": width, "height": 740})
    page.goto(f"/app/orgs/{org.pk}/experiments")
    items = page.get_by_role("navigation", name="Main").locator(".rail-item:visible")
    expect(items).to_have_count(5)
    for item in items.all():
        box = item.bounding_box()
        assert box["x"] >= 0, item.inner_text()
        assert box["x"] + box["width"] <= width, item.inner_text()
        assert item.evaluate("item => item.scrollWidth <= item.clientWidth"), item.inner_text()
    page.get_by_role("button", name="Account").click()
    page.get_by_role("link", name="Admin").click()
    expect(page).to_have_url(re.compile("/admin/"))
    page.wait_for_load_state("load")  # the page of the fixture fails on whatever it reports


def test_logging_out_ends_the_session(signed_in, org):
    page = signed_in
    page.get_by_role("button", name="Account").click()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    require_accessible(page)
    page.goto(f"/app/orgs/{org.pk}/experiments")
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    assert Experiment.objects.count() == 0


def test_running_with_options_pausing_and_going_on(signed_in, org, alice, embedded_worker, model):
    experiment = factories.make_experiment(org, variants=1)
    for number in range(6):
        experiment.inputs.create(key=f"case_{number}", content=f"{number} sleep-1")
    page = signed_in
    page.goto(f"/app/orgs/{org.pk}/experiments/{experiment.pk}")
    page.get_by_role("button", name="Options").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("6 cells")).to_be_visible()
    dialog.get_by_label("Repeats").fill("2")
    dialog.get_by_label("Calls in parallel").fill("1")
    dialog.get_by_label("Fill the gaps").check()
    expect(dialog.get_by_text("12 cells")).to_be_visible()
    require_accessible(page)
    dialog.get_by_role("button", name="Run").click()
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("alice paused it.")).to_be_visible()
    require_accessible(page)
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    page.get_by_role("button", name="Cancel", exact=True).click()
    expect(page.locator(".batch-progress").get_by_text("Cancelled", exact=True)).to_be_visible()
