"""Review mode: a rater's own order, what is left, which key means what, and what a blind rater learns."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from evalsuite.audit.models import AuditEvent
from evalsuite.errors import InvalidBody
from evalsuite.ids import new_id
from experiments.models import EvalMetricDefinition, EvalScore, Experiment, ExperimentRun, Thumb
from experiments.services import review
from experiments.services.metric_definitions import off_scale, require_sound
from tests import factories

SECRETS = (
    "Zebra",
    "Yakherder",
    "secret-model",
    "secret-profile",
    "Talk like a zebra",
    "from Zebra",
    "failed at Yakherder",
)


@pytest.fixture
def experiment(org, alice):
    """Two variants on three inputs in one batch; the names are easy to find again."""
    model = factories.make_model("secret-model:7b")
    profile = factories.make_profile(org, "secret-profile", model_name=model.name)
    experiment = factories.make_experiment(org, inputs=3, name="Tone", user=alice)
    variants = [
        experiment.variants.create(name=name, chat_profile=profile, system_prompt="Talk like a zebra.")
        for name in ("Zebra", "Yakherder")
    ]
    batch = experiment.batches.create(total=6, state="finished")
    for number, case in enumerate(experiment.inputs.order_by("id")):
        for variant in variants:
            ExperimentRun.objects.create(
                experiment=experiment,
                batch=batch,
                variant=variant,
                input=case,
                state="succeeded",
                position=number,
                model=model,
                model_provider="ollama",
                model_name=model.name,
                temperature=0.7,
                top_p=1,
                output=f"answer to {case.key}",
                feedback_note="from Zebra",
                latency_ms=4321,
                messages=[
                    {"role": "system", "content": "Talk like a zebra."},
                    {"role": "user", "content": f"Zebra says: {case.content}"},
                ],
                snapshot={
                    "inputKey": case.key,
                    "content": case.content,
                    "expected": "the expected one",
                    "variant": {"name": variant.name},
                },
            )
    return experiment


@pytest.fixture
def batch(experiment):
    return experiment.batches.get()


@pytest.fixture
def stars(org):
    return factories.make_metric(org, "stars", minimum=1, maximum=5, step=1, labels={"1": "useless"})


@pytest.fixture
def url(client, alice, org, experiment):
    client.force_login(alice)
    return f"/app/orgs/{org.pk}/experiments/{experiment.pk}/review"


def current(answer):
    """The id of the cell that a page shows."""
    return re.search(r"/review/([0-9a-f-]{36})\?", answer.content.decode())[1]


def place(answer):
    return re.search(r"</span> (\d+) of (\d+)", answer.content.decode()).groups()


def way(answer, key):
    """Where a key leads, or None."""
    found = re.search(rf'href="([^"]*)" hx-get="[^"]*"[^>]*data-key="{key}"', answer.content.decode())
    return found and found[1].replace("&amp;", "&")


def test_the_order_is_the_raters_own_and_stays(experiment, batch, alice, org):
    bob = factories.make_user("bob", org=org, role="rater")
    ids = list(batch.runs.values_list("pk", flat=True))
    mine = review.queue_of(batch, alice).ids
    assert sorted(mine) == sorted(ids)
    assert mine == review.queue_of(batch, alice).ids == review.shuffled(reversed(ids), alice.pk, batch.pk)
    Thumb.objects.create(run_id=mine[3], rater=alice, up=True)
    assert review.queue_of(batch, alice).ids == mine
    many = [new_id() for _ in range(200)]
    orders = {
        review.shuffled(many, who, where) for who in (alice.pk, bob.pk) for where in (batch.pk, new_id())
    }
    assert len(orders) == 4
    assert tuple(many) not in orders


def test_no_variant_comes_first_more_often_than_by_chance(experiment, batch):
    """Of 400 raters about half begin with the first variant: 5 standard deviations are allowed."""
    of_first = set(batch.runs.filter(variant=experiment.variants.first()).values_list("pk", flat=True))
    ids = list(batch.runs.values_list("pk", flat=True))
    begun = sum(review.shuffled(ids, new_id(), batch.pk)[0] in of_first for _ in range(400))
    assert abs(begun - 200) < 50


def test_ways_on_and_what_is_left(experiment, batch, alice, stars):
    queue = review.queue_of(batch, alice)
    first, second, third, *_, last = queue.ids
    Thumb.objects.create(run_id=first, rater=alice, up=False)
    EvalScore.objects.create(run_id=second, metric=stars, rater=alice, value=1)
    Thumb.objects.create(run_id=third, rater=factories.make_user("other"), up=True)
    queue = review.queue_of(batch, alice)
    assert (queue.left, queue.begin(), queue.place(second)) == (4, third, 2)
    assert queue.step(first, 1, only_unrated=False) == second
    assert queue.step(first, 1, only_unrated=True) == third
    assert queue.step(third, -1, only_unrated=True) is None
    assert queue.step(last, 1, only_unrated=False) is None
    assert queue.unrated_after(last) == third
    assert queue.unrated_after(third) == queue.ids[3]


def test_the_last_unrated_one_leads_nowhere_else(experiment, batch, alice):
    *others, last = review.queue_of(batch, alice).ids
    Thumb.objects.bulk_create(Thumb(run_id=one, rater=alice, up=True) for one in others)
    queue = review.queue_of(batch, alice)
    assert (queue.begin(), queue.unrated_after(last), queue.left) == (last, None, 1)
    Thumb.objects.create(run_id=last, rater=alice, up=True)
    queue = review.queue_of(batch, alice)
    assert (queue.begin(), queue.left) == (queue.ids[0], 0)


@pytest.mark.parametrize(
    ("scale", "values"),
    [
        ({"minimum": 1, "maximum": 5, "step": 1}, [1, 2, 3, 4, 5]),
        ({"minimum": 1, "maximum": 5}, [1, 2, 3, 4, 5]),
        ({"minimum": 0, "maximum": 1, "step": 1}, [0, 1]),
        ({"minimum": 0, "maximum": 0.5, "step": 0.1}, [0, 0.1, 0.2, 0.3, 0.4, 0.5]),
        ({"minimum": 0, "maximum": 1}, [0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1]),
        ({"minimum": 0, "maximum": 10, "step": 1}, [0, 1, 2, 4, 5, 6, 8, 9, 10]),
        ({"minimum": 0, "maximum": 100, "labels": {"0": "no", "50": "half", "100": "yes"}}, [0, 50, 100]),
        ({"minimum": 0, "step": 2}, [0, 2, 4, 6, 8, 10, 12, 14, 16]),
        ({"maximum": 0}, [-8, -7, -6, -5, -4, -3, -2, -1, 0]),
        ({}, [1, 2, 3, 4, 5, 6, 7, 8, 9]),
    ],
)
def test_keys_are_spread_over_the_scale(scale, values):
    keys = review.keys_of(EvalMetricDefinition(key="m", **scale))
    assert [(key.key, key.value) for key in keys] == list(enumerate(values, start=1))


NUMBERS = st.one_of(st.none(), st.floats(-1e6, 1e6), st.integers(-20, 20).map(float))


@settings(max_examples=300, deadline=None)
@given(NUMBERS, NUMBERS, st.one_of(st.none(), st.floats(1e-300, 1e6), st.sampled_from([0.1, 0.25, 0.5, 1.0])))
def test_every_key_gives_a_value_that_the_metric_takes(low, high, step):
    metric = EvalMetricDefinition(key="m", minimum=low, maximum=high, step=step)
    try:
        require_sound(metric)
    except InvalidBody:
        assume(False)  # not a scale that there can be
    keys = review.keys_of(metric)
    assert len(keys) <= 9
    assert [key.key for key in keys] == list(range(1, len(keys) + 1))
    assert [key.value for key in keys] == sorted({key.value for key in keys})
    assert all(off_scale(metric, key.value) is None for key in keys)


def test_a_blind_page_and_all_that_its_links_lead_to_have_no_names(client, url, experiment, batch, stars):
    batch.runs.filter(pk=batch.runs.first().pk).update(state="failed", error_message="failed at Yakherder")
    seen = set()
    todo = [url, f"{url}?state=", f"{url}?rated=no", f"{url}?variant={experiment.variants.first().pk}"]
    while todo:
        address = todo.pop()
        for headers in ({}, {"HTTP_HX_REQUEST": "true"}):
            answer = client.get(address, **headers)
            text = answer.content.decode() + str(answer.headers) + address
            assert [secret for secret in SECRETS if secret.lower() in text.lower()] == []
            assert "4,321" not in text
        seen.add(current(answer))
        todo += [f"{url}{step}" for key in "jks" if (step := way(answer, key)) and f"{url}{step}" not in seen]
        seen.update(todo)
    assert {str(one) for one in batch.runs.values_list("pk", flat=True)} <= seen


def test_a_blind_rating_answers_without_names(client, url, batch, stars):
    run = batch.runs.first()
    for data in ({"thumb": "up"}, {"metric": str(stars.pk), "value": "4"}, {"note": "odd"}):
        answer = client.post(f"{url}/{run.pk}?state=&run={run.pk}", data, HTTP_HX_REQUEST="true")
        assert answer.status_code == 200
        assert [secret for secret in SECRETS if secret in answer.content.decode()] == []


def test_names_are_shown_to_whoever_wants_them(client, url, experiment, batch):
    variant = experiment.variants.get(name="Yakherder")
    text = client.get(f"{url}?blind=no&variant={variant.pk}").content.decode()
    for shown in ("Yakherder", "secret-model:7b", "Talk like a zebra.", "from Zebra", "4,321 ms"):
        assert shown in text
    assert re.search(r"</span> 1 of 3", text)


def test_a_blind_review_cannot_be_narrowed_down_to_a_variant(client, url, experiment):
    answer = client.get(f"{url}?variant={experiment.variants.first().pk}")
    assert place(answer)[1] == "6"


def test_thumbs_and_scores_are_set_and_taken_away_again(client, url, batch, alice, stars):
    run = batch.runs.first()
    at = f"{url}/{run.pk}?run={run.pk}"
    client.post(at, {"thumb": "up"})
    client.post(at, {"thumb": "down"})
    assert Thumb.objects.get().up is False
    client.post(at, {"thumb": "down"})
    assert not Thumb.objects.exists()
    for value in ("4", "2"):
        client.post(at, {"metric": str(stars.pk), "value": value})
    score = EvalScore.objects.get()
    assert (score.value, score.rater, score.run) == (2, alice, run)
    client.post(at, {"metric": str(stars.pk), "value": "2"})
    assert not EvalScore.objects.exists()
    assert AuditEvent.objects.filter(event="experiment.feedback.updated").count() == 3


def test_a_score_that_changes_keeps_its_note(client, url, batch, alice, stars):
    run = batch.runs.first()
    EvalScore.objects.create(run=run, metric=stars, rater=alice, value=1, note="why")
    client.post(f"{url}/{run.pk}", {"metric": str(stars.pk), "value": "5"})
    assert EvalScore.objects.values_list("value", "note").get() == (5, "why")


def test_a_blind_note_goes_below_the_others(client, url, batch):
    run = batch.runs.first()
    client.post(f"{url}/{run.pk}", {"note": "line one\r\nline two"})
    client.post(f"{url}/{run.pk}", {"note": ""})
    run.refresh_from_db()
    assert run.feedback_note == "from Zebra\nline one\nline two"
    client.post(f"{url}/{run.pk}?blind=no", {"note": "mine alone"})
    run.refresh_from_db()
    assert run.feedback_note == "mine alone"
    client.post(f"{url}/{run.pk}?blind=no", {"note": ""})
    run.refresh_from_db()
    assert run.feedback_note is None


@pytest.mark.parametrize(
    ("data", "status"),
    [
        ({"thumb": "sideways"}, 400),
        ({"value": "3"}, 400),
        ({"metric": "METRIC", "value": "nan"}, 400),
        ({"metric": "METRIC", "value": "6"}, 400),
        ({"metric": str(new_id()), "value": "3"}, 404),
        ({"note": "x" * 10_001}, 400),
    ],
)
def test_what_cannot_be_is_refused(client, url, batch, stars, data, status):
    run = batch.runs.first()
    data = {name: str(stars.pk) if value == "METRIC" else value for name, value in data.items()}
    assert client.post(f"{url}/{run.pk}", data, HTTP_HX_REQUEST="true").status_code == status
    assert not EvalScore.objects.exists()
    assert not Thumb.objects.exists()


def test_a_cell_without_an_answer_gets_no_score(client, url, batch, stars):
    run = batch.runs.first()
    batch.runs.filter(pk=run.pk).update(state="failed")
    data = {"metric": str(stars.pk), "value": "3"}
    assert client.post(f"{url}/{run.pk}", data, HTTP_HX_REQUEST="true").status_code == 409


def test_raters_review_and_viewers_do_not(client, url, org, batch):
    run = batch.runs.first()
    for role, status in (("rater", 200), ("viewer", 403)):
        client.force_login(factories.make_user(org=org, role=role))
        assert client.get(url).status_code == status
        assert client.post(f"{url}/{run.pk}", {"thumb": "up"}).status_code == status


def test_other_experiments_and_orgs_are_404(client, url, org, experiment, batch):
    foreign = factories.make_experiment(factories.make_org(), inputs=1, variants=1)
    own = factories.make_experiment(org, inputs=1, variants=1)
    theirs, ours = factories.make_run(foreign), factories.make_run(own)
    metric = factories.make_metric(foreign.org, "theirs")
    base = url.rpartition("/experiments/")[0] + "/experiments"
    answers = [
        client.get(f"{base}/{foreign.pk}/review"),
        client.get(f"{url}?batch={theirs.batch_id}"),
        client.get(f"{url}?batch={ours.batch_id}"),
        client.get(f"{url}?batch=nonsense"),
        client.post(f"{url}/{theirs.pk}", {"thumb": "up"}),
        client.post(f"{url}/{ours.pk}", {"thumb": "up"}),
        client.post(f"{url}/{batch.runs.first().pk}", {"metric": str(metric.pk), "value": "1"}),
    ]
    assert [answer.status_code for answer in answers] == [404] * len(answers)


def test_pages_without_a_cell_say_why(client, url, org, experiment, batch):
    assert "No cell of this batch fits" in client.get(f"{url}?state=failed").content.decode()
    empty = Experiment.objects.create(org=org, name="Empty")
    page = f"/app/orgs/{org.pk}/experiments/{empty.pk}/review"
    assert "run the experiment first" in client.get(page).content.decode()
    for odd in ("run=nonsense", f"run={new_id()}", "state=odd", "metric=odd", "rated=odd", "blind=odd"):
        assert place(client.get(f"{url}?{odd}")) == ("1", "6")


def test_a_link_stays_with_its_batch_when_a_newer_one_comes(client, url, experiment, batch):
    answer = client.get(url)
    factories.make_run(experiment)
    assert place(client.get(f"{url}{way(answer, 'j')}")) == ("2", "6")


def test_the_queries_do_not_grow_with_the_batch(client, url, batch, stars, django_assert_max_num_queries):
    with django_assert_max_num_queries(16):
        client.get(url)
    first = batch.runs.first()
    for repeat in range(2, 40):
        first.pk, first.repeat, first._state.adding = new_id(), repeat, True
        first.save()
    with django_assert_max_num_queries(16):
        assert place(client.get(url))[1] == "44"


def test_ten_thousand_cells_are_put_in_order_by_their_ids_alone():
    ids = [new_id() for _ in range(10_000)]
    assert len(set(review.shuffled(ids, new_id(), new_id()))) == 10_000
