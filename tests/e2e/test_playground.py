"""The bench as a person uses it: in Chromium, on a real server and provider."""

from __future__ import annotations

import ast
import json
import re
import shlex
import threading

import pytest
from playwright.sync_api import expect

from experiments.models import ExperimentInput, ExperimentVariant
from llm_routing.models import ChatProfile
from playground.models import PlaygroundMessage, PlaygroundSession
from tests import factories
from tests.e2e.conftest import require_accessible
from tests.fakes.ollama import FakeOllama, answer, last, piece, stream
from tests.fakes.server import Cut, Pause

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]
SLOW = 30_000  # a busy machine may take its time
NASTY = 'it\'s "quoted" \\ $HOME `id` %s\n<img src=x onerror=alert(1)> é\u2028 {{ x'


@pytest.fixture
def model(org, ollama):
    model = factories.make_model(base_url=ollama.base_url, slots=8)
    factories.set_default_model(org, model)
    return model


@pytest.fixture
def scripted(org):
    """A model server that says what a test wants it to."""
    with FakeOllama() as server:
        factories.set_default_model(org, factories.make_model(base_url=server.url, slots=8))
        yield server


@pytest.fixture
def bench(signed_in, org):
    """Opens the playground, perhaps with something after the #."""
    page = signed_in

    def open_bench(begin=""):
        page.goto(f"/app/orgs/{org.pk}/playground{begin}")
        expect(page.locator(".column")).not_to_have_count(0)
        return page

    return open_bench


def column(page, letter):
    return page.get_by_role("region", name=f"Column {letter}", exact=True)


def output(page, letter=None):
    place = column(page, letter) if letter else page
    return place.get_by_role("region", name="What the model wrote")


def write(page, prompt):
    page.get_by_label("Write a prompt").fill(prompt)


def run(page):
    page.get_by_role("button", name="Run", exact=True).click()


def test_one_column_streams(bench, model):
    page = bench()
    button = page.get_by_role("button", name="Run")
    expect(button).to_be_disabled()
    first = page.get_by_label("Chat profile", exact=True).locator("option").first
    expect(first).to_have_text("None (custom)")
    require_accessible(page)
    write(page, "   ")
    expect(button).to_be_disabled()
    write(page, "wait sleep-1")
    page.get_by_label("Temperature").fill("1.2")
    button.click()
    expect(page.get_by_role("button", name="Running…")).to_be_disabled()
    expect(output(page)).to_have_text("echo: wait sleep-1", timeout=SLOW)
    expect(page.locator("#latency")).to_contain_text(" ms")
    expect(page.locator(".figures")).to_contain_text("Tokens out5")
    expect(page.locator("#announcer")).to_contain_text("The answer is there.")
    expect(button).to_be_enabled()
    assert PlaygroundSession.objects.get().temperature == 1.2
    require_accessible(page)
    page.reload()
    expect(output(page)).to_have_text("echo: wait sleep-1")
    expect(page.get_by_label("Temperature")).to_have_value("1.2")
    expect(page.get_by_label("Write a prompt")).to_have_value("wait sleep-1")


def test_stopping_ends_the_call_and_keeps_what_came(bench, scripted):
    scripted.enqueue(stream(piece("One"), Pause(20), last()))
    page = bench()
    write(page, "count")
    run(page)
    expect(output(page)).to_have_text("One")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("[data-part=error]")).to_have_text("Stopped.")
    expect(page.get_by_text("only a part")).to_be_visible()
    expect(page.get_by_role("button", name="Run", exact=True)).to_be_enabled()
    scripted.wait_until_left(scripted.requests[0])
    assert PlaygroundMessage.objects.get(role="assistant").content == "One"


def test_an_error_is_shown_in_words(bench, model):
    page = bench()
    write(page, "this is too-long")
    run(page)
    expect(page.locator("[data-part=error]")).to_have_text("too long: 931 of 512 tokens", timeout=SLOW)


