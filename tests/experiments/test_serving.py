"""The whole product in one process: what it prepares, what it says, and that it ends when told to."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager

import pytest
from cryptography.fernet import Fernet
from django.core.management import call_command

from evalsuite.env import ROOT
from evalsuite.orgs.models import Membership, Org, User
from experiments import demo, serving, terminal
from experiments.models import Experiment
from llm_routing.models import Endpoint, ModelDefault, Provider, RegisteredModel
from tests import factories
from tests.experiments.conftest import wait_for
from tests.fakes import ollama as fake
from tests.fakes.openai import FakeOpenAI
from tests.fakes.server import Endless

STOP_WITHIN_S = 5


class OllamaForSale(fake.FakeOllama):
    """Thinks highly of every review, and tells stories that never end."""

    def default(self, seen):
        if seen.path != "/api/chat":
            return super().default(seen)
        if not seen.body["messages"]:
            return fake.answer(reason="load")
        if "story" in seen.body["messages"][-1]["content"]:
            return fake.stream(fake.piece("Once"), Endless(fake.line(fake.piece(" upon"))))
        return fake.answer('"positive"')


@pytest.fixture
def local_ollama(settings):
    with OllamaForSale() as server:
        settings.OLLAMA_URL = server.url
        yield server


@pytest.mark.django_db
class TestSeed:
    def test_first_start_makes_an_owner_whose_password_is_told(self):
        password = demo.seed()
        admin = User.objects.get(username="admin")
        assert admin.is_superuser
        assert admin.check_password(password)
        assert Membership.objects.get(user=admin).role == "owner"

    def test_sample_is_complete(self):
        demo.seed()
        sample = Experiment.objects.get(name=demo.SAMPLE)
        assert sample.inputs.count() == 16
        assert set(sample.inputs.values_list("expected", flat=True)) == {"positive", "negative"}
        configs = sample.variants.values_list("config", flat=True)
        assert [(config["temperature"], config["maxTokens"]) for config in configs] == [(0, 8)] * 3
        evaluator = sample.evaluators.get()
        assert (evaluator.kind, evaluator.metric.key, evaluator.metric.maximum) == (
            "exact_match",
            "correctness",
            1.0,
        )

    def test_later_starts_change_nothing(self):
        demo.seed()
        Experiment.objects.all().delete()
        assert demo.seed() is None
        assert not Experiment.objects.exists()

    def test_an_admin_who_was_there_keeps_the_password(self):
        factories.make_user("admin")
        assert demo.seed() is None
        assert User.objects.get(username="admin").check_password(factories.PASSWORD)

    def test_command_tells_the_password_once(self, capsys):
        call_command("seed_demo")
        call_command("seed_demo")
        assert capsys.readouterr().out.count("password") == 2  # the password, and how to set another

    def test_sample_waits_for_a_model_and_runs_once(self):
        demo.seed()
        assert demo.sample_to_run() is None
        demo.choose_default_model([factories.make_model()])
        sample = demo.sample_to_run()
        sample.batches.create(total=1)
        assert demo.sample_to_run() is None

    def test_default_model_is_chosen_once_and_again_when_it_is_gone(self):
        demo.seed()
        thinker = factories.make_model("a:1b", capabilities=["completion", "thinking"])
        plain = factories.make_model("b:1b", capabilities=["completion"])
        demo.choose_default_model([thinker, plain])
        assert ModelDefault.objects.get().model == plain
        demo.choose_default_model([thinker])
        assert ModelDefault.objects.get().model == plain
        RegisteredModel.objects.filter(pk=plain.pk).update(available=False)
        demo.choose_default_model([thinker])
        assert ModelDefault.objects.get().model == thinker


@pytest.mark.django_db
class TestModelsOfThisMachine:
    def test_ollama_is_preferred_and_the_embedded_model_is_away(self, local_ollama):
        toy = factories.make_model("toy", slug="embedded")
        said = []
        with serving.models_of_this_machine(said.append) as models:
            assert [model.name for model in models] == ["llama3.2:1b"]
        toy.refresh_from_db()
        assert not toy.available
        assert "offers 1 models" in said[0]

    def test_without_ollama_it_is_the_embedded_one_at_its_new_address(self, settings):
        settings.OLLAMA_URL = "http://127.0.0.1:9"
        for _ in range(2):
            with FakeOpenAI() as server:
                settings.EMBEDDED_URL = server.url
                with serving.models_of_this_machine(print) as models:
                    assert all(model.provider.is_toy for model in models)
            assert Endpoint.objects.get().base_url == server.url
        assert Provider.objects.get().slug == "embedded"

    def test_no_model_at_all_is_said_and_no_obstacle(self, settings):
        settings.OLLAMA_URL = settings.EMBEDDED_URL = "http://127.0.0.1:9"
        said = []
        with serving.models_of_this_machine(said.append) as models:
            assert models == []
        assert "There is no model yet." in said[0]


class TestOnlyProcess:
    def test_a_second_one_is_refused_until_the_first_is_gone(self, settings, tmp_path):
        settings.DATA_DIR = tmp_path
        with (
            serving.only_process(),
            pytest.raises(serving.AlreadyServing, match="running already"),
            serving.only_process(),
        ):
            pass
        with serving.only_process():
            pass

    def test_with_a_broker_there_may_be_many(self, settings, tmp_path):
        settings.DATA_DIR, settings.EMBEDDED_BROKER = tmp_path, False
        with serving.only_process(), serving.only_process():
            pass


def test_static_files_are_collected_when_they_change(settings, tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    (source / "a.css").write_text("a{}")
    settings.STATICFILES_DIRS, settings.STATIC_ROOT = [source], target
    settings.STATICFILES_FINDERS = ["django.contrib.staticfiles.finders.FileSystemFinder"]
    settings.WHITENOISE_USE_FINDERS = False
    assert serving.collect_static(print)
    assert (target / "a.css").exists()
    assert not serving.collect_static(print)
    (source / "a.css").write_text("a{color:red}")
    assert serving.collect_static(print)


@pytest.mark.parametrize(
    ("cells", "seconds", "text"),
    [
        (terminal.Count(0, 0, 0, 48), 0, "0/48 cells, 0 s"),
        (terminal.Count(12, 0, 0, 48), 3, "12/48 cells, 3 s, about 9 s left"),
        (terminal.Count(48, 2, 0, 48), 9.4, "48/48 cells, 9 s, 2 failed"),
    ],
)
def test_progress(cells, seconds, text):
    bar, _, words = terminal.progress(cells, seconds).partition("] ")
    assert words == text
    assert bar.count("#") == 30 * cells.closed // cells.total


# As processes


@pytest.fixture
def env(tmp_path):
    return {
        **os.environ,
        "DEBUG": "0",
        "HTTPS": "0",
        "DATA_DIR": str(tmp_path),
        "DATABASE_URL": f"sqlite:///{tmp_path}/evalsuite.sqlite3",
        "STATIC_ROOT": str(tmp_path / "static"),
        "STATICFILES_STORAGE": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage",
        "SECRET_KEY": secrets.token_urlsafe(48),
        "JWT_SIGNING_KEY": secrets.token_urlsafe(48),
        "FIELD_ENCRYPTION_KEYS": Fernet.generate_key().decode(),
    }


@contextmanager
def product(env, ollama):
    """`manage.py serve`; yields the process, what it said until it was up, and its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-u", "manage.py", "serve", "--port", str(port)],
        cwd=ROOT,
        env={**env, "OLLAMA_URL": ollama.url},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        said = ""
        for line in process.stdout:
            said += line
            if "Ctrl-C" in line:
                break
        yield process, said, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def post(url, body, token=""):
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json", "Authorization": token}
    )
    return urllib.request.urlopen(request, timeout=10)


