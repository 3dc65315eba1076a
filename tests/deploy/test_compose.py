"""compose.yaml: true to the schema, locked, on loopback, and in step with the settings."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest
import yaml

from evalsuite.env import ROOT
from tests.test_docs import settings_read

TEXT = (ROOT / "compose.yaml").read_text()
COMPOSE = yaml.safe_load(TEXT)
SERVICES = COMPOSE["services"]
OURS = {"web", "worker", "migrate"}
# Beside the product's own settings: what the other services are given.
OTHERS = {"POSTGRES_PASSWORD", "REDIS_PASSWORD", "GRAFANA_PASSWORD"}
SECRET_NAMES = re.compile(r"PASSWORD|TOKEN|SECRET|AUTH")


def test_it_fits_the_schema_of_the_compose_specification():
    command = ["check_jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml"]
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_every_part_is_there():
    assert {*OURS, "postgres", "redis", "ollama", "prometheus", "grafana"} == set(SERVICES)
    assert {SERVICES[name]["image"] for name in OURS} == {SERVICES["web"]["image"]}  # one image


@pytest.mark.parametrize("name", SERVICES)
def test_service_is_locked(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert any(place.startswith("/") for place in service["tmpfs"])


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_on_loopback_alone(name):
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)
    assert SERVICES[name].get("network_mode") is None


@pytest.mark.parametrize("name", SERVICES)
def test_image_is_pinned_by_a_tag(name):
    image, _, tag = SERVICES[name]["image"].rpartition(":")
    assert image
    assert re.search(r"\d+\.\d+", tag)


def test_database_and_broker_reach_nothing_outside():
    for name in ("postgres", "redis"):
        assert [COMPOSE["networks"][net]["internal"] for net in SERVICES[name]["networks"]] == [True]
        assert "ports" not in SERVICES[name]


def test_variables_are_those_of_the_settings():
    for name in OURS:
        assert set(SERVICES[name]["environment"]) <= settings_read()
    assert set(re.findall(r"\$\{([A-Z_]+)", TEXT)) <= settings_read() | OTHERS


def test_deployment_notes_tell_every_password_that_must_be_set():
    wanted = set(re.findall(r"\$\{([A-Z_]+):\?", TEXT))
    assert wanted == OTHERS | {"ALLOWED_HOSTS", "METRICS_TOKEN"}
    for document in ("README.md", ".env.example"):
        text = (ROOT / document).read_text()
        assert {name for name in wanted if name not in text} == set()


@pytest.mark.parametrize("name", SERVICES)
def test_no_secret_has_a_value_here(name):
    for variable, value in SERVICES[name].get("environment", {}).items():
        if SECRET_NAMES.search(variable):
            assert re.fullmatch(r"\$\{[A-Z_]+:\?[^}]+\}", value), variable


def test_web_answers_to_the_name_that_prometheus_asks_by():
    [job] = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]
    [target] = job["static_configs"][0]["targets"]
    assert target == "web:8000"
    assert SERVICES["web"]["environment"]["ALLOWED_HOSTS"].endswith(",web")


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_mounted_is_there_or_a_volume(name):
    for mount in SERVICES[name].get("volumes", []):
        source = mount.partition(":")[0]
        if source.startswith("./"):
            assert mount.endswith(":ro")
            assert (ROOT / source).is_dir()
        else:
            assert source in COMPOSE["volumes"]


@pytest.mark.skipif(not shutil.which("promtool"), reason="needs promtool")
def test_prometheus_starts_from_a_copy_with_the_token(tmp_path):
    """The shell line of the service, with folders of ours and a promtool that checks instead of serving."""
    [line] = SERVICES["prometheus"]["command"]
    place = tmp_path / "run"
    place.mkdir()
    line = line.replace("$$", "$").replace("/config/", f"{ROOT}/deploy/prometheus/")
    line = line.replace("/run/prometheus", str(place)).partition("&& exec prometheus")[0]
    line += f"&& promtool check config {place}/prometheus.yml"
    done = subprocess.run(
        ["/bin/sh", "-c", line],
        env={"METRICS_TOKEN": "a-token", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (place / "metrics_token").read_text() == "a-token"
    assert (place / "metrics_token").stat().st_mode & 0o077 == 0
