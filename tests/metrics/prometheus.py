"""A real Prometheus on loopback, with our rules, that scrapes a running product once a second."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import requests
import yaml

from evalsuite.env import ROOT
from tests.chaos.parts import Part, free_port, until

DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "prometheus/alerts.yml"
TOKEN = "token-of-the-test-that-watches"


def programs() -> bool:
    return bool(shutil.which("prometheus") and shutil.which("promtool"))


def promtool(*arguments: str | Path, cwd: Path | None = None) -> str:
    """What it says. Raises AssertionError where it does not like what it sees."""
    command = ["promtool", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def configured(folder: Path, target: str = "web:8000") -> Path:
    """Our configuration as an operator puts it in place, with another target and a quick pulse."""
    shutil.copytree(DEPLOY / "prometheus", folder, dirs_exist_ok=True)
    (folder / "metrics_token").write_text(TOKEN)
    file = folder / "prometheus.yml"
    settings = yaml.safe_load(file.read_text())
    settings["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    settings["scrape_configs"][0]["static_configs"][0]["targets"] = [target]
    file.write_text(yaml.safe_dump(settings))
    return file


class Prometheus(Part):
    def __init__(self, folder: Path, target: str) -> None:
        self.port = free_port()
        file = configured(folder / "prometheus", target)
        promtool("check", "config", file)
        command = [
            "prometheus",
            f"--config.file={file}",
            f"--storage.tsdb.path={folder / 'series'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]
        super().__init__("prometheus-server", command, folder=folder)

    def __enter__(self) -> Self:
        self.start()
        until(self._ready, f"Prometheus answers, see {self.log}")
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def _ready(self) -> bool:
        assert self.alive, self.log.read_text()[-2000:]
        try:
            return self._get("/-/ready").ok
        except requests.RequestException:
            return False

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of each series now."""
        answer = self._get("/api/v1/query", query=expression).json()
        assert answer["status"] == "success", (expression, answer)
        return [(row["metric"], float(row["value"][1])) for row in answer["data"]["result"]]

    def value(self, expression: str) -> float | None:
        """Of a query with one series; None where there is none."""
        found = self.query(expression)
        assert len(found) <= 1, (expression, found)
        return found[0][1] if found else None

    def until(self, expression: str, wanted: float, *, timeout_s: float = 60) -> None:
        try:
            until(lambda: self.value(expression) == wanted, expression, timeout_s=timeout_s, every_s=0.2)
        except AssertionError as error:
            raise AssertionError(f"{expression} is {self.query(expression)}, not {wanted}") from error

    def until_there(self, expression: str, *, timeout_s: float = 60) -> list[tuple[dict[str, str], float]]:
        return until(lambda: self.query(expression), expression, timeout_s=timeout_s, every_s=0.2)

    def alerts(self) -> set[str]:
        """Those that are pending or fire."""
        return {
            alert["labels"]["alertname"] for alert in self._get("/api/v1/alerts").json()["data"]["alerts"]
        }

    def _get(self, path: str, **params: str) -> requests.Response:
        return requests.get(f"http://127.0.0.1:{self.port}{path}", params=params, timeout=10)


def panels() -> Iterator[tuple[str, str]]:
    """`dashboard: panel: legend` and query of every panel, as Grafana would read them."""
    for file in sorted((DEPLOY / "grafana/dashboards").glob("*.json")):
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel["targets"]:
                yield f"{file.stem}: {panel['title']}: {target['legendFormat']}", target["expr"]


def rules() -> dict[str, dict[str, Any]]:
    [group] = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for rule in group["rules"] if "alert" in rule}


def filled(query: str, values: Mapping[str, str]) -> str:
    """With the variables that Grafana fills in."""
    query = query.replace("$__rate_interval", "2m")
    query = re.sub(r"\$(\w+)", lambda match: values[match[1]], query)
    assert "$" not in query
    return query


def is_number(value: float) -> bool:
    return math.isfinite(value)
