"""Lines of the log: one object each, with the ids of what they tell of, and nothing that people wrote."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from io import StringIO

import pytest
from django.db import DatabaseError, connection
from django.test import Client

from evalsuite import logs
from evalsuite.env import ROOT
from experiments.models import ExperimentRun
from experiments.services import calling, planning
from tests import factories

PROMPT, KEY = "canary-in-a-prompt", "canary-in-a-key"


@pytest.fixture
def told():
    """What our logging writes from here on, down to DEBUG of our own code; a function that gives it."""
    out = StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(logs.JsonFormatter())
    root, web = logging.getLogger(), logging.getLogger("evalsuite.web")
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    web.setLevel(logging.DEBUG)
    yield lambda: [json.loads(line) for line in out.getvalue().splitlines()]
    root.removeHandler(handler)
    root.setLevel(before)
    web.setLevel(logging.NOTSET)


def broken(words):
    try:
        try:
            float(words)  # its error repeats them
        except ValueError as error:
            raise RuntimeError(f"while reading {words}") from error
    except RuntimeError:
        return sys.exc_info()


def test_a_line_is_one_object_whatever_it_holds(told):
    logging.getLogger("any").warning("two\nlines and %s", '"quotes"')
    [line] = told()
    assert line["message"] == 'two\nlines and "quotes"'
    assert line["level"] == "WARNING"
    assert line["logger"] == "any"
    assert line["time"].endswith("+00:00")


def test_an_exception_is_one_field_with_the_way_it_came_and_without_its_words(told):
    logging.getLogger("any").error("it broke", exc_info=broken(PROMPT))
    [line] = told()
    came_from, _, led_to = line["exception"].partition("\nwhich led to\n")
    assert came_from.endswith("builtins.ValueError")
    assert led_to.endswith("builtins.RuntimeError")
    assert f"{__file__}:" in led_to
    assert " broken" in led_to
    assert PROMPT not in json.dumps(line)


@pytest.mark.parametrize("formatter", [logs.JsonFormatter, logs.LineFormatter])
def test_words_of_exceptions_come_where_that_is_wanted(formatter):
    record = logging.LogRecord("any", logging.ERROR, "x.py", 1, "it broke", (), broken(PROMPT))
    assert PROMPT not in formatter().format(record)
    assert PROMPT in formatter(exception_text=True).format(record)


def test_packages_that_quote_are_cut_short(told):
    logging.getLogger("celery.app.trace").error("Task work[1] raised unexpected: %r", ValueError(PROMPT))
    logging.getLogger("asyncio").error("Task was destroyed\nfuture: <exception=%s>", PROMPT)
    logging.getLogger("django.request").error("Internal Server Error: /invitations/%s", KEY)
    assert [line["message"] for line in told()] == [
        "Task work[1] ",
        "Task was destroyed",
        "Internal Server Error",
    ]


@pytest.mark.django_db
def test_a_request_has_its_line(told, alice, org):
    client = Client()
    client.force_login(alice)
    answer = client.get(f"/app/orgs/{org.pk}/experiments?q={PROMPT}")
    [line] = told()
    assert line["logger"] == "evalsuite.web"
    assert line["message"] == "request"
    assert line["method"] == "GET"
    assert line["route"].startswith("app/orgs/<")
    assert line["status"] == answer.status_code == 200
    assert 0 < line["ms"] < 60_000
    assert line["request"] == answer["X-Request-ID"]
    assert str(org.pk) not in json.dumps(line)
    assert PROMPT not in json.dumps(line)


@pytest.mark.django_db
def test_an_address_that_leads_nowhere_is_not_repeated(told):
    answer = Client().get(f"/no/such/{KEY}")
    [line] = told()
    assert (line["route"], line["status"]) == ("", answer.status_code)
    assert KEY not in json.dumps(line)


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/healthz", "/static/css/tokens.css"])
def test_what_is_asked_all_the_time_is_told_to_the_curious_alone(told, path):
    Client().get(path)
    assert [line["level"] for line in told()] == ["DEBUG"]


def test_a_refusal_of_the_database_quotes_no_row(told, org):
    """PostgreSQL repeats the whole row where a constraint does not hold."""
    experiment = factories.make_experiment(org, inputs=1, variants=1)
    run = factories.make_run(experiment, state="queued", output=PROMPT)
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE experiments_experimentrun SET repeat = NULL, output = %s WHERE id = %s",
                [PROMPT, run.pk if connection.vendor == "postgresql" else run.pk.hex],
            )
    except DatabaseError:
        logging.getLogger("any").exception("a result cannot be stored")
    [line] = told()
    assert "IntegrityError" in line["exception"]
    assert PROMPT not in json.dumps(line)


def test_failed_calls_tell_batch_and_run_and_neither_prompt_nor_key(
    org, ollama, embedded_worker, told, monkeypatch
):
    """A prompt that is refused, and a bug of ours in the middle of a call."""
    model = factories.make_model(base_url=ollama.base_url)
    model.provider.api_key = KEY
    model.provider.save()
    factories.set_default_model(org, model)
    experiment = factories.make_experiment(org, inputs=2, variants=1)
    experiment.inputs.update(content=f"{PROMPT} too-long")
    batch = planning.start_batch(experiment=experiment, author=None)
    assert planning.wait_until_finished(batch, timeout_s=60)

    def breaks(*_, **given):
        raise ValueError(f"{PROMPT} {KEY}")

    monkeypatch.setattr(calling.routing, "call", breaks)
    second = planning.start_batch(experiment=experiment, author=None)
    assert planning.wait_until_finished(second, timeout_s=60)

    lines = told()
    assert set(batch.runs.values_list("error_code", flat=True)) == {"PROMPT_TOO_LONG"}
    for number, found in ((batch, "a call failed"), (second, "broke")):
        mine = [line for line in lines if found in line["message"] and line.get("batch") == str(number.pk)]
        runs = {str(pk) for pk in ExperimentRun.objects.filter(batch=number).values_list("pk", flat=True)}
        assert {line["run"] for line in mine} == runs
    assert all("exception" in line for line in lines if "broke" in line["message"])
    whole = json.dumps(lines)
    assert PROMPT not in whole
    assert KEY not in whole


def test_a_thread_that_works_for_nobody_has_no_ids():
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(logs.ids).result() == {}


def environment(**more):
    """That of a deployment."""
    secret = "a-secret-that-is-long-enough-for-a-deployment"
    own = {
        "SECRET_KEY": secret,
        "JWT_SIGNING_KEY": secret[::-1],
        "FIELD_ENCRYPTION_KEYS": "bG9nLXRlc3QtbG9nLXRlc3QtbG9nLXRlc3QtbG9nLXQ=",
        "PATH": os.environ["PATH"],
        "DJANGO_SETTINGS_MODULE": "evalsuite.settings",
    }
    return own | more


@pytest.mark.parametrize(("given", "format_"), [({}, "json"), ({"LOG_FORMAT": "line"}, "line")])
def test_json_is_what_a_deployment_has_unless_told_otherwise(given, format_):
    code = "import django; django.setup(); import logging; logging.getLogger('any').warning('hello')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment(**given),
        capture_output=True,
        text=True,
        check=True,
    )
    [line] = done.stderr.splitlines()
    if format_ == "json":
        assert json.loads(line)["message"] == "hello"
    else:
        assert line.endswith("WARNING any: hello")


def test_another_format_is_refused():
    done = subprocess.run(
        [sys.executable, "-c", "import django; django.setup()"],
        cwd=ROOT,
        env=environment(LOG_FORMAT="xml"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode
    assert "LOG_FORMAT is 'xml'" in done.stderr
