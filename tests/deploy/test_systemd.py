"""Units for a host without containers: sound, locked, and started as the image is."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from evalsuite.env import ROOT
from scripts import rehearse_image

UNITS = ROOT / "deploy/systemd"
SERVICES = ["evalsuite-migrate.service", "evalsuite-web.service", "evalsuite-worker@1.service"]
MOST_EXPOSED = 15  # of 100, as systemd counts; a unit without any of this has 96
needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")


@pytest.fixture
def units(tmp_path):
    """The units as they lie on a host, but with the programs of this environment."""
    programs = Path(sys.executable).parent
    for path in UNITS.rglob("*.*"):
        if path.is_file():
            copy = tmp_path / path.relative_to(UNITS)
            copy.parent.mkdir(exist_ok=True)
            copy.write_text(path.read_text().replace("/opt/evalsuite/.venv/bin", str(programs)))
    shutil.copy(tmp_path / "evalsuite-worker@.service", tmp_path / "evalsuite-worker@1.service")
    return tmp_path


def analyze(folder, *arguments):
    env = {**os.environ, "SYSTEMD_UNIT_PATH": f"{folder}:", "SYSTEMD_COLORS": "0"}
    command = ["systemd-analyze", *map(str, arguments)]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


@needs_systemd
@pytest.mark.parametrize("name", [*SERVICES, "evalsuite.target"])
def test_systemd_takes_the_unit(units, name):
    done = analyze(units, "verify", "--man=no", units / name)
    complaints = [line for line in done.stderr.splitlines() if "evalsuite" in line]
    assert (done.returncode, complaints) == (0, []), done.stderr


@needs_systemd
@pytest.mark.parametrize("name", SERVICES)
def test_unit_may_do_little(units, name):
    limit = ["--offline=yes", f"--threshold={MOST_EXPOSED}"]
    done = analyze(units, "security", *limit, units / name)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "Overall exposure level" in done.stdout


def started(name):
    text = (UNITS / name).read_text().replace("\\\n", " ")
    [line] = re.findall(r"^ExecStart=\S*/(.*)$", text, re.MULTILINE)
    return shlex.split(line)


def test_web_server_is_started_as_in_the_image():
    last = rehearse_image.stages((ROOT / "Dockerfile").read_text())[-1]
    image = json.loads(last.last("CMD"))
    image[image.index("0.0.0.0")] = "127.0.0.1"  # a proxy stands before it on the same host
    assert started("evalsuite-web.service") == image


def test_worker_and_migration_are_started_as_in_the_containers():
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    assert started("evalsuite-worker@.service")[:-1] == services["worker"]["command"]
    assert started("evalsuite-migrate.service") == services["migrate"]["command"]
