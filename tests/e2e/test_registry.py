"""The pages of chat profiles and of models in a browser, on a real server and a fake Ollama."""

from __future__ import annotations

import threading

import pytest
from playwright.sync_api import expect

from experiments.models import ExperimentVariant
from llm_routing import services
from llm_routing.models import ChatProfile, ModelDefault, Provider, RegisteredModel
from tests import factories
from tests.e2e.conftest import require_accessible
from tests.fakes.ollama import FakeOllama, model, stream
from tests.fakes.server import Pause, json_script

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]
MANIFEST = {"status": "pulling manifest"}
PROMPT = "You are a kind assistant.\nAnswer in one sentence."


@pytest.fixture
def fake(settings):
    settings.PRIVATE_PROVIDER_NETWORKS = ["127.0.0.0/8"]
    with FakeOllama() as server:
        yield server


@pytest.fixture
def models(org, fake):
    """A shared toy, an own Ollama with a model of each sort, and a default."""
    toy = factories.make_model("smollm2:135m", slug="embedded", kind="openai_compatible")
    Provider.objects.filter(pk=toy.provider_id).update(name="Embedded model", is_toy=True)
    own = factories.make_model(
        "llama3.2:1b",
        base_url=fake.url,
        org=org,
        slug="gpu",
        digest="a" * 64,
        size_bytes=1_300_000_000,
        context_tokens=131_072,
        capabilities=["completion", "tools"],
        details={"parameter_size": "1.2B", "quantization_level": "Q8_0"},
    )
    Provider.objects.filter(pk=own.provider_id).update(name="GPU in the basement")
    factories.make_model("gpt-oss:120b-cloud", base_url=fake.url, org=org, slug="gpu")
    factories.make_model("old:7b", base_url=fake.url, org=org, slug="gpu", available=False)
    factories.set_default_model(org, toy)
    return own


