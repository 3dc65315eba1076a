"""Review mode in a browser: by keyboard alone, blind, and readable on all screens."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from experiments.models import EvalScore, ExperimentRun, Thumb
from experiments.services import review
from tests import factories
from tests.e2e.conftest import require_accessible, settled

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]
NAMES = ("Zebrafish", "Yakherder", "secret-model", "secret-profile", "stripes", "noted by another")


@pytest.fixture
def batch(org, alice):
    """Two variants on four inputs, whose names are easy to find again."""
    factories.make_metric(org, "tone", minimum=1, maximum=5, step=1, labels={"1": "rude", "5": "kind"})
    model = factories.make_model("secret-model:7b")
    profile = factories.make_profile(org, "secret-profile", model_name=model.name)
    experiment = factories.make_experiment(org, inputs=4, name="Tone of voice", user=alice)
    variants = [
        experiment.variants.create(name=name, chat_profile=profile, system_prompt="You have stripes.")
        for name in ("Zebrafish", "Yakherder")
    ]
    batch = experiment.batches.create(total=8, state="finished")
    for case in experiment.inputs.order_by("id"):
        for variant in variants:
            ExperimentRun.objects.create(
                experiment=experiment,
                batch=batch,
                variant=variant,
                input=case,
                state="succeeded",
                position=0,
                model=model,
                model_provider="ollama",
                model_name=model.name,
                temperature=0.7,
                top_p=1,
                output=f"An answer to {case.content}.\nIt is <b>kind</b>.",
                latency_ms=420,
                feedback_note="noted by another" if variant.name == "Yakherder" else None,
                messages=[{"role": "system", "content": "You have stripes."}],
                snapshot={"inputKey": case.key, "content": case.content, "expected": "A kind one."},
            )
    return batch


@pytest.fixture
def url(org, batch):
    return f"/app/orgs/{org.pk}/experiments/{batch.experiment_id}/review?batch={batch.pk}"


def shown(page, ids):
    """Which of these cells the page shows, by its own address."""
    action = page.locator(".review-rating").get_attribute("hx-post")
    return next(one for one in ids if str(one) in action)


def test_a_review_by_keyboard_alone(signed_in, org, alice, batch, url):
    page = signed_in
    page.goto(f"/app/orgs/{org.pk}/experiments/{batch.experiment_id}")
    page.get_by_role("link", name="Review").click()
    title = page.locator("#review-title")
    expect(title).to_contain_text("1 of 8")
    page.wait_for_load_state()  # before it no key is heard
    ids = review.queue_of(batch, alice).ids

    page.keyboard.press("u")
    up = page.locator("[data-key=u]")
    expect(up).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_text("7 not rated by you yet")).to_be_visible()
    page.keyboard.press("4")
    expect(page.locator("[data-key='4']")).to_have_attribute("aria-pressed", "true")
    assert Thumb.objects.values_list("run", "up", "rater").get() == (ids[0], True, alice.pk)
    assert EvalScore.objects.values_list("run", "value").get() == (ids[0], 4)
    require_accessible(page)

    page.keyboard.press("j")
    expect(title).to_contain_text("2 of 8")
    assert shown(page, ids) == ids[1]
    page.keyboard.press("n")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.type("just a note")
    require_accessible(page)
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.get_by_text("There is a note on this answer.")).to_be_visible()
    assert "just a note" in ExperimentRun.objects.get(pk=ids[1]).feedback_note

    page.keyboard.press("k")
    expect(title).to_contain_text("1 of 8")
    page.keyboard.press("u")
    expect(page.locator("[data-key=u]")).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("k")  # there is none before
    expect(title).to_contain_text("1 of 8")

    page.go_back()
    expect(title).to_contain_text("2 of 8")


def test_keys_pressed_faster_than_answers_come_rate_the_right_cells(signed_in, alice, batch, url):
    page = signed_in
    page.goto(url)
    expect(page.locator("#review-title")).to_contain_text("1 of 8")
    ids = review.queue_of(batch, alice).ids
    page.keyboard.type("u5jd1ju2")
    expect(page.locator("#review-title")).to_contain_text("3 of 8")
    expect(page.locator("[data-key='2']")).to_have_attribute("aria-pressed", "true")
    thumbs = dict(Thumb.objects.values_list("run", "up"))
    scores = dict(EvalScore.objects.values_list("run", "value"))
    assert thumbs == {ids[0]: True, ids[1]: False, ids[2]: True}
    assert scores == {ids[0]: 5, ids[1]: 1, ids[2]: 2}
    page.keyboard.type("kk")
    expect(page.locator("#review-title")).to_contain_text("1 of 8")
    page.keyboard.type("s")
    expect(page.locator("#review-title")).to_contain_text("4 of 8")


def test_a_blind_review_tells_no_names_on_the_page_nor_in_its_requests(signed_in, batch, url):
    page = signed_in
    told: list[str] = []

    def keep(response):
        told.append(f"{response.url} {response.request.post_data or ''} {response.headers}")
        if "text/html" in response.headers.get("content-type", ""):
            told.append(response.text())

    page.on("response", keep)
    page.goto(url)
    for number in range(1, 9):
        expect(page.locator("#review-title")).to_contain_text(f"{number} of 8")
        for key in ("u", "3"):
            page.keyboard.press(key)
            expect(page.locator(f"[data-key='{key}']")).to_have_attribute("aria-pressed", "true")
        told.append(page.content())
        page.keyboard.press("j")
    expect(page.get_by_text("You have rated all of them.")).to_be_visible()
    page.locator("#review-state").select_option("")
    page.wait_for_url("**state=&**")
    settled(page)
    assert Thumb.objects.count() == EvalScore.objects.count() == 8
    everything = "\n".join(told).lower()
    assert len(told) > 40
    assert "an answer to text 1" in everything
    assert [name for name in NAMES if name.lower() in everything] == []

    page.locator("#review-blind").select_option("no")
    expect(page.locator(".review-texts .chip").first).to_have_text(re.compile("Zebrafish|Yakherder"))
    settled(page)
    page.locator("#review-variant").select_option(label="Yakherder")
    expect(page.locator("#review-title")).to_contain_text("of 4")
    expect(page.locator(".review-note")).to_have_text("noted by another")
    page.get_by_text("Messages as sent").click()
    expect(page.get_by_text("You have stripes.")).to_be_visible()
    require_accessible(page)


def test_buttons_do_what_the_keys_do_and_filters_hold(signed_in, alice, batch, url):
    page = signed_in
    ids = review.queue_of(batch, alice).ids
    Thumb.objects.bulk_create(Thumb(run_id=one, rater=alice, up=True) for one in (ids[0], ids[2], ids[3]))
    page.goto(f"{url}&rated=no")
    title = page.locator("#review-title")
    expect(title).to_contain_text("2 of 8")
    page.get_by_role("link", name="Next", exact=False).first.click()
    expect(title).to_contain_text("5 of 8")
    page.get_by_role("button", name="Down").click()
    expect(page.get_by_role("button", name="Down")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#review-rated")).to_have_value("no")
    page.get_by_text("Expected answer").click()
    expect(page.get_by_text("A kind one.")).to_be_visible()
    expect(page.get_by_text("It is <b>kind</b>.")).to_be_visible()
    page.get_by_role("button", name="Up").click()
    expect(page.get_by_role("button", name="Up")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_text("A kind one.")).to_be_visible()
    page.get_by_role("link", name="Skip to the next one").click()
    expect(title).to_contain_text("6 of 8")
    expect(page.get_by_text("A kind one.")).to_be_visible()


def test_on_a_phone_and_for_a_field_that_is_written_in(signed_in, batch, url):
    page = signed_in
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(url)
    expect(page.locator("#review-title")).to_contain_text("1 of 8")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    require_accessible(page)
    page.get_by_role("button", name="Add a note").click()
    page.get_by_label("What is good or bad about it?").fill("")
    page.keyboard.type("juds1")
    expect(page.get_by_label("What is good or bad about it?")).to_have_value("juds1")
    page.get_by_role("button", name="Cancel").click()
    assert not Thumb.objects.exists()