def test_six_columns_are_answered_each_by_its_own_settings(bench, model):
    page = bench()
    write(page, "hello {{ name }}")
    expect(page.get_by_role("button", name="Run", exact=True)).to_be_disabled()
    page.get_by_label("name", exact=True).fill("{{ name }}<b>")
    for _ in range(5):
        page.get_by_role("button", name="Add column").click()
    expect(page.get_by_role("button", name="Add column")).to_be_disabled()
    column(page, "F").get_by_label("Temperature").fill("0")
    run(page)
    for letter in "ABCDEF":
        expect(output(page, letter)).to_have_text("echo: hello {{ name }}<b>", timeout=SLOW)
    expect(page.locator("#latency")).to_have_text("6 of 6")
    temperatures = PlaygroundSession.objects.order_by("column").values_list("temperature", flat=True)
    assert list(temperatures) == [0.7] * 5 + [0.0]
    require_accessible(page)


def test_columns_are_duplicated_and_removed_by_keyboard(bench, model):
    page = bench()
    page.get_by_label("Max tokens (optional)").fill("7")
    page.get_by_role("button", name="Add column").press("Enter")
    page.get_by_role("button", name="Duplicate column B").press("Enter")
    expect(column(page, "C").get_by_text("at most 7 tokens")).to_be_visible()
    expect(page.get_by_role("button", name="Duplicate column C")).to_be_focused()
    page.get_by_role("button", name="Remove column A").press("Enter")
    expect(page.locator(".column")).to_have_count(2)
    expect(page.get_by_role("button", name="Remove column A")).to_be_focused()
    page.get_by_role("button", name="Remove column B").press("Enter")
    expect(page.get_by_role("heading", name="Settings")).to_be_visible()
    expect(page.get_by_label("Max tokens (optional)")).to_have_value("7")


def test_one_column_is_stopped_and_the_other_goes_on(bench, scripted):
    goes_on = threading.Event()
    scripted.enqueue(*[stream(piece("One"), Pause(until=goes_on), piece(" two"), last())] * 2)
    page = bench()
    page.get_by_role("button", name="Add column").click()
    write(page, "count")
    run(page)
    expect(output(page, "A")).to_have_text("One")
    column(page, "A").get_by_role("button", name="Stop").click()
    expect(column(page, "A").locator("[data-part=error]")).to_have_text("Stopped.", timeout=3000)
    goes_on.set()
    expect(output(page, "B")).to_have_text("One two", timeout=SLOW)
    expect(output(page, "A")).to_have_text("One")


def test_a_provider_that_dies_in_one_column_is_told_there(bench, scripted):
    scripted.enqueue(stream(piece("One"), Cut()), stream(piece("One"), Cut()))
    page = bench()
    page.get_by_role("button", name="Add column").click()
    write(page, "count")
    run(page)
    for letter in "AB":
        expect(column(page, letter).locator("[data-part=error]")).to_be_visible(timeout=SLOW)
        expect(column(page, letter).get_by_text("only a part")).to_be_visible()
        expect(output(page, letter)).to_have_text("One")
    require_accessible(page)


def test_repeats_show_how_far_answers_spread(bench, scripted):
    scripted.enqueue(answer("Yes"), answer("No"), answer("Yes"), answer("Yes"))
    page = bench()
    write(page, "well?")
    page.get_by_label("time").fill("4")
    run(page)
    spread = page.get_by_role("region", name="Spread")
    expect(spread.get_by_text("4 answers, 2 different ones")).to_be_visible(timeout=SLOW)
    expect(spread.locator(".distinct").first).to_have_text(re.compile("3.Yes"))
    expect(spread.get_by_text("Length: 2 to 3 characters, middle 3")).to_be_visible()
    spread.get_by_role("button", name="No").click()
    expect(output(page)).to_have_text("No")
    expect(page.get_by_role("group", name="Answers").get_by_role("button")).to_have_count(4)
    require_accessible(page)


