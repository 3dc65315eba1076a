"""The evaluators' card in a browser: a judge is attached, refused, mended, and judges."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from experiments.models import EvalScore, Evaluator
from experiments.services import planning
from tests import factories
from tests.e2e.conftest import require_accessible, settled
from tests.fakes.judging_ollama import JudgingOllama

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]


def test_a_judge_is_attached_and_asked(signed_in, embedded_worker, org, alice):
    page = signed_in
    with JudgingOllama() as ollama:
        factories.set_default_model(org, factories.make_model(base_url=ollama.url, slots=4))
        experiment = factories.make_experiment(org, inputs=2, variants=1)
        batch = planning.start_batch(experiment=experiment, author=alice)
        assert planning.wait_until_finished(batch, timeout_s=60)

        page.goto(f"/app/orgs/{org.pk}/experiments/{experiment.pk}")
        page.get_by_text("Set-up").click()
        card = page.locator("#evaluators-card")
        expect(card.get_by_text("No evaluators yet.")).to_be_visible()
        card.get_by_role("button", name="Add evaluator").click()
        dialog = page.locator("#evaluator-dialog")
        expect(dialog.get_by_label("Kind")).to_be_visible()
        settled(page)
        dialog.get_by_label("Kind").select_option("judge")
        dialog.get_by_label("Rubric").fill("Polite answers are good.")
        dialog.get_by_label("Metric").fill("politeness")
        dialog.get_by_role("button", name="Add", exact=True).click()
        expect(dialog.get_by_text("A rubric needs a scale")).to_be_visible()
        expect(dialog.get_by_label("Rubric")).to_have_value("Polite answers are good.")
        require_accessible(page)
        dialog.get_by_label("Minimum").fill("0")
        dialog.get_by_label("Maximum").fill("1")
        dialog.get_by_role("button", name="Add", exact=True).click()
        expect(dialog).to_be_hidden()
        expect(card.get_by_text("Polite answers are good.")).to_be_visible()
        expect(page.locator("#setup > summary")).to_contain_text("1 evaluator")

        card.get_by_role("button", name="Evaluate again").click()
        expect(dialog.get_by_text("2 in all")).to_be_visible()
        require_accessible(page)
        dialog.get_by_role("button", name="Evaluate", exact=True).click()
        expect(dialog).to_be_hidden()
        expect(card.get_by_text("2 done")).to_be_visible()
        assert EvalScore.objects.filter(evaluator=Evaluator.objects.get()).count() == 2
        expect(page.locator("#cells .score")).to_have_count(2)  # nobody has reloaded the page
        require_accessible(page)

        card.get_by_role("button", name="Edit Model as judge").click()
        expect(dialog.get_by_label("Minimum")).to_have_value("0")
        page.keyboard.press("Escape")
        card.get_by_role("button", name="Switch off Model as judge").click()
        expect(card.get_by_text("off", exact=True)).to_be_visible()


@pytest.mark.parametrize(("view", "score"), [("Grid", ".score"), ("List", ".cell-head > .chip")])
def test_scores_that_come_after_the_cells_are_shown_by_themselves(
    signed_in, embedded_worker, org, alice, view, score
):
    page = signed_in
    with JudgingOllama(delay_s=1.5) as ollama:
        factories.set_default_model(org, factories.make_model(base_url=ollama.url, slots=4))
        experiment = factories.make_experiment(org, inputs=2, variants=1)
        config = {"rubric": "Polite answers are good.", "scale": {"minimum": 0, "maximum": 1}}
        metric = factories.make_metric(org)
        Evaluator.objects.create(
            experiment=experiment, metric=metric, kind="judge", name="Judge", config=config
        )
        page.goto(f"/app/orgs/{org.pk}/experiments/{experiment.pk}")
        page.get_by_role("button", name="Run", exact=True).click()
        page.get_by_role("link", name=view, exact=True).click()
        expect(page.locator("#cells")).to_contain_text("echo", timeout=20_000)
        expect(page.locator(f"#cells {score}")).to_have_count(2, timeout=20_000)
