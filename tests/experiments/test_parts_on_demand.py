"""What the experiment's page fetches when somebody opens it."""

from __future__ import annotations

import pytest

from experiments.views.context import SHOWN_INPUTS
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def root(org):
    return f"/app/orgs/{org.pk}/experiments"


def get(client, user, url):
    client.force_login(user)
    return client.get(url, headers={"hx-request": "true"}).content.decode()


def test_the_first_inputs_as_text(client, alice, org, root):
    experiment = factories.make_experiment(org, inputs=SHOWN_INPUTS + 1, variants=0)
    experiment.inputs.filter(key="case_1").update(content="<b>bold</b>", expected="<i>")
    client.force_login(alice)
    page = client.get(f"{root}/{experiment.pk}").content.decode()
    assert f"Show {SHOWN_INPUTS + 1} inputs" in page
    assert "case_2" not in page
    text = get(client, alice, f"{root}/{experiment.pk}/inputs")
    assert text.count("list-item") == SHOWN_INPUTS
    assert f"The first {SHOWN_INPUTS} are shown." in text
    assert "&lt;b&gt;bold&lt;/b&gt;" in text
    assert "<q>&lt;i&gt;</q>" in text


def test_all_inputs_where_they_are_few(client, alice, org, root):
    experiment = factories.make_experiment(org, inputs=2, variants=0)
    text = get(client, alice, f"{root}/{experiment.pk}/inputs")
    assert "case_2" in text
    assert "are shown" not in text


def test_profiles_and_models_of_the_org_alone(client, alice, org, root):
    experiment = factories.make_experiment(org)
    own, model = factories.make_profile(org, "Ours"), factories.make_model()
    foreign = factories.make_profile(factories.make_org(), "Theirs")
    text = get(client, alice, f"{root}/{experiment.pk}/variants")
    assert str(own.pk) in text
    assert str(model.pk) in text
    assert str(foreign.pk) not in text


def test_another_org_s_experiment_is_not_found(client, alice, root):
    elsewhere = factories.make_experiment(factories.make_org())
    client.force_login(alice)
    for part in ("inputs", "variants"):
        assert client.get(f"{root}/{elsewhere.pk}/{part}").status_code == 404


def test_the_orgs_to_switch_to(client, alice, org):
    other, foreign = factories.make_org("Other"), factories.make_org("Foreign")
    alice.memberships.create(org=other, role="viewer")
    text = get(client, alice, f"/app/orgs/{org.pk}/menu")
    assert f"/app/orgs/{other.pk}/experiments" in text
    assert f'/app/orgs/{org.pk}/experiments" aria-current="true"' in text
    assert str(foreign.pk) not in text
