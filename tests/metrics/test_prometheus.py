"""A real Prometheus beside the running product: what panels and alerts answer is what was done."""

from __future__ import annotations

import psycopg
import pytest

from tests.chaos.installation import Installation
from tests.chaos.parts import postgres_bin, until
from tests.chaos.provider import FastOllama
from tests.metrics.prometheus import TOKEN, Prometheus, filled, is_number, panels, programs, rules

pytestmark = [
    pytest.mark.timeout(400),
    pytest.mark.skipif(not programs(), reason="needs prometheus and promtool"),
    pytest.mark.skipif(not postgres_bin(), reason="needs the programs of PostgreSQL and Redis"),
]
INPUTS, VARIANTS, ASKED = 20, 2, 5


@pytest.fixture
def provider():
    with FastOllama(delay_s=0.02) as server:
        yield server


@pytest.fixture
def product(provider, tmp_path):
    """Two web processes, a worker with threads, one with processes; a directory of figures to reuse."""
    settings = {
        "METRICS_TOKEN": TOKEN,
        "LIMIT_TOKENS_PER_DAY": "1000000",
        "LIMIT_PLAYGROUND_PER_MINUTE": "1000",
        "PROMETHEUS_MULTIPROC_DIR": str(tmp_path),
    }
    with Installation(provider_url=provider.url, **settings) as made:
        provider.load_s = 0.6
        made.seed(slots=8)
        made.start_web(processes=2)
        made.add_worker(pool="threads", concurrency=2)
        made.add_worker(pool="prefork", concurrency=2)
        made.sign_in()
        yield made


@pytest.fixture
def watcher(product, tmp_path):
    with Prometheus(tmp_path, f"127.0.0.1:{product.port}") as server:
        server.until('up{job="evalsuite"}', 1)
        yield server


@pytest.fixture
def experiment(product, watcher):
    """Two variants, of which the second is right about every other input; run, rated, and tried by hand."""
    made = product._post("experiments", name='Greetings "of all"')["experiment"]["id"]
    path = f"experiments/{made}"
    variants = [
        product._post(f"{path}/variants", name=name, config={"promptTemplate": template, "maxTokens": 16})[
            "variant"
        ]["id"]
        for name, template in (("plain", "{{ input }}"), ("terse", "say {{ metadata.word }}"))
    ]
    rows = [
        {"key": f"case_{n}", "content": f"hello {n}", "expected": f"hello {n}", "metadata": {"word": word(n)}}
        for n in range(INPUTS)
    ]
    product._post(f"{path}/inputs", inputs=rows)
    product._post(f"{path}/evaluators", kind="contains", metricKey="correctness", config={"mode": "any"})
    watcher.until(f'count(experiment_runs_total{{experimentId="{made}"}})', VARIANTS)
    batch = product.run(made)
    until(lambda: product.rows.finished(batch), "the batch is finished", timeout_s=60)
    rate(product, made, variants)
    for n in range(ASKED):
        product._post("playground/complete", prompt=f"try {n}", maxTokens=16)
    watcher.until("sum(playground_requests_total)", ASKED)  # the last thing: all before it was seen as well
    watcher.until("sum(experiment_scores)", INPUTS * VARIANTS)
    return {"id": made, "variants": variants}


def word(n):
    return f"hello {n}" if n % 2 else "nothing"


def rate(product, experiment, variants):
    """Three thumbs up and one down for the first variant, one and one for the second."""
    answer = product.request("GET", f"experiments/{experiment}/runs", params={"limit": 200}).json()
    for variant, thumbs in zip(variants, ([True, True, True, False], [True, False]), strict=True):
        mine = [run["id"] for run in answer["runs"] if run["variantId"] == variant]
        for run, up in zip(mine, thumbs, strict=False):
            product._post(f"experiments/runs/{run}/feedback", thumbsUp=up)


def test_panels_and_alerts_tell_what_was_done(product, provider, watcher, experiment):
    """One test, since what it looks at takes half a minute to make."""
    figures_equal_what_was_done(product, watcher, experiment)
    dashboards_compare_the_variants(product, watcher, experiment)
    every_panel_has_an_answer(product, watcher, experiment)
    no_alert_fires_while_all_is_well(watcher)
    killed_processes_count_nothing_twice(product, provider, watcher, experiment)
    alerts_fire_in_their_situations(product, provider, watcher, experiment)


