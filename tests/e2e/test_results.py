"""The results of a batch in a browser: the grid, the sheet of a cell, differences, the comparison."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from experiments.models import EvalScore, ExperimentRun, Thumb
from tests import factories
from tests.e2e.conftest import require_accessible
from tests.experiments.results import cell, make_batch, make_experiment, score

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]


@pytest.fixture
def batch(org, alice):
    experiment = make_experiment(org, inputs=4, variants=3)
    batch = make_batch(experiment)
    metric = factories.make_metric(org, "correctness", minimum=0, maximum=1)
    for n, run in enumerate(batch.runs.all()):
        score(run, metric, n % 2, rater=alice)
    failed = cell(batch, 3, "case_2")
    ExperimentRun.objects.filter(pk=failed.pk).update(state="failed", error_message="It broke.", output="")
    EvalScore.objects.filter(run=failed).delete()
    return batch


@pytest.fixture
def show(signed_in, org, batch):
    def go(query="", path=""):
        signed_in.goto(f"/app/orgs/{org.pk}/experiments/{batch.experiment_id}{path}{query}")
        return signed_in

    return go


def inputs(page):
    return page.locator(".grid tbody th .key")


def test_filters_live_in_the_address(show):
    page = show()
    expect(inputs(page)).to_have_count(4)
    require_accessible(page)
    page.get_by_text("Filters", exact=True).click()
    page.locator("#filter-state").select_option("failed")
    expect(inputs(page)).to_have_text(["case_2"])
    expect(page).to_have_url(re.compile(r"\?state=failed$"))
    require_accessible(page)
    page.reload()
    expect(inputs(page)).to_have_text(["case_2"])
    page.get_by_role("link", name="Clear filters").click()
    expect(inputs(page)).to_have_count(4)
    page.get_by_label("Sort by").select_option("disagreement")
    expect(page).to_have_url(re.compile("sort=disagreement"))
    page.get_by_role("link", name="List").click()
    expect(page.locator(".cells > .cell")).to_have_count(12)
    require_accessible(page)
    page.go_back()
    expect(inputs(page)).to_have_count(4)


def test_the_head_and_the_first_column_stay(show):
    page = show()
    page.set_viewport_size({"width": 700, "height": 600})
    scroll = page.locator(".grid-scroll")
    scroll.scroll_into_view_if_needed()
    before = page.locator(".corner").bounding_box()
    scroll.evaluate("box => box.scrollTo({ left: 120, top: 150, behavior: 'instant' })")
    assert page.locator(".corner").bounding_box() == before
    first = page.locator(".grid tbody th").first.bounding_box()
    assert first["x"] == before["x"]


def test_the_sheet_of_a_cell_by_keyboard(show, batch):
    page = show()
    first = page.locator("[data-cell]").first
    first.focus()
    page.keyboard.press("Enter")
    sheet = page.get_by_role("dialog")
    expect(sheet.get_by_role("heading", name="variant 1")).to_be_focused()
    expect(page).to_have_url(re.compile(r"cell="))
    require_accessible(page)
    page.keyboard.press("j")
    expect(sheet.get_by_role("heading", name="variant 2")).to_be_visible()
    expect(sheet.get_by_role("button", name="Previous cell")).to_be_enabled()
    page.keyboard.press("k")
    expect(sheet.get_by_role("button", name="Previous cell")).to_be_disabled()
    page.reload()
    expect(sheet.get_by_role("heading", name="variant 1")).to_be_visible()
    page.keyboard.press("Escape")
    expect(sheet).to_be_hidden()
    expect(page).not_to_have_url(re.compile("cell="))
    expect(page.locator("[data-cell]").first).to_be_focused()


def test_rating_in_the_sheet_shows_in_the_grid(show, batch, alice):
    page = show()
    page.locator("[data-cell]").first.click()
    sheet = page.get_by_role("dialog")
    sheet.get_by_role("button", name="Thumbs up").click()
    expect(sheet.get_by_role("button", name="Thumbs up")).to_have_attribute("aria-pressed", "true")
    sheet.get_by_label("Note on this answer").fill("too long")
    sheet.get_by_role("button", name="Save note").click()
    expect(sheet.get_by_text("Saved.")).to_be_visible()
    sheet.get_by_label("My score", exact=True).fill("0.25")
    sheet.get_by_role("button", name="Give score").click()
    expect(sheet.locator(".score-item")).to_contain_text("0.25")
    sheet.get_by_role("button", name="Close").click()
    up = page.locator(".grid-cell").first.get_by_role("button", name="Thumbs up")
    expect(up).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".grid-cell").first.locator(".score")).to_contain_text("0.25")
    assert Thumb.objects.get().rater == alice


def test_two_cells_word_by_word(show):
    page = show()
    page.locator("[data-cell]").first.click()
    sheet = page.get_by_role("dialog")
    sheet.get_by_label("Compare with").select_option(label="variant 2")
    expect(sheet.get_by_role("insertion")).to_contain_text("1")
    expect(sheet.get_by_role("deletion")).to_contain_text("2")
    require_accessible(page)
    sheet.get_by_role("link", name="Link to this difference").click()
    expect(page.get_by_role("heading", name="Difference on case_1")).to_be_visible()
    expect(page.get_by_role("insertion")).to_have_count(1)
    require_accessible(page)


def test_what_is_chosen_as_soon_as_it_is_there_is_not_lost(show):
    """A part of the page that was swapped in answers at once, not some milliseconds later."""
    page = show()
    page.evaluate(
        """new MutationObserver((_, observer) => {
            const choice = document.querySelector("#cell-sheet select[name=with]");
            if (!choice) return;
            observer.disconnect();
            choice.selectedIndex = 1;
            choice.dispatchEvent(new Event("change", { bubbles: true }));
        }).observe(document.getElementById("cell-sheet"), { childList: true, subtree: true })"""
    )
    page.locator("[data-cell]").first.click()
    expect(page.get_by_role("dialog").get_by_role("insertion")).to_contain_text("1")


def test_the_comparison_from_the_grid_to_the_words(show, batch):
    page = show()
    page.get_by_role("link", name="Compare").click()
    expect(page.get_by_role("heading", name="Comparison")).to_be_visible()
    expect(page.locator(".verdict h2")).not_to_be_empty()
    require_accessible(page)
    page.locator("#compare-candidate").select_option(label="variant 3")
    expect(page).to_have_url(re.compile("candidate="))
    expect(page.get_by_text("Paired on 3 inputs")).to_be_visible()
    page.get_by_role("link", name="Stayed the same").click()
    expect(page).to_have_url(re.compile("show=same"))
    page.get_by_role("link", name="Latency (ms)").click()
    expect(page.locator("#compare-metric")).to_have_value("latency")


def test_a_baseline_batch(show, batch):
    page = show()
    page.get_by_role("button", name="Make this the baseline").click()
    expect(page.locator(".batch-bar").get_by_text("Baseline", exact=True)).to_be_visible()
    make_batch(batch.experiment)
    page.reload()
    page.get_by_role("link", name="Against the baseline").click()
    expect(page.locator("#compare-baselineBatch")).to_have_value(str(batch.pk))
    expect(page.locator(".verdict")).to_be_visible()


def test_on_a_phone(show, org, batch):
    page = show()
    page.set_viewport_size({"width": 390, "height": 844})
    run = batch.runs.first()
    for query, path in (("", ""), ("?view=list", ""), ("?view=charts", ""), ("", "/comparison")):
        show(query, path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, query + path
        require_accessible(page)
    show(f"?cell={run.pk}")
    box = page.get_by_role("dialog").bounding_box()
    assert (box["x"], box["width"], box["height"]) == (0, 390, 844)
    require_accessible(page)


def test_what_was_written_stays_text(show, batch):
    bad = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    ExperimentRun.objects.filter(batch=batch).update(output=bad, messages=[{"role": "user", "content": bad}])
    batch.experiment.variants.update(name=bad)
    batch.experiment.inputs.update(content=bad, expected=bad)
    page = show()
    expect(page.locator(".grid-cell .output").first).to_have_text(bad)
    page.locator("[data-cell]").first.click()
    expect(page.get_by_role("dialog").locator(".output").first).to_have_text(bad)
    show(path="/comparison")
    expect(page.locator(".word-diff .output").first).to_have_text(bad)
