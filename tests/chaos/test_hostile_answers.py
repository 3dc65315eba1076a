"""Whatever a model server sends: the cell ends with its reason, in time, and every page shows it."""

from __future__ import annotations

import re
import threading
import time
from datetime import datetime
from types import SimpleNamespace

import pytest

from tests.chaos.hostile import ANSWERS, BROKEN, LATE, OK, SCRIPT, HostileServer
from tests.chaos.installation import NAME, PASSWORD, Installation
from tests.chaos.parts import until
from tests.chaos.seed import SLUGS

pytestmark = [pytest.mark.timeout(400), pytest.mark.xdist_group("hostile")]
LIMITS = {"connect_timeout": 2, "first_token_timeout": 3, "idle_timeout": 2, "total_timeout": 4}
ON_TOP_S = 3.0  # to write it down, in a group and on a busy machine
MOST_MEMORY_MB = 100
AT_ONCE = 16
HUGE = ["endless_line", "twenty_megabytes_in_lines", "a_bomb_of_values"]


class Memory:
    """The most that a process held, looked at all the time."""

    def __init__(self, part) -> None:
        self._part = part
        self.before = self.most = part.memory_mb()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def end(self) -> float:
        """MB above what it was at the beginning."""
        self._over.set()
        self._thread.join()
        return self.most - self.before

    def _look(self) -> None:
        while not self._over.wait(0.02):
            self.most = max(self.most, self._part.memory_mb())


@pytest.fixture(scope="module")
def ran():
    """All answers of both kinds, once: serve with its worker in one process, whose memory is watched."""
    with (
        HostileServer() as provider,
        # Every answer of this server is a failure: without a breaker, so that each is asked for.
        Installation(
            provider_url=provider.url,
            embedded=True,
            CELL_ATTEMPTS="2",
            CELL_LEASE="30",
            BREAKER_FAILURES="1000000",
        ) as made,
    ):
        made.seed(kinds=list(SLUGS), limits=LIMITS)
        made.start_web()
        made.sign_in()
        sign_in_to_the_console(made)
        memory = Memory(made.web)
        begin = time.monotonic()
        experiments, batches = [], []
        found: dict[str, dict[str, SimpleNamespace]] = {kind: {} for kind in SLUGS}
        for flood in (False, True):
            names = [name for name, one in ANSWERS.items() if one.flood == flood]
            for kind, slug in SLUGS.items():
                experiments.append(made.make_experiment(kind, names, modelProvider=slug, modelName="tiny:1b"))
                batches.append(made.run(experiments[-1], parallel=2 if flood else 6))
            for batch, kind in zip(batches[-2:], SLUGS, strict=True):
                until(lambda batch=batch: made.rows.finished(batch), "all cells have ended", timeout_s=80)
                found[kind] |= cells(made, batch)
        at_once = {kind: run_at_once(made, kind, slug) for kind, slug in SLUGS.items()}
        seconds = time.monotonic() - begin
        yield SimpleNamespace(
            made=made,
            experiments=experiments,
            batches=batches,
            cells=found,
            at_once=at_once,
            memory_mb=memory.end(),
            seconds=seconds,
        )


def run_at_once(made, kind, slug):
    """Huge answers, as many in the air as there are callers: what each one holds adds up."""
    prompts = [f"{number} {name}" for name in HUGE for number in range(AT_ONCE)]
    experiment = made.make_experiment(f"{kind} at once", prompts, modelProvider=slug, modelName="tiny:1b")
    batch = made.run(experiment, parallel=AT_ONCE)
    until(lambda: made.rows.finished(batch), "all huge answers have ended", timeout_s=80)
    return cells(made, batch)


def sign_in_to_the_console(made):
    page = made.session.get(f"{made.url}/login", timeout=10)
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)[1]
    form = {"username": NAME, "password": PASSWORD, "csrfmiddlewaretoken": token}
    made.session.post(f"{made.url}/login", data=form, timeout=10).raise_for_status()