def figures_equal_what_was_done(product, watcher, experiment):
    first, second = experiment["variants"]
    of_first, of_second = f'{{variantId="{first}"}}', f'{{variantId="{second}"}}'
    for query, wanted in {
        "sum(experiment_runs_total)": INPUTS * VARIANTS,
        f"experiment_runs_total{of_first}": INPUTS,
        "sum(experiment_latency_ms_count)": INPUTS * VARIANTS,
        'experiment_cells_closed_total{outcome="succeeded"}': INPUTS * VARIANTS,
        'experiment_cells{state="succeeded"}': INPUTS * VARIANTS,
        f"experiment_feedback_thumbs_up_total{of_first}": 3,
        f"experiment_feedback_thumbs_down_total{of_first}": 1,
        f"experiment_feedback_thumbs_up_total{of_second}": 1,
        f"experiment_score_average{of_first}": 1,
        f"experiment_score_average{of_second}": 0.5,
        f"experiment_scores{of_second}": INPUTS,
        "sum(playground_latency_ms_count)": ASKED,
        'sum(provider_requests_total{outcome="succeeded"})': INPUTS * VARIANTS + ASKED,
        'sum(provider_tokens_total{direction="output"})': 5 * (INPUTS * VARIANTS + ASKED),
        'sum(provider_tokens_total{direction="input", kind="playground"})': 7 * ASKED,
        "sum(provider_first_token_ms_count)": INPUTS * VARIANTS + ASKED,
        "sum(experiment_attempts_lost_total)": 0,
        "sum(experiment_queue_depth)": 0,
        "sum(provider_slots)": 8,
        'quota_limit{limit="tokensPerDay"}': 1_000_000,
        'quota_used{limit="tokensPerDay"}': 12 * (INPUTS * VARIANTS + ASKED),
    }.items():
        watcher.until(query, wanted)
    total = product.rows.one("SELECT SUM(latency_ms) FROM experiments_experimentrun")
    assert watcher.value("sum(experiment_latency_ms_sum)") == pytest.approx(float(total), abs=INPUTS)
    assert watcher.value("sum(provider_model_loads_total)") >= 1
    # Seen from the first scrape on, so that nothing that was done is missing from the increase.
    increase = watcher.value("sum(increase(experiment_runs_total[10m]))")
    assert increase == pytest.approx(INPUTS * VARIANTS, rel=0.35)  # Prometheus extrapolates


def dashboards_compare_the_variants(product, watcher, experiment):
    values = {"org": ".*", "experiment": experiment["id"], "metric": ".*"}
    queries = dict(panels())

    def shown(panel):
        return {row["variant"]: value for row, value in watcher.query(filled(queries[panel], values))}

    assert shown("experiments: Runs: {{variant}}") == {"plain": INPUTS, "terse": INPUTS}
    assert shown("experiments: Thumbs-up rate: {{variant}}") == {"plain": 0.75, "terse": 0.5}
    assert shown("metrics: Average correctness: {{experiment}}: {{variant}}") == {"plain": 1, "terse": 0.5}
    sql = "SELECT AVG(latency_ms) FROM experiments_experimentrun WHERE variant_id = %s"
    latency = shown("experiments: Average latency: {{variant}}")
    for name, variant in zip(("plain", "terse"), experiment["variants"], strict=True):
        assert latency[name] == pytest.approx(float(product.rows.one(sql, variant)), abs=1)
    use = watcher.query(
        filled(
            queries[
                "playground: Requests by organisation and model: {{org}}: {{modelProvider}}/{{modelName}}"
            ],
            values,
        )
    )
    assert use == [({"org": "Chaos", "modelProvider": "ollama", "modelName": "tiny:1b"}, ASKED)]


def every_panel_has_an_answer(product, watcher, experiment):
    # What was there whole when it was first looked at has not risen since: its quantiles are no numbers yet.
    product._post("playground/complete", prompt="once more", maxTokens=16)
    values = {"org": ".*", "experiment": experiment["id"], "metric": ".*"}
    for name, query in panels():
        until(
            lambda query=query: is_answered(watcher.query(filled(query, values))),
            f"{name} has an answer, of numbers alone",
            timeout_s=30,
        )


def is_answered(found):
    return found and all(is_number(value) for _, value in found)


def no_alert_fires_while_all_is_well(watcher):
    for name, rule in rules().items():
        assert watcher.query(rule["expr"]) == [], name
    assert watcher.alerts() == set()