def test_an_answer_by_a_schema_says_whether_it_fits(bench, scripted, refusals):
    refusals.add(400)
    scripted.enqueue(answer('{"n": "one"}'))
    page = bench()
    write(page, "number, please")
    page.get_by_text("Advanced").click()
    page.get_by_label("Format of the answer").select_option("schema")
    page.get_by_label("JSON schema").fill('{"type": ')
    run(page)
    expect(page.locator("[data-part=settings-error]")).to_contain_text("JSON schema: This is no JSON.")
    page.get_by_label("JSON schema").fill('{"type": "obejct"}')
    run(page)
    expect(page.locator("[data-part=settings-error]")).to_contain_text("'obejct' is not valid")
    assert scripted.requests == []
    page.get_by_label("JSON schema").fill('{"properties": {"n": {"type": "integer"}}}')
    run(page)
    expect(page.get_by_text("✕ not as asked for")).to_be_visible(timeout=SLOW)
    expect(output(page)).to_have_text('{"n": "one"}')
    require_accessible(page)


def test_thinking_is_folded_apart(bench, scripted):
    scripted.enqueue(stream(piece(thinking="Hm, <b>42</b>?"), piece("Yes"), last()))
    page = bench()
    write(page, "well?")
    run(page)
    expect(output(page)).to_have_text("Yes", timeout=SLOW)
    thought = page.locator("[data-part=thought]")
    expect(thought).to_be_hidden()
    page.locator(".thinking summary").click()
    expect(thought).to_have_text("Hm, <b>42</b>?")


def test_words_that_differ_are_marked(bench, scripted):
    scripted.enqueue(*[answer("the quick <b>fox</b>")] * 2)
    page = bench()
    page.get_by_role("button", name="Add column").click()
    write(page, "well?")
    run(page)
    expect(page.locator("#latency")).to_have_text("2 of 2", timeout=SLOW)
    page.get_by_label("Show the words that differ from").select_option("A")
    expect(output(page, "B").locator("ins, del")).to_have_count(0)
    PlaygroundMessage.objects.filter(session__column=1, role="assistant").update(
        content="the slow <b>fox</b> jumps"
    )
    page.reload()
    page.get_by_label("Show the words that differ from").select_option("A")
    expect(output(page, "B").locator("del")).to_have_text(["quick"])
    expect(output(page, "B").locator("ins")).to_have_text(["slow", " jumps"])
    expect(output(page, "A").locator("ins, del")).to_have_count(0)
    require_accessible(page)


@pytest.mark.parametrize("advanced", [False, True])
def test_a_column_as_curl_and_as_python(bench, scripted, org, advanced):
    page = bench()
    write(page, NASTY)
    page.get_by_label("System prompt (optional)").fill(NASTY)
    if advanced:
        page.get_by_text("Advanced").click()
        page.get_by_label("Format of the answer").select_option("json")
        page.get_by_label("Stop sequences (optional)").fill("\\n'\nEND")
        page.get_by_label("Thinking").select_option("false")
        scripted.enqueue(answer("{}"))
    run(page)
    expect(page.locator(".figures")).to_be_visible(timeout=SLOW)
    page.get_by_role("button", name="Code").click()
    route = "compare/stream" if advanced else "complete"
    sent = {
        "temperature": 0.7,
        "topP": 1,
        "systemPrompt": NASTY,
        "modelName": "tiny:1b",
        "modelProvider": "ollama",
    }
    if advanced:
        column = {**sent, "format": "json", "stop": ["\n'", "END"], "think": False}
        sent = {"prompt": NASTY, "columns": [column]}
    else:
        sent = {"prompt": NASTY, **sent}

    words = shlex.split(page.locator("#curl-code").text_content().replace("\\\n", ""))
    assert words[0] == "curl"
    assert json.loads(words[-1]) == sent
    assert any(word.endswith(f"/api/v1/orgs/{org.pk}/playground/{route}") for word in words)

    program = page.locator("#python-code").text_content()
    compile(program, "snippet", "exec")
    body = next(
        node.value
        for node in ast.parse(program).body
        if isinstance(node, ast.Assign) and node.targets[0].id == "body"
    )
    assert ast.literal_eval(body) == sent
    assert "Bearer YOUR_TOKEN" in program
    assert "Authorization: Bearer YOUR_TOKEN" in words
    require_accessible(page)