def cells(made, batch):
    """What became of each answer, by its name."""
    sql = (
        "SELECT i.content, r.id, r.state, r.error_code, r.error_message, r.output, r.input_tokens"
        " FROM experiments_experimentrun r JOIN experiments_experimentinput i ON i.id = r.input_id"
        " WHERE r.batch_id = %s"
    )
    names = ("id", "state", "code", "message", "output", "input_tokens")
    return {
        row[0]: SimpleNamespace(**dict(zip(names, row[1:], strict=True)))
        for row in made.rows.ask(sql, made.rows.key(batch))
    }


def pages(ran, kind, cell):
    """Addresses that show one cell."""
    org = ran.made.ids["org"]
    return [
        f"/api/v1/orgs/{org}/experiments/runs/{cell.id}",
        f"/app/orgs/{org}/experiments/runs/{cell.id}",
    ]


@pytest.mark.parametrize("kind", SLUGS)
@pytest.mark.parametrize("name", ANSWERS)
def test_hostile_answer(ran, kind, name):
    expected, cell = ANSWERS[name], ran.cells[kind][name]
    assert (cell.code or cell.state) in expected.ends, cell.message
    assert (cell.state == OK) == (not cell.code)
    assert cell.message or cell.state == OK
    if expected.output is not None:
        assert cell.output == expected.output
    for path in pages(ran, kind, cell):
        answer = ran.made.session.get(f"{ran.made.url}{path}", timeout=20)
        assert answer.status_code == 200, path
        assert "\0" not in answer.text
        if answer.headers["Content-Type"].startswith("text/html"):
            assert SCRIPT not in answer.text
            assert "hx-" in answer.text or "<html" in answer.text


@pytest.mark.parametrize("kind", SLUGS)
def test_huge_answers_at_once_all_end(ran, kind):
    ends = {cell.code for cell in ran.at_once[kind].values()}
    assert len(ran.at_once[kind]) == AT_ONCE * len(HUGE)
    assert ends <= {BROKEN, LATE}  # so many beside each other are late through no fault of theirs


@pytest.mark.parametrize("name", [name for name in ANSWERS if "counts" in name])
@pytest.mark.parametrize("kind", SLUGS)
def test_a_count_that_cannot_be_is_not_kept(ran, kind, name):
    assert ran.cells[kind][name].input_tokens is None


def test_there_are_forty_and_more():
    assert len(ANSWERS) >= 40


def test_every_attempt_ended_within_its_total_limit(ran):
    sql = "SELECT started_at, ended_at FROM experiments_runattempt"
    attempts = ran.made.rows.ask(sql)
    assert len(attempts) >= 2 * len(ANSWERS)
    lasted = [
        (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds()
        for begin, end in attempts
    ]
    print(f"{len(attempts)} attempts in {ran.seconds:.1f} s, the longest {max(lasted):.2f} s")
    assert max(lasted) <= LIMITS["total_timeout"] + ON_TOP_S


def test_memory_stays_within_bounds(ran):
    print(f"+{ran.memory_mb:.0f} MB at most")
    assert ran.memory_mb <= MOST_MEMORY_MB


def test_pages_that_show_all_of_them(ran):
    org = ran.made.ids["org"]
    below = f"/api/v1/orgs/{org}/experiments"
    for experiment, batch in zip(ran.experiments, ran.batches, strict=True):
        for path in (
            f"{below}/{experiment}/runs",
            f"{below}/{experiment}/results",
            f"{below}/{experiment}/batches",
            f"{below}/batches/{batch}",
            f"/app/orgs/{org}/experiments/{experiment}",
        ):
            answer = ran.made.session.get(f"{ran.made.url}{path}", timeout=20)
            assert answer.status_code == 200, path
            assert answer.headers["Content-Type"].startswith("application/json") or SCRIPT not in answer.text
