"""`manage.py run_experiment` in a pipeline: gates, a baseline, reports, and the exit status."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from experiments.models import Batch, EvalScore, Evaluator
from tests import factories
from tests.experiments.commands import run_experiment as run
from tests.fakes.judging_ollama import JudgingOllama
from tests.fakes.obedient_ollama import ObedientOllama

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("data_dir")]
RIGHT, WRONG = "{{ input }} good", "{{ input }} bad"
FINE, QUALITY, TROUBLE = 0, 1, 2


@pytest.fixture
def experiment(org):
    """Eight inputs; the variant `right` gives the expected answer to each of them, `wrong` to none."""
    with ObedientOllama() as ollama:
        factories.set_default_model(org, factories.make_model(base_url=ollama.base_url, slots=8))
        made = factories.make_experiment(org, inputs=8)
        for row in made.inputs.all():
            row.expected = f"echo: {row.content} good"
            row.save()
        made.variants.create(name="right", config={"promptTemplate": RIGHT})
        made.variants.create(name="wrong", config={"promptTemplate": WRONG})
        metric = factories.make_metric(org)
        Evaluator.objects.create(experiment=made, metric=metric, kind="exact_match", name="exact")
        yield made


def variant(experiment, name):
    return experiment.variants.get(name=name)


# --- conditions ---


def test_a_condition_that_no_variant_meets(experiment):
    done = run("Tone", "--variant", variant(experiment, "right").pk, "--fail-if", "correctness < 0.8")
    assert done.status == FINE
    assert "ok      right: fail if correctness < 0.8. correctness is 1." in done.out
    assert "Passed: every gate holds." in done.out


def test_a_condition_that_one_variant_meets(experiment):
    done = run("Tone", "--fail-if", "correctness < 0.8", "--fail-if", "latency.p95 > 60000")
    assert done.status == QUALITY
    assert "BROKEN  wrong: fail if correctness < 0.8. correctness is 0." in done.out
    assert "Failed: 1 of 4 gates is broken." in done.out
    assert "100% (68% to 100%)" in done.out, "the table has the interval"


def test_a_figure_that_is_missing_is_trouble_and_no_verdict(experiment):
    factories.make_metric(experiment.org, "style")
    done = run("Tone", "--fail-if", "style < 3")
    assert done.status == TROUBLE
    assert "There is no style to judge by." in done.out


def test_a_failed_cell_is_trouble_even_where_a_gate_is_broken(experiment):
    experiment.variants.filter(name="right").update(config={"promptTemplate": "{{ input }} too-long"})
    done = run("Tone", "--fail-if", "correctness < 0.8")
    assert done.status == TROUBLE
    assert "Trouble: 8 cells failed" in done.out


# --- a baseline ---


def test_worse_than_the_baseline_variant(experiment):
    done = run("Tone", "--baseline", "right", "--fail-if-worse", "correctness")
    assert done.status == QUALITY
    assert "wrong is worse than right in correctness." in done.out
    assert "8 lost" in done.out
    assert "right: fail if" not in done.out, "the baseline is not held against itself"


def test_better_than_the_baseline_variant(experiment):
    done = run("Tone", "--baseline", "wrong", "--fail-if-worse", "correctness", "--json")
    assert done.status == FINE
    document = json.loads(done.out)
    (found,) = document["comparisons"]
    assert (found["call"], found["pairs"], found["metricKey"]) == ("better", 8, "correctness")
    assert [gate["outcome"] for gate in document["gates"]] == ["holds"]


def test_a_lower_mean_that_may_be_chance_is_not_worse(experiment):
    """Two of eight inputs got worse: the interval holds zero."""
    old = run("Tone", "--variant", variant(experiment, "right").pk, "--json")
    batch_id = json.loads(old.out)["batchId"]
    experiment.inputs.filter(key__in=["case_1", "case_2"]).update(expected="something else")
    done = run(
        "Tone", "--variant", variant(experiment, "right").pk, "--baseline", batch_id,
        "--fail-if-worse", "correctness",
    )  # fmt: skip
    assert done.status == FINE
    assert "Cannot tell yet about correctness: about" in done.out
    assert "-0.25 (95 % interval" in done.out


def test_an_earlier_batch_is_compared_variant_by_variant(experiment):
    batch_id = json.loads(run("Tone", "--json").out)["batchId"]
    experiment.variants.filter(name="right").update(config={"promptTemplate": WRONG})
    done = run("Tone", "--baseline", batch_id, "--fail-if-worse", "correctness", "--json")
    assert done.status == QUALITY
    document = json.loads(done.out)
    calls = {one["variantId"]: one["call"] for one in document["comparisons"]}
    assert calls == {
        str(variant(experiment, "right").pk): "worse",
        str(variant(experiment, "wrong").pk): "unsure",
    }


def test_the_baseline_that_the_experiment_keeps(experiment):
    batch_id = json.loads(run("Tone", "--json").out)["batchId"]
    experiment.baseline_id = batch_id
    experiment.save()
    experiment.variants.create(name="new", config={"promptTemplate": RIGHT})
    done = run("Tone", "--fail-if-worse", "correctness")
    assert done.status == FINE
    assert "new has no counterpart in the baseline." in done.out


def test_a_new_variant_is_compared_with_the_only_one_of_the_batch(experiment):
    batch_id = json.loads(run("Tone", "--variant", variant(experiment, "right").pk, "--json").out)["batchId"]
    done = run(
        "Tone", "--variant", variant(experiment, "wrong").pk, "--baseline", batch_id,
        "--fail-if-worse", "correctness",
    )  # fmt: skip
    assert done.status == QUALITY


def test_a_margin_says_what_does_not_matter(experiment):
    arguments = ["Tone", "--baseline", "right", "--fail-if-worse", "correctness"]
    assert run(*arguments, "--margin", 1).status == FINE
    assert run(*arguments, "--margin", 1, "--margin", "correctness=0.1").status == QUALITY


# --- what is refused before anything runs ---


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--fail-if", "correctness << 0.8"], "position 13: here must be <, <=, > or >="),
        (["--fail-if", "correctness == 0.8"], "position 13: here must be <, <=, > or >="),
        (["--fail-if", "< 0.8"], "position 1: here must be the key of a metric"),
        (["--fail-if", ""], "position 1: here must be the key of a metric"),
        (["--fail-if", "correctness < "], "position 15: here must be a number"),
        (["--fail-if", "correctness < nan"], "position 15: here must be a number"),
        (["--fail-if", "correctness < inf"], "position 15: here must be a number"),
        (["--fail-if", "correctness < 1e999"], "position 15: this number is too large"),
        (["--fail-if", "correctness < 0.8 or so"], "position 19: nothing may come after the number"),
        (["--fail-if", "charm < 1"], "There is no metric charm."),
        (["--fail-if-worse", "charm"], "There is no metric charm."),
        (["--fail-if-worse", "correctness"], "needs a --baseline"),
        (["--baseline", "nobody"], "no batch and no variant nobody"),
        (["--baseline", "0190aaaa-0000-7000-8000-000000000000"], "no batch and no variant 0190aaaa"),
        (["--margin=-0.1"], "--margin: -0.1 must be a finite number that is not negative"),
        (["--margin", "nan"], "--margin: nan must be"),
        (["--margin", "correctness=inf"], "--margin: inf must be"),
        (["--margin", "charm=1"], "There is no metric charm."),
        (["--junit", "/nowhere/report.xml"], "--junit: /nowhere/report.xml cannot be written"),
        (["--markdown", "/"], "--markdown: / cannot be written"),
        (["--no-wait", "--fail-if", "correctness < 1"], "--no-wait knows no results"),
    ],
)
def test_wrong_usage_is_named_and_nothing_runs(experiment, arguments, complaint):
    done = run("Tone", *arguments)
    assert done.status == TROUBLE
    assert complaint in done.err
    assert not Batch.objects.exists()


def test_a_baseline_that_cannot_serve(experiment):
    right, wrong = variant(experiment, "right"), variant(experiment, "wrong")
    alone = run("Tone", "--variant", right.pk, "--baseline", wrong.pk)
    assert (alone.status, "not among the variants that run" in alone.err) == (TROUBLE, True)
    itself = run("Tone", "--variant", right.pk, "--baseline", "right")
    assert "can be compared with the baseline" in itself.err
    experiment.variants.create(name="right")
    assert "Several variants are called right" in run("Tone", "--baseline", "right").err
    open_batch = experiment.batches.create(total=1)
    assert "is under way" in run("Tone", "--baseline", open_batch.pk).err


# --- evaluators that take calls ---


def test_it_waits_until_the_judge_has_seen_every_answer(org):
    with JudgingOllama() as ollama:
        factories.set_default_model(org, factories.make_model(base_url=ollama.url, slots=4))
        made = factories.make_experiment(org, inputs=3, variants=1)
        Evaluator.objects.create(
            experiment=made,
            metric=factories.make_metric(org, "quality"),
            kind="judge",
            name="judge",
            config={"rubric": "Is it right?", "scale": {"minimum": 0, "maximum": 1}},
        )
        done = run("Tone", "--fail-if", "quality < 0.5")
    assert done.status == FINE
    assert "3/3 evaluations" in done.err
    assert EvalScore.objects.count() == 3


# --- reports ---

HOSTILE = "<script>alert(1)</script> | `x` **bold** @all [a](http://evil) \x1b[31m\x00"


def test_junit_has_a_suite_for_each_variant_with_cells_and_gates(experiment, tmp_path):
    experiment.inputs.filter(key="case_1").update(content="too-long")
    experiment.variants.filter(name="wrong").update(name="a \x01 <b>", config={})
    path = tmp_path / "report.xml"
    done = run("Tone", "--repeats", 2, "--fail-if", "correctness < 0.8", "--junit", path)
    assert done.status == TROUBLE
    root = ElementTree.parse(path).getroot()
    right, wrong = root.findall("testsuite")
    assert (right.get("name"), wrong.get("name")) == ("right", "a \ufffd <b>")
    assert (wrong.get("tests"), wrong.get("failures"), wrong.get("errors")) == ("17", "1", "2")
    cases = {case.get("name"): case for case in wrong.findall("testcase")}
    assert {"case_2", "case_2 #2", "fail if correctness < 0.8"} <= set(cases)
    assert cases["case_1"].find("error").get("type") == "PROMPT_TOO_LONG"
    assert "correctness is 0" in cases["fail if correctness < 0.8"].find("failure").get("message")
    assert cases["case_2"].find("error") is None


def test_junit_skips_cells_that_were_not_called(experiment, tmp_path):
    path = tmp_path / "report.xml"
    assert run("Tone", "--token-budget", 1, "--parallel", 1, "--junit", path).status == TROUBLE
    skipped = ElementTree.parse(path).getroot().findall("testsuite/testcase/skipped")
    assert {one.get("message") for one in skipped} == {"queued"}


def test_the_summary_in_markdown_is_no_one_s_markup(experiment, tmp_path):
    from markdown_it import MarkdownIt

    experiment.variants.filter(name="wrong").update(name=HOSTILE[:-1])
    experiment.name = f"Tone ``{HOSTILE[:-1]}"
    experiment.save()
    path = tmp_path / "summary.md"
    done = run(experiment.pk, "--baseline", "right", "--fail-if-worse", "correctness", "--markdown", path)
    assert done.status == QUALITY
    text = path.read_text()
    assert "Failed: 1 of 1 gates is broken." in text
    assert "❌ broken" in text
    html = MarkdownIt("commonmark").enable("table").render(text)
    assert html.count("<table>") == 2
    assert html.count("<tr>") == 2 + 1 + 1 + 1, "no row was made by a name"
    for forbidden in ("<script", "<a ", "<strong>bold", "\x1b"):
        assert forbidden not in html
    outside = ElementTree.fromstring(f"<r>{html}</r>")
    for code in list(outside.iter("code")):
        code.text = ""
    assert "@all" not in "".join(outside.itertext())