def test_a_conversation_goes_on_and_is_found_again(bench, model, org):
    page = bench()
    page.get_by_role("button", name="Add column").click()
    write(page, "first question")
    run(page)
    expect(page.locator("#latency")).to_have_text("2 of 2", timeout=SLOW)
    page.get_by_label("Continue the conversation").check()
    write(page, "second question")
    page.get_by_role("button", name="Send").click()
    for letter in "AB":
        expect(output(page, letter)).to_have_text("echo: second question", timeout=SLOW)
        expect(column(page, letter).locator(".turn-prompt")).to_have_text(
            ["first question", "second question"]
        )
    expect(page.get_by_role("button", name="Send")).to_be_visible()  # not "Running…": both are recorded
    assert PlaygroundSession.objects.count() == 2
    assert PlaygroundMessage.objects.count() == 8
    require_accessible(page)

    page.get_by_role("link", name="History").click()
    entry = page.get_by_role("listitem").filter(has_text="first question")
    expect(entry).to_contain_text("2 columns")
    require_accessible(page)
    page.get_by_label("Search prompts and models").fill("nothing like it")
    expect(page.get_by_text("Nothing that you tried has these words in it.")).to_be_visible()
    page.get_by_label("Search prompts and models").fill("second")
    page.get_by_role("link", name="first question").click()
    expect(output(page, "B")).to_have_text("echo: second question")
    expect(column(page, "B").locator(".turn-answer")).to_have_text(["echo: first question"])

    page.get_by_role("link", name="History").click()
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete: first question").click()
    expect(page.get_by_text("Nothing yet.")).to_be_visible()
    assert not PlaygroundSession.objects.exists()


def test_what_was_found_goes_into_an_experiment(bench, model, org, refusals):
    refusals.add(409)
    experiment = factories.make_experiment(org, inputs=2, name="<i>Tone</i>")
    page = bench()
    write(page, "Say {{ input }} kindly")
    page.get_by_label("input", exact=True).fill("no")
    page.get_by_label("System prompt (optional)").fill("Be kind.")
    page.get_by_label("Max tokens (optional)").fill("50")
    run(page)
    expect(output(page)).to_have_text("echo: Say no kindly", timeout=SLOW)

    page.get_by_role("button", name="Add as variant").click()
    dialog = page.get_by_role("dialog", name="Add as variant")
    expect(dialog.get_by_label("Experiment")).to_have_value(str(experiment.pk))
    dialog.get_by_label("Name of the variant").fill("kind")
    require_accessible(page)
    dialog.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_text("Added to <i>Tone</i>.")).to_be_visible()
    variant = ExperimentVariant.objects.get()
    assert (variant.name, variant.system_prompt) == ("kind", "Be kind.")
    assert variant.config == {
        "temperature": 0.7,
        "topP": 1,
        "maxTokens": 50,
        "modelName": "tiny:1b",
        "modelProvider": "ollama",
        "promptTemplate": "Say {{ input }} kindly",
    }

    page.get_by_role("button", name="Add prompt as input").click()
    dialog = page.get_by_role("dialog", name="Add prompt as input")
    expect(dialog.get_by_label("Key")).to_have_value("case_3")
    dialog.get_by_label("Key").fill("case_1")
    dialog.get_by_role("button", name="Add", exact=True).click()
    expect(dialog.get_by_role("alert")).to_contain_text("these keys already")
    dialog.get_by_label("Key").fill("case_9")
    dialog.get_by_role("button", name="Add", exact=True).click()
    expect(dialog).to_be_hidden()
    added = ExperimentInput.objects.get(key="case_9")
    assert (added.content, added.expected) == ("Say no kindly", "echo: Say no kindly")


def test_settings_are_saved_as_a_chat_profile_and_can_be_chosen(bench, model, org):
    page = bench()
    write(page, "hi")
    page.get_by_label("System prompt (optional)").fill("Be kind.")
    page.get_by_label("Temperature").fill("0.3")
    run(page)
    page.get_by_role("button", name="Save as chat profile").click(timeout=SLOW)
    dialog = page.get_by_role("dialog", name="Save as chat profile")
    dialog.get_by_label("Name of the profile").fill("Kind")
    dialog.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved as Kind.")).to_be_visible()
    profile = ChatProfile.objects.get()
    assert (profile.system_prompt, profile.temperature, profile.model_name) == ("Be kind.", 0.3, "tiny:1b")
    page.get_by_label("System prompt (optional)").fill("")
    page.get_by_label("Chat profile", exact=True).select_option(label="Kind")
    expect(page.get_by_label("Model", exact=True)).to_be_hidden()
    run(page)
    expect(page.get_by_role("button", name="Run", exact=True)).to_be_enabled(timeout=SLOW)
    session = PlaygroundSession.objects.latest("created_at")
    assert session.chat_profile == profile
    assert session.messages.first().content == "Be kind."


