"""Inputs on their way in and out, in a browser: preview, columns, every bad line, the menu of exports."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests import factories
from tests.e2e.conftest import require_accessible

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]
PASTED = "question\tanswer\ttopic\nThe capital of France?\tParis\tgeography\nA prime above ten?\t11\tmaths\n"


@pytest.fixture
def experiment(org, alice):
    return factories.make_experiment(org, inputs=0, variants=1)


@pytest.fixture
def importing(signed_in, org, experiment):
    signed_in.goto(f"/app/orgs/{org.pk}/experiments/{experiment.pk}")
    signed_in.get_by_role("link", name="Import").click()
    expect(signed_in.get_by_role("heading", name="Import inputs")).to_be_visible()
    return signed_in


def preview_file(page, data, name="inputs.csv"):
    file = {"name": name, "mimeType": "text/plain", "buffer": data}
    page.get_by_label("File", exact=True).set_input_files(file)
    page.get_by_role("button", name="Preview", exact=True).click()


def test_a_pasted_table_is_seen_mapped_and_imported(importing, experiment):
    page = importing
    require_accessible(page)
    page.get_by_label("Or paste a table with its headings").fill(PASTED)
    page.get_by_role("button", name="Preview", exact=True).click()
    expect(page.get_by_role("heading", name="2 inputs, all without fault")).to_be_visible()
    expect(page.locator(".rows tbody tr")).to_have_count(2)
    assert not experiment.inputs.exists()
    require_accessible(page)

    name = page.get_by_label("Name of topic in the metadata")
    expect(name).to_be_visible()
    expect(page.get_by_label("Name of answer in the metadata")).to_be_hidden()
    name.fill("field")
    page.get_by_role("button", name="Preview again").click()
    expect(page.locator(".pair").first).to_have_text("field: geography")

    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.get_by_text("2 inputs were imported.")).to_be_visible()
    rows = list(experiment.inputs.order_by("id").values_list("content", "expected", "metadata"))
    assert rows[0] == ("The capital of France?", "Paris", {"field": "geography"})
    assert len(rows) == 2


def test_every_bad_line_is_named_and_nothing_can_be_imported(importing, experiment):
    page = importing
    preview_file(page, b"key,content\na,fine\na,again\nb,\nc\n")
    expect(page.get_by_role("heading", name="3 problems, nothing can be imported yet")).to_be_visible()
    expect(page.locator(".problems li")).to_have_text(
        [
            "line 3, column key: a is also the key of line 2",
            "line 4, column content: missing",
            "line 5: it has 1 column, the first line has 2",
        ]
    )
    expect(page.get_by_role("button", name="Import", exact=True)).to_have_count(0)
    require_accessible(page)
    preview_file(page, b"key,content\na,fine\n")
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.get_by_text("1 input was imported.")).to_be_visible()
    assert list(experiment.inputs.values_list("key", "content")) == [("a", "fine")]


def test_a_file_that_cannot_be_read_is_refused(importing, refusals):
    refusals.add(400)
    preview_file(importing, b"\xff\xfe")
    expect(importing.get_by_role("alert")).to_have_text("line 1: This is not UTF-8 text.")
    require_accessible(importing)


def test_on_a_phone(importing):
    page = importing
    page.set_viewport_size({"width": 390, "height": 844})
    page.get_by_label("Or paste a table with its headings").fill(PASTED)
    page.get_by_role("button", name="Preview", exact=True).click()
    expect(page.locator(".rows tbody tr")).to_have_count(2)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    columns = page.get_by_role("region", name="What each column becomes")
    assert columns.evaluate("box => box.scrollWidth <= box.clientWidth")
    require_accessible(page)


def test_exports_open_beside_their_button(signed_in, org, experiment):
    experiment.inputs.create(key="a", content="x", expected="y")
    page = signed_in
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 844})
        page.goto(f"/app/orgs/{org.pk}/experiments/{experiment.pk}")
        button = page.get_by_role("button", name="Export")
        button.click()
        menu = page.locator("#export-menu")
        box, anchor = menu.bounding_box(), button.bounding_box()
        assert box["x"] >= 0, width
        assert box["x"] + box["width"] <= width, width
        gap = min(abs(box["y"] - anchor["y"] - anchor["height"]), abs(anchor["y"] - box["y"] - box["height"]))
        assert gap < 12, width
    require_accessible(page)
    with page.expect_download() as download:
        menu.get_by_role("link", name="Inputs as CSV").click()
    assert download.value.suggested_filename.endswith("-inputs.csv")
    assert download.value.path().read_bytes() == b"key,content,expected,metadata\r\na,x,y,{}\r\n"
    expect(menu).to_be_hidden()
