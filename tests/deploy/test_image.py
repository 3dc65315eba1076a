"""The Dockerfile: what the last stage may be. That its steps run is shown by `make rehearse`."""

from __future__ import annotations

import json
import re

import pytest

from evalsuite.env import ROOT
from scripts import rehearse_image  # the folder is no package: pytest puts the root on the path

STAGES = rehearse_image.stages((ROOT / "Dockerfile").read_text())
LAST = STAGES[-1]


def test_there_are_two_stages_from_a_pinned_base():
    assert len(STAGES) == 2
    for stage in STAGES:
        assert re.fullmatch(r"python:\d+\.\d+-slim-[a-z]+", stage.base)


def test_last_stage_runs_as_a_numbered_user_who_is_not_root():
    assert int(LAST.last("USER")) >= 1000
    assert LAST.steps.index(("USER", LAST.last("USER"))) > max(
        index for index, (word, _) in enumerate(LAST.steps) if word in {"RUN", "COPY"}
    )


def test_last_stage_says_whether_it_is_well_and_how_it_starts():
    assert "/healthz" in LAST.last("HEALTHCHECK")
    command = json.loads(LAST.last("CMD"))
    assert command[:2] == ["uvicorn", "evalsuite.asgi:application"]


@pytest.mark.parametrize("stage", STAGES, ids=["build", "last"])
def test_nothing_is_compiled_or_installed_from_the_distribution(stage):
    runs = " ".join(stage.all("RUN"))
    assert not re.search(r"\b(apt|apt-get|dpkg|gcc|g\+\+|build-essential|curl|wget|git)\b", runs)
    for install in re.findall(r"pip install[^&]*", runs):
        assert "--require-hashes" in install
        assert "--only-binary :all:" in install


def test_last_stage_installs_nothing_and_takes_only_what_was_built():
    assert "install" not in " ".join(LAST.all("RUN"))
    assert all(copied.startswith("--from=build ") for copied in LAST.all("COPY"))


def test_no_secret_is_written_into_the_image():
    for stage in STAGES:
        told = " ".join([*stage.all("ENV"), *stage.all("ARG"), *stage.all("RUN")])
        assert not re.search(r"(SECRET|SIGNING|ENCRYPTION|PASSWORD|TOKEN)\w*=", told)


def test_build_context_holds_the_code_and_nothing_private():
    sent = {str(path) for path in rehearse_image.sent(ROOT)}
    assert {"manage.py", "evalsuite/settings.py", "requirements/image.txt"} <= sent
    tops = {path.partition("/")[0] for path in sent}
    rooms = {"evalsuite", "experiments", "llm_routing", "playground", "static", "templates"}
    assert tops == {*rooms, "manage.py", "requirements"}
    assert not [path for path in sent if path.endswith(".pyc") or "/.env" in path or ".sqlite" in path]


def test_image_has_the_same_versions_as_an_installation_without_it():
    def pins(name: str) -> dict[str, str]:
        return dict(
            re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / "requirements" / name).read_text(), re.MULTILINE)
        )

    image, runtime = pins("image.txt"), pins("runtime.txt")
    assert runtime.items() <= image.items()
    assert "opentelemetry-sdk" in image