def killed_processes_count_nothing_twice(product, provider, watcher, experiment):
    provider.delay_s = 0.1  # so that calls are in the air when their workers die
    before = watcher.value("sum(experiment_runs_total)")
    batch = product.run(experiment["id"], repeats=10)
    cells = 10 * INPUTS * VARIANTS
    threads, prefork = product.workers
    until(lambda: product.rows.closed(batch) >= cells * 0.1, "a tenth is done", timeout_s=60)
    for part in (prefork, threads, product.web):
        part.kill()
    product.start_web(processes=2)
    for part in (prefork, threads):
        part.start()
    until(lambda: product.rows.finished(batch), "the batch is finished", timeout_s=60)
    watcher.until("sum(experiment_runs_total)", before + cells)
    watcher.until("sum(experiment_latency_ms_count)", before + cells)
    lost = product.rows.one("SELECT COUNT(*) FROM experiments_runattempt WHERE outcome = 'lost'")
    assert lost > 0
    watcher.until("sum(experiment_attempts_lost_total)", lost)
    watcher.until('sum(provider_requests_total{outcome="lost"})', lost)
    recorded = product.rows.one("SELECT COUNT(*) FROM experiments_runattempt WHERE outcome = 'succeeded'")
    watcher.until('sum(provider_requests_total{kind="experiment", outcome="succeeded"})', recorded)
    assert watcher.value("sum(django_http_requests_total_by_method_total)") > 0


def alerts_fire_in_their_situations(product, provider, watcher, experiment):
    expressions = {name: rule["expr"] for name, rule in rules().items()}
    provider.refuse_for(600)
    ask_in_vain_until_held(product, watcher)
    watcher.until_there(expressions["EvalsuiteProviderDown"])
    provider.refuse_for(0)

    use = watcher.value('quota_used{limit="tokensPerDay"}')
    limit(product, round(use / 0.95))
    watcher.until_there(expressions["EvalsuiteQuotaNear"])
    answer = product.request("POST", "playground/complete", json={"prompt": "no room " * 1_000})
    assert answer.status_code == 429, answer.text
    watcher.until('quota_refusals_total{limit="tokensPerDay"}', 1)
    watcher.until_there(expressions["EvalsuiteQuotaReached"])
    limit(product, None)

    for worker in product.workers:
        worker.kill()
    batch = product.run(experiment["id"])
    watcher.until("sum(experiment_queue_depth)", INPUTS * VARIANTS)
    watcher.until_there(expressions["EvalsuitePartMissing"], timeout_s=30)
    # Ten minutes are long: the cells are made older, and the rate is asked for a shorter time.
    stuck = expressions["EvalsuiteQueueStuck"].replace("[10m]", "[5s]")
    assert watcher.query(stuck) == []
    change(product, "UPDATE experiments_experimentrun SET created_at = created_at - INTERVAL '1 hour'"
           " WHERE state = 'queued'")  # fmt: skip
    watcher.until_there(stuck)
    until(lambda: "EvalsuitePartMissing" in watcher.alerts(), "Prometheus' own evaluation agrees")

    provider.rejects = True
    product.workers[0].start()
    until(lambda: product.rows.finished(batch), "the batch is finished", timeout_s=60)
    for name in (
        "EvalsuiteCallsFail",
        "EvalsuiteCellsFail",
    ):  # of what happened lately: much succeeded before
        watcher.until_there(expressions[name].replace("10m", "20s"))
    product.web.kill()
    watcher.until_there(expressions["EvalsuiteDown"])


def ask_in_vain_until_held(product, watcher):
    def held():
        answer = product.request("POST", "playground/complete", json={"prompt": "now?", "maxTokens": 16})
        assert answer.status_code == 503, answer.text
        return watcher.value("provider_up") == 0

    until(held, "the circuit breaker holds", every_s=0.2)


def limit(product, tokens):
    change(product, "DELETE FROM quotas_orglimits")
    if tokens is not None:
        change(
            product,
            "INSERT INTO quotas_orglimits (id, created_at, org_id, tokens_per_day)"
            " VALUES (gen_random_uuid(), NOW(), %s, %s)",
            product.ids["org"],
            tokens,
        )


def change(product, sql, *given):
    with psycopg.connect(product.postgres.url) as connection:
        connection.execute(sql, given or None)
