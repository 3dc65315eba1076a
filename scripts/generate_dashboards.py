"""Writes the Grafana dashboards in deploy/grafana/dashboards: python -m scripts.generate_dashboards

Layout and queries are here; the JSON files are what Grafana reads, and a test holds them together.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

FOLDER = Path(__file__).resolve().parent.parent / "deploy/grafana/dashboards"
COLUMNS, WIDTH, HEIGHT = 2, 12, 8
SOURCE = {"type": "prometheus", "uid": "prometheus"}


@dataclass(frozen=True, slots=True)
class Panel:
    """One query for each legend. `now`: a bar for what is, instead of a line over time."""

    title: str
    queries: dict[str, str]  # by legend
    unit: str = "short"
    kind: Literal["timeseries", "bargauge", "stat"] = "timeseries"
    help: str = ""

    def json(self, number: int) -> dict[str, Any]:
        return {
            "id": number + 1,
            "type": self.kind,
            "title": self.title,
            "description": self.help,
            "datasource": SOURCE,
            "gridPos": {
                "x": number % COLUMNS * WIDTH,
                "y": number // COLUMNS * HEIGHT,
                "w": WIDTH,
                "h": HEIGHT,
            },
            "fieldConfig": {"defaults": {"unit": self.unit, "min": 0}, "overrides": []},
            "options": self._options(),
            "targets": [
                {
                    "refId": chr(ord("A") + place),
                    "datasource": SOURCE,
                    "expr": query,
                    "legendFormat": legend,
                    "instant": self.kind != "timeseries",
                    "range": self.kind == "timeseries",
                }
                for place, (legend, query) in enumerate(self.queries.items())
            ],
        }

    def _options(self) -> dict[str, Any]:
        if self.kind == "timeseries":
            return {"legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull"]}}
        options: dict[str, Any] = {"reduceOptions": {"calcs": ["lastNotNull"]}, "orientation": "horizontal"}
        return {**options, "displayMode": "basic"} if self.kind == "bargauge" else options


def variable(name: str, label: str, query: str, regex: str = "", *, many: bool = True) -> dict[str, Any]:
    """What people choose at the top of a dashboard. `regex` tells a name from the value behind it."""
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        "regex": regex,
        "refresh": 2,
        "sort": 1,
        "includeAll": many,
        "allValue": ".*" if many else None,
        "multi": many,
        "current": {"text": "All", "value": "$__all"} if many else {},
    }


ORG = variable(
    "org",
    "Organisation",
    "query_result(evalsuite_org_info)",
    '/org="(?<text>[^"]*)",orgId="(?<value>[^"]*)"/',
)
EXPERIMENT = variable(
    "experiment",
    "Experiment",
    'query_result(max by (experiment, experimentId) (experiment_variant_info{orgId=~"$org"}))',
    '/experiment="(?<text>[^"]*)",experimentId="(?<value>[^"]*)"/',
    many=False,
)
METRIC = variable(
    "metric", "Metric", 'label_values(experiment_score_average{orgId=~"$org"}, metricKey)', many=True
)
IN_ORG = '{orgId=~"$org"}'
OF_EXPERIMENT = '{orgId=~"$org", experimentId="$experiment"}'
NAMED = "* on (orgId, experimentId, variantId) group_left (experiment, variant) experiment_variant_info"
ORG_NAMED = "* on (orgId) group_left (org) evalsuite_org_info"
RATE = "[$__rate_interval]"


def by_variant(value: str, labels: str = "variant") -> str:
    """A value by orgId, experimentId and variantId, summed by the variant's name."""
    return f"sum by ({labels}) (({value}) {NAMED})"


def per_minute(metric: str, by: str) -> str:
    return f"sum by ({by}) (rate({metric}{RATE})) * 60"


def quantile(which: float, metric: str, by: str = "", window: str = RATE) -> str:
    grouped = f"le, {by}" if by else "le"
    return f"histogram_quantile({which}, sum by ({grouped}) (rate({metric}{window})))"


def with_org(value: str, by: str = "org", how: str = "sum") -> str:
    return f"{how} by ({by}) (({value}) {ORG_NAMED})"


def ratio(above: str, below: str) -> str:
    return f"{above} / ({below} > 0)"