def sign_in(page, user):
    page.goto("/login")
    page.get_by_label("User name").fill(user.username)
    page.get_by_label("Password").fill(factories.PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/app/**")


def at_390(page):
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    require_accessible(page)
    page.set_viewport_size({"width": 1440, "height": 900})


def test_a_profile_from_its_making_to_an_earlier_version(signed_in, org, models):
    page = signed_in
    page.get_by_role("link", name="Profiles", exact=True).click()
    expect(page.get_by_text("No chat profiles yet.")).to_be_visible()
    require_accessible(page)

    page.get_by_role("button", name="New").click()
    dialog = page.get_by_role("dialog")
    create = dialog.get_by_role("button", name="Create")
    expect(create).to_be_disabled()
    dialog.get_by_label("Name").fill("Kind")
    dialog.get_by_label("System prompt").fill(PROMPT)
    dialog.get_by_label("Model").select_option(label="llama3.2:1b · GPU in the basement")
    create.click()
    expect(page.get_by_role("heading", name="Kind")).to_be_visible()
    profile = ChatProfile.objects.get()
    assert (profile.system_prompt, profile.model_provider, profile.version) == (PROMPT, "gpu", 1)

    page.locator("#profile-prompt").fill(PROMPT.replace("kind", "<b>strict</b>"))
    page.locator("#profile-max-tokens").fill("200")
    page.get_by_role("button", name="Save as a new version").click()
    expect(page.get_by_text("version 2", exact=True)).to_be_visible()
    page.get_by_text("system prompt, max tokens").click()
    expect(page.locator("del").first).to_have_text("kind")
    expect(page.locator("ins").first).to_have_text("<b>strict</b>")
    require_accessible(page)

    page.get_by_text("Version 1", exact=True).click()
    page.get_by_role("link", name="Since then").click()
    expect(page.locator(".version[open]").last.locator("ins").first).to_have_text("<b>strict</b>")
    page.get_by_role("button", name="Restore this version").click()
    expect(page.get_by_text("from version 1")).to_be_visible()
    expect(page.locator("#profile-prompt")).to_have_value(PROMPT)
    profile.refresh_from_db()
    assert (profile.version, profile.system_prompt, profile.max_tokens) == (3, PROMPT, None)
    at_390(page)


def test_a_profile_that_a_variant_uses_stays(signed_in, org, models):
    profile = factories.make_profile(org, "Busy", model_provider="gpu", model_name="llama3.2:1b")
    experiment = factories.make_experiment(org, name="Tone of voice")
    variant = ExperimentVariant.objects.create(experiment=experiment, name="Kind one", chat_profile=profile)
    page = signed_in
    page.goto(f"/app/orgs/{org.pk}/profiles/{profile.pk}")
    expect(page.get_by_role("link", name="Kind one")).to_be_visible()
    page.get_by_role("button", name="Delete").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("It is used by 1 variant")).to_be_visible()
    expect(dialog.get_by_role("button", name="Delete")).to_be_disabled()
    require_accessible(page)
    variant.delete()
    page.reload()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_text("No chat profiles yet.")).to_be_visible()
    assert not ChatProfile.objects.exists()


def test_a_refusal_is_readable_over_the_open_dialog(chromium, site, org, alice, models):
    """In a page of its own: a browser notes every answer of 409 in its console."""
    factories.make_profile(org, "Taken")
    with chromium.new_context(base_url=site.url) as context:
        page = context.new_page()
        sign_in(page, alice)
        page.goto(f"/app/orgs/{org.pk}/profiles")
        page.get_by_role("button", name="New").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Name").fill("Taken")
        dialog.get_by_role("button", name="Create").click()
        expect(dialog.get_by_text("There is already another chat profile")).to_be_visible()
        dialog.get_by_role("button", name="Cancel").click()
        expect(page.locator("body > #snackbar")).to_have_count(1)


def test_models_tell_what_they_are(signed_in, org, models):
    page = signed_in
    page.get_by_role("link", name="Models", exact=True).click()
    row = page.get_by_role("row").filter(has_text="llama3.2:1b")
    for text in ("131,072", "1.3 GB", "1.2B Q8_0", "a" * 12, "tools"):
        expect(row.get_by_text(text).first).to_be_visible()
    cloud = page.get_by_role("row").filter(has_text="gpt-oss")
    expect(cloud.get_by_text("text leaves the house")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="old:7b").get_by_text("gone")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="smollm2").get_by_text("toy")).to_be_visible()
    require_accessible(page)
    at_390(page)

    row.get_by_role("button", name="Make llama3.2:1b the default").click()
    expect(row.get_by_text("default", exact=True)).to_be_visible()
    assert ModelDefault.objects.get(org=org).model == models
    row.get_by_label("Context to load llama3.2:1b with").fill("8192")
    row.get_by_label("Context to load llama3.2:1b with").press("Enter")
    expect(page.get_by_text("loaded with 8,192 tokens of context")).to_be_visible()
    assert RegisteredModel.objects.get(pk=models.pk).num_ctx == 8192

    page.get_by_label("Find").fill("gpt-oss")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("row").filter(has_text="llama3.2:1b")).to_have_count(0)
    expect(page).to_have_url(f"{page.url.partition('?')[0]}?q=gpt-oss")


def test_a_connection_is_tested_and_models_are_synced(signed_in, org, models, fake):
    page = signed_in
    page.goto(f"/app/orgs/{org.pk}/models")
    page.get_by_role("button", name="Test the connection of GPU in the basement").click()
    expect(page.get_by_text("Reachable: Ollama 0.33.0 with 1 model.")).to_be_visible()
    require_accessible(page)
    expect(page.get_by_role("button", name="Test the connection of Embedded model")).to_have_count(0)

    fake.enqueue(json_script({"error": "no"}, status=401))
    page.get_by_role("button", name="Test the connection of GPU in the basement").click()
    expect(page.get_by_text("wants a key, and none is set")).to_be_visible()
    require_accessible(page)

    fake.enqueue(json_script({"models": [model("new:3b", context_length=4096)]}))
    page.get_by_role("button", name="Sync GPU in the basement").click()
    expect(page.get_by_text("1 added, 0 updated, 2 gone")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="new:3b")).to_be_visible()


def test_a_model_is_pulled_with_progress(signed_in, org, models, fake):
    layer = {"status": "pulling aaa", "digest": "sha256:aaa", "total": 4_000_000_000}
    goes_on = threading.Event()
    fake.enqueue(
        stream(
            {"status": "pulling manifest"},
            {**layer, "completed": 1_000_000_000},
            Pause(until=goes_on),
            {"status": "success"},
        ),
        json_script({"models": [model("qwen3:4b", context_length=4096)]}),
    )
    page = signed_in
    page.goto(f"/app/orgs/{org.pk}/models")
    page.get_by_role("button", name="Pull a model onto GPU in the basement").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name, such as").fill("qwen3:4b")
    dialog.get_by_role("button", name="Pull").click()
    expect(dialog.get_by_text("1.0 GB of 4.0 GB, 25 %")).to_be_visible()
    expect(dialog.get_by_role("progressbar")).to_have_attribute("value", "0.25")
    require_accessible(page)
    goes_on.set()
    expect(dialog.get_by_text("qwen3:4b is there. 1 new in the registry.")).to_be_visible()
    dialog.get_by_role("button", name="Close").click()
    expect(page.get_by_role("row").filter(has_text="qwen3:4b")).to_be_visible()


def test_a_pull_is_stopped_and_may_fail(signed_in, org, models, fake):
    fake.enqueue(stream(MANIFEST, Pause()))
    page = signed_in
    page.goto(f"/app/orgs/{org.pk}/models")
    page.get_by_role("button", name="Pull a model onto GPU in the basement").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name, such as").fill("qwen3:4b")
    dialog.get_by_role("button", name="Pull").click()
    expect(dialog.get_by_text("pulling manifest")).to_be_visible()
    dialog.get_by_role("button", name="Stop").click()
    expect(dialog.get_by_text("Stopped.")).to_be_visible()
    fake.wait_until_left(fake.requests[-1])

    fake.enqueue(stream(MANIFEST, {"error": "pull model manifest: file does not exist"}))
    dialog.get_by_role("button", name="Pull").click()
    expect(dialog.get_by_text("There is no model qwen3:4b to pull.")).to_be_visible()
    require_accessible(page)


def test_readers_see_all_and_change_nothing(page, org, models):
    viewer = factories.make_user("vera", org=org, role="viewer")
    sign_in(page, viewer)
    profile = factories.make_profile(org, model_provider="gpu", model_name="llama3.2:1b")
    services.update_profile(profile, actor=viewer, temperature=0.1)
    page.goto(f"/app/orgs/{org.pk}/profiles/{profile.pk}")
    expect(page.get_by_label("Name")).to_be_disabled()
    expect(page.get_by_role("button", name="Save as a new version")).to_have_count(0)
    page.get_by_text("Version 1", exact=True).click()
    expect(page.get_by_role("link", name="Since then")).to_be_visible()
    expect(page.get_by_role("button", name="Restore this version")).to_have_count(0)
    page.goto(f"/app/orgs/{org.pk}/models")
    expect(page.get_by_role("row").filter(has_text="llama3.2:1b")).to_be_visible()
    for name in ("Sync", "Test the connection", "Pull a model", "Make"):
        expect(page.get_by_role("button", name=name)).to_have_count(0)