def test_a_system_prompt_beside_the_profiles_is_there_again(bench, model, org):
    factories.make_profile(org, name="Kind", system_prompt="Be kind.")
    page = bench()
    page.get_by_label("Chat profile", exact=True).select_option(label="Kind")
    page.get_by_label("System prompt (optional)").fill("Be brief.")
    write(page, "hi")
    run(page)
    expect(output(page)).to_have_text("echo: hi", timeout=SLOW)
    page.reload()
    expect(output(page)).to_have_text("echo: hi")
    expect(page.get_by_label("Chat profile", exact=True).locator("option:checked")).to_have_text("Kind")
    expect(page.get_by_label("System prompt (optional)")).to_have_value("Be brief.")


def test_a_cell_opens_in_the_playground(signed_in, org, model):
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": NASTY}]
    parameters = {
        "temperature": 0.2,
        "top_p": 0.9,
        "max_tokens": 5,
        "seed": 7,
        "stop": ["\n"],
        "format": "json",
    }
    experiment = factories.make_experiment(org, inputs=1, variants=1)
    cell = factories.make_run(experiment, messages=messages, parameters=parameters)
    page = signed_in
    page.goto(f"/app/orgs/{org.pk}/experiments/runs/{cell.pk}")
    page.get_by_role("link", name="Open in the playground").click()
    expect(page.get_by_label("Write a prompt")).to_have_value(NASTY)
    expect(page.get_by_label("System prompt (optional)")).to_have_value("Be kind.")
    expect(page.get_by_label("Temperature")).to_have_value("0.2")
    page.get_by_text("Advanced").click()
    expect(page.get_by_label("Seed (optional)")).to_have_value("7")
    expect(page.get_by_label("Stop sequences (optional)")).to_have_value("\\n")
    assert "#" not in page.url


@pytest.mark.parametrize(
    "values", ["nonsense", "%7B", '{"columns": 3}', '{"columns": [null, 5, {"temperature": "hot"}]}', "[]"]
)
def test_an_address_that_is_no_good_opens_an_empty_bench(bench, model, values):
    page = bench(f"#open={values}")
    expect(page.get_by_label("Write a prompt")).to_have_value("")
    expect(page.get_by_label("Temperature").first).to_have_value("0.7")


def test_a_column_with_a_model_that_is_gone_says_so_in_its_place(bench, model, refusals):
    refusals.add(404)
    columns = json.dumps(
        {"prompt": "hi", "columns": [{}, {"modelName": "gone:1b", "modelProvider": "ollama"}]}
    )
    page = bench(f"#open={columns}")
    run(page)
    expect(column(page, "B").locator("[data-part=settings-error]")).to_contain_text("no model gone:1b")
    assert not PlaygroundSession.objects.exists()


def test_on_a_phone_columns_are_swiped_and_the_page_is_not(bench, model):
    page = bench()
    page.set_viewport_size({"width": 390, "height": 844})
    page.get_by_role("button", name="Add column").click()
    write(page, "word " * 100)
    run(page)
    expect(page.locator("#latency")).to_have_text("2 of 2", timeout=SLOW)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    strip = page.locator("#columns")
    assert strip.evaluate("strip => strip.scrollWidth > strip.clientWidth")
    require_accessible(page)


def test_who_may_not_use_it_is_told_the_permission(signed_in, org, model, alice, refusals):
    refusals.add(403)
    page = signed_in
    alice.memberships.update(role="rater")
    page.goto(f"/app/orgs/{org.pk}/playground")
    expect(page.get_by_text("org:playground:use")).to_be_visible()