def begin_story(url, password):
    """A stream of the playground that would never end by itself."""
    api = f"{url}/api/v1"
    pair = json.load(post(f"{api}/auth/token", {"username": "admin", "password": password}))
    token = f"Bearer {pair['access']}"
    listed = urllib.request.Request(f"{api}/orgs", headers={"Authorization": token})
    org = json.load(urllib.request.urlopen(listed, timeout=10))["orgs"][0]["id"]
    return post(f"{api}/orgs/{org}/playground/stream", {"prompt": "A story."}, token)


def test_from_nothing_to_a_served_console_and_back(env):
    with OllamaForSale() as ollama:
        with product(env, ollama) as (process, said, url):
            assert "48/48 cells" in said
            assert re.search(r"^Free wording +16 +0 .* 50% \(28% to 72%\)$", said, re.MULTILINE)
            password = re.search(r"as admin with the password (\S+)", said)[1]
            assert urllib.request.urlopen(f"{url}/healthz", timeout=5).status == 200
            stream = begin_story(url, password)
            assert any(b"Once" in line for line in stream)  # the model is at it
            begin = time.monotonic()
            process.send_signal(signal.SIGINT)
            assert process.wait(STOP_WITHIN_S) == 0
            assert time.monotonic() - begin < STOP_WITHIN_S
            wait_for(lambda: any(seen.left_at for seen in ollama.requests), timeout_s=5)
        with product(env, ollama) as (process, said, url):
            assert "cells" not in said  # the sample ran
            assert "Sign in as admin. To set another password" in said
            second = subprocess.run(
                [sys.executable, "manage.py", "serve", "--port", "0"],
                cwd=ROOT,
                env=env,
                capture_output=True,
                text=True,
                check=False,
            )
            assert second.returncode == 1
            assert "Evalsuite is running already" in second.stderr
            process.send_signal(signal.SIGTERM)
            assert process.wait(STOP_WITHIN_S) == 0


def test_the_password_is_nowhere_on_disk(env, tmp_path):
    with OllamaForSale() as ollama, product(env, ollama) as (_, said, _):
        password = re.search(r"with the password (\S+)", said)[1].encode()
        assert said.count(password.decode()) == 1
        files = [file for file in tmp_path.iterdir() if file.is_file()]
        assert any(file.suffix == ".sqlite3" for file in files)
        assert not any(password in file.read_bytes() for file in files)


@pytest.mark.django_db
def test_orgs_of_others_are_left_alone():
    other = factories.make_org("Elsewhere")
    demo.seed()
    assert Org.objects.exclude(pk=other.pk).get().slug == "demo"
