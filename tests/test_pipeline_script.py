"""scripts/pipeline.py, as it is documented, in a process of its own against a site that serves."""

from __future__ import annotations

import itertools
import os
import socket
import socketserver
import subprocess
import sys
import threading
from contextlib import contextmanager
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest

from evalsuite.env import ROOT
from evalsuite.orgs.api_keys import create_key
from experiments.models import Batch, Evaluator
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)
FINE, QUALITY, TROUBLE = 0, 1, 2


@pytest.fixture
def experiment(org, ollama, embedded_worker):
    """Eight inputs; the variant `right` gives the expected answer to each of them, `wrong` to none."""
    factories.set_default_model(org, factories.make_model(base_url=ollama.base_url, slots=8))
    made = factories.make_experiment(org, inputs=8)
    for row in made.inputs.all():
        row.expected = f"echo: {row.content} good"
        row.save()
    made.variants.create(name="right", config={"promptTemplate": "{{ input }} good"})
    made.variants.create(name="wrong", config={"promptTemplate": "{{ input }} bad"})
    metric = factories.make_metric(org)
    Evaluator.objects.create(experiment=made, metric=metric, kind="exact_match", name="exact")
    return made


@pytest.fixture
def pipeline(site, org, alice, experiment):
    """Run the script; the exit status, and what was printed to both sides."""
    _, its_key = create_key(org=org, actor=alice, name="ci", permissions=["org:experiments:write"])

    def run(*arguments, key=its_key, url=site.url):
        done = subprocess.run(
            [sys.executable, "-I", ROOT / "scripts/pipeline.py", url, org.slug, str(experiment.pk)]
            + [str(one) for one in arguments],
            env={**os.environ, "EVALSUITE_KEY": key},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        return SimpleNamespace(status=done.returncode, out=done.stdout, err=done.stderr)

    return run


def variant(experiment, name):
    return experiment.variants.get(name=name).pk


def test_a_run_that_passes(pipeline, experiment):
    right = variant(experiment, "right")
    done = pipeline("--variant", right, "--fail-if", "correctness < 0.8", "--fail-if", "latency.p95 > 60000")
    assert (done.status, done.err.splitlines()[-1]) == (FINE, "8/8 cells, 0 evaluations to go")
    assert "right: correctness is 1.0; fail if < 0.8: ok" in done.out


def test_a_condition_that_a_variant_meets(pipeline):
    done = pipeline("--fail-if", "correctness < 0.8")
    assert done.status == QUALITY
    assert "wrong: correctness is 0.0; fail if < 0.8: BROKEN" in done.out


def test_worse_than_a_variant_and_than_an_earlier_batch(pipeline, experiment):
    done = pipeline("--baseline", variant(experiment, "right"), "--fail-if-worse", "correctness")
    assert done.status == QUALITY
    assert "wrong is worse than right in correctness." in done.out
    earlier = Batch.objects.get()
    experiment.variants.filter(name="right").update(config={"promptTemplate": "{{ input }} bad"})
    assert pipeline("--baseline", earlier.pk, "--fail-if-worse", "correctness").status == QUALITY
    assert pipeline("--baseline", earlier.pk, "--fail-if-worse", "correctness", "--margin", 1).status == FINE
    experiment.baseline = earlier
    experiment.save()
    kept = pipeline("--variant", variant(experiment, "wrong"), "--fail-if-worse", "correctness")
    assert kept.status == FINE
    assert "Cannot tell yet" in kept.out


def test_trouble(pipeline, experiment):
    assert pipeline("--fail-if", "correctness << 0.8").status == TROUBLE
    assert pipeline("--margin", "-1").status == TROUBLE
    refused = pipeline(key="evs_wrong")
    assert (refused.status, "401" in refused.err, "evs_" in refused.err) == (TROUBLE, True, False)
    assert "no EVALSUITE_KEY" in pipeline(key="").err
    assert "needs a --baseline" in pipeline("--fail-if-worse", "correctness").err
    assert "BATCH_NOT_FOUND" in pipeline("--baseline", "nobody").err
    assert not Batch.objects.exists()
    assert "nothing to judge by" in pipeline("--fail-if", "charm < 1").err
    experiment.inputs.filter(key="case_1").update(content="too-long")
    experiment.variants.update(config={})
    done = pipeline("--fail-if", "correctness < 0.8")
    assert (done.status, "2 cells failed" in done.err) == (TROUBLE, True)


def test_the_time_is_over(pipeline, experiment):
    experiment.inputs.update(content="sleep-5")
    experiment.variants.update(config={})
    done = pipeline("--timeout", 0.5)
    assert (done.status, "The time is over" in done.err) == (TROUBLE, True)


@contextmanager
def losing(url, lost):
    """A way to the site on which the answers to these requests, by their numbers from 1, never arrive."""
    numbers, target = itertools.count(1), urlsplit(url)

    class Passing(socketserver.StreamRequestHandler):
        def handle(self):
            number, head = next(numbers), []
            while (line := self.rfile.readline()).strip():
                head.append(line)
            sizes = [int(line.split(b":")[1]) for line in head if line.lower().startswith(b"content-length:")]
            with socket.create_connection((target.hostname, target.port)) as upstream:
                upstream.sendall(b"".join(head) + line + self.rfile.read(sum(sizes)))
                answer = b"".join(iter(lambda: upstream.recv(65_536), b""))
            if number not in lost:
                self.wfile.write(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Passing) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_a_lost_connection_starts_nothing_twice(pipeline, experiment, site):
    # 1 and 2 the organisations, 3 the experiment, 4 and 5 the run
    with losing(site.url, lost={1, 4}) as url:
        done = pipeline("--fail-if", "latency > 60000", url=url)
    assert done.err.count("again in 1 s") == 2
    assert (done.status, Batch.objects.count()) == (FINE, 1)


def test_a_site_that_is_away_is_trouble(pipeline, experiment):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        url = f"http://127.0.0.1:{gone.getsockname()[1]}"
    done = pipeline(url=url)
    assert done.status == TROUBLE
    assert "again in 8 s" in done.err