PLAYGROUND = [
    Panel(
        "Requests by organisation and model",
        {
            "{{org}}: {{modelProvider}}/{{modelName}}": "sum by (org, modelProvider, modelName)"
            f" (playground_requests_total{IN_ORG} {ORG_NAMED})"
        },
        kind="bargauge",
        help="Since the installation's first day.",
    ),
    Panel(
        "Tokens by organisation and model",
        {
            "{{org}}: {{modelName}}, {{direction}}": "sum by (org, modelName, direction)"
            f' (provider_tokens_total{{orgId=~"$org", kind="playground"}} {ORG_NAMED})'
        },
        kind="bargauge",
    ),
    Panel(
        "Requests per minute, by organisation",
        {"{{org}}": f"sum by (org) (rate(playground_requests_total{IN_ORG}{RATE}) {ORG_NAMED}) * 60"},
    ),
    Panel(
        "Requests per minute, by model",
        {
            "{{modelProvider}}/{{modelName}}": per_minute(
                f"playground_requests_total{IN_ORG}", "modelProvider, modelName"
            )
        },
    ),
    Panel(
        "Latency",
        {
            "mean": ratio(
                "sum(increase(playground_latency_ms_sum[1h]))",
                "sum(increase(playground_latency_ms_count[1h]))",
            ),
            "p95": quantile(0.95, "playground_latency_ms_bucket", window="[1h]"),
        },
        "ms",
        help="Whole answers of the last hour, of all organisations.",
    ),
    Panel(
        "How requests ended",
        {"{{outcome}}": 'sum by (outcome) (provider_requests_total{orgId=~"$org", kind="playground"})'},
        kind="bargauge",
    ),
]
EXPERIMENTS = [
    Panel("Runs", {"{{variant}}": by_variant(f"experiment_runs_total{OF_EXPERIMENT}")}, kind="bargauge"),
    Panel(
        "Average latency",
        {
            "{{variant}}": by_variant(
                ratio(
                    f"experiment_latency_ms_sum{OF_EXPERIMENT}", f"experiment_latency_ms_count{OF_EXPERIMENT}"
                )
            )
        },
        "ms",
        "bargauge",
        help="Of all calls with an answer, loads of models included: results in the console leave those out.",
    ),
    Panel(
        "Thumbs-up rate",
        {
            "{{variant}}": by_variant(
                f"experiment_feedback_thumbs_up_total{OF_EXPERIMENT} / "
                f"((experiment_feedback_thumbs_up_total{OF_EXPERIMENT}"
                f" + experiment_feedback_thumbs_down_total{OF_EXPERIMENT}) > 0)"
            )
        },
        "percentunit",
        "bargauge",
        help="Of all thumbs that were given, changed ones included.",
    ),
    Panel(
        "Thumbs",
        {
            "{{variant}}, up": by_variant(f"experiment_feedback_thumbs_up_total{OF_EXPERIMENT}"),
            "{{variant}}, down": by_variant(f"experiment_feedback_thumbs_down_total{OF_EXPERIMENT}"),
        },
        kind="bargauge",
    ),
    Panel(
        "Latency, p50 and p95",
        {
            f"{{{{variant}}}}, p{which:.0f}": f"histogram_quantile({which / 100},"
            f" sum by (le, variant) (experiment_latency_ms_bucket{OF_EXPERIMENT} {NAMED}))"
            for which in (50.0, 95.0)
        },
        "ms",
        "bargauge",
    ),
    Panel(
        "Runs per minute",
        {"{{variant}}": by_variant(f"rate(experiment_runs_total{OF_EXPERIMENT}{RATE}) * 60")},
    ),
]
METRICS = [
    Panel(
        "Average correctness",
        {
            "{{experiment}}: {{variant}}": by_variant(
                'experiment_score_average{orgId=~"$org", metricKey="correctness"}', "experiment, variant"
            )
        },
        kind="bargauge",
        help="Of the scores that stand, under the metric with the key correctness.",
    ),
    Panel(
        "Average of the experiment's metrics",
        {
            "{{variant}}: {{metricKey}}": by_variant(
                'experiment_score_average{orgId=~"$org", experimentId="$experiment", metricKey=~"$metric"}',
                "variant, metricKey",
            )
        },
        kind="bargauge",
    ),
    Panel(
        "Average over time",
        {
            "{{variant}}: {{metricKey}}": by_variant(
                'experiment_score_average{orgId=~"$org", experimentId="$experiment", metricKey=~"$metric"}',
                "variant, metricKey",
            )
        },
        help="How the average moved as cells were scored.",
    ),
    Panel(
        "Scores",
        {
            "{{variant}}: {{metricKey}}": by_variant(
                'experiment_scores{orgId=~"$org", experimentId="$experiment", metricKey=~"$metric"}',
                "variant, metricKey",
            )
        },
        kind="bargauge",
    ),
]
ENGINE = [
    Panel(
        "What the work needs", {"{{part}}": "min by (part) (evalsuite_ready)"}, kind="stat", help="1: there."
    ),
    Panel("Cells by state", {"{{state}}": "max by (state) (experiment_cells)"}, kind="bargauge"),
    Panel("Cells that could be called now", {"{{org}}": with_org("experiment_queue_depth")}),
    Panel(
        "Wait of the oldest of them",
        {"{{org}}": f"max by (org) (experiment_oldest_claimable_seconds {ORG_NAMED})"},
        "s",
    ),
    Panel(
        "Cells that ended, per minute",
        {"{{outcome}}": per_minute("experiment_cells_closed_total", "outcome")},
    ),
    Panel("Calls lost with their worker", {"lost": "sum(increase(experiment_attempts_lost_total[1h]))"}),
    Panel(
        "Calls, by outcome",
        {"{{modelProvider}}, {{outcome}}": "sum by (modelProvider, outcome) (provider_requests_total)"},
        kind="bargauge",
    ),
    Panel(
        "Calls per minute, by outcome",
        {
            "{{modelProvider}}, {{outcome}}": per_minute("provider_requests_total", "modelProvider, outcome"),
        },
    ),
    Panel(
        "Time to the first token",
        {
            "{{modelName}}, p50": quantile(0.5, "provider_first_token_ms_bucket", "modelName", "[1h]"),
            "{{modelName}}, p95": quantile(0.95, "provider_first_token_ms_bucket", "modelName", "[1h]"),
        },
        "ms",
    ),
    Panel(
        "Tokens per minute",
        {"{{modelName}}, {{direction}}": per_minute("provider_tokens_total", "modelName, direction")},
    ),
    Panel(
        "Slots in use",
        {
            "{{modelProvider}} {{endpoint}}": "sum by (modelProvider, endpoint) (provider_slots_in_use)",
            "{{modelProvider}} {{endpoint}}, all": "sum by (modelProvider, endpoint) (provider_slots)",
        },
    ),
    Panel(
        "Requests of people that wait for a slot",
        {"{{modelProvider}} {{endpoint}}": "sum by (modelProvider, endpoint) (provider_waiting_requests)"},
    ),
    Panel(
        "Endpoints that answer",
        {"{{modelProvider}} {{endpoint}}": "min by (modelProvider, endpoint) (provider_up)"},
        kind="stat",
        help="0: held by the circuit breaker after failures.",
    ),
    Panel(
        "Loads of models",
        {"{{modelProvider}}/{{modelName}}": "sum by (modelProvider, modelName) (provider_model_loads_total)"},
        kind="bargauge",
    ),
]
LIMITS = [
    Panel(
        "Share of each limit that is used",
        {
            "{{org}}: {{limit}}": with_org(f"quota_used{IN_ORG} / (quota_limit > 0)", "org, limit", "max"),
        },
        "percentunit",
        "bargauge",
    ),
    Panel(
        "Refusals",
        {"{{org}}: {{limit}}": f"sum by (org, limit) (quota_refusals_total{IN_ORG} {ORG_NAMED})"},
        kind="bargauge",
    ),
    Panel("In use", {"{{org}}: {{limit}}": f"max by (org, limit) (quota_used{IN_ORG} {ORG_NAMED})"}),
    Panel("Limits", {"{{org}}: {{limit}}": f"max by (org, limit) (quota_limit{IN_ORG} {ORG_NAMED})"}),
    Panel(
        "Refusals in an hour",
        {"{{org}}: {{limit}}": with_org(f"increase(quota_refusals_total{IN_ORG}[1h])", "org, limit")},
    ),
    Panel(
        "Tokens of the last day, by organisation",
        {"{{org}}": f"sum by (org) (increase(provider_tokens_total{IN_ORG}[1d]) {ORG_NAMED})"},
        kind="bargauge",
    ),
]
DASHBOARDS = {
    "playground": ("Playground", [ORG], PLAYGROUND),
    "experiments": ("Experiments: variants compared", [ORG, EXPERIMENT], EXPERIMENTS),
    "metrics": ("Metrics", [ORG, EXPERIMENT, METRIC], METRICS),
    "engine": ("Engine and providers", [], ENGINE),
    "limits": ("Limits", [ORG], LIMITS),
}


def dashboard(name: str) -> dict[str, Any]:
    title, variables, panels = DASHBOARDS[name]
    return {
        "uid": f"evalsuite-{name}",
        "title": title,
        "tags": ["evalsuite"],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": variables},
        "panels": [panel.json(number) for number, panel in enumerate(panels)],
    }


def text(name: str) -> str:
    return json.dumps(dashboard(name), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for each in DASHBOARDS:
        (FOLDER / f"{each}.json").write_text(text(each))
