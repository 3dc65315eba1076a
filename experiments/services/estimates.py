"""A plan before Run: what it would do, how long that takes as measured before, what the limits leave."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Unpack
from uuid import UUID

from django.db.models import Sum

from evalsuite.orgs.models import Org, User
from evalsuite.quotas import reports
from experiments.models import Experiment, ExperimentRun
from experiments.services.drafting import Cell, Wanted, draft
from experiments.services.planning import DEFAULT_PARALLEL
from llm_routing.models import Endpoint

RECENT = 200  # answers of a model that its speed is taken from
SHOWN_LIMITS = ("requestsPerMinute", "tokensPerDay", "tokensPerMonth")
Place = tuple[UUID, UUID]  # model and variant


@dataclass(frozen=True, slots=True)
class Plan:
    """`calls` are cells that need their model; the others take an earlier answer over.

    `loads` is how often a server may have to load a model for them. Tokens are input and output together.
    None: nothing was measured for one of the models. `quota_left` by the names of limits: None, no limit.
    """

    cells: int
    calls: int
    cached_cells: int
    loads: int
    tokens: int | None
    minutes: float | None
    quota_left: dict[str, int | None]


@dataclass(frozen=True, slots=True)
class Measured:
    """Of recent answers. `tokens` is None where no answer had them told."""

    latency_ms: float
    tokens: float | None


def estimate(experiment: Experiment, *, user: User, **wanted: Unpack[Wanted]) -> Plan:
    """What a press of Run with these wishes would do now. Writes nothing. Raises as `drafting.draft`."""
    cells = draft(experiment, **wanted)
    calls = [cell for cell in cells if cell.cached_from is None]
    places = Counter((cell.setup.model.pk, cell.setup.variant.pk) for cell in calls)
    speeds = _measured(experiment.org, places)
    return Plan(
        cells=len(cells),
        calls=len(calls),
        cached_cells=len(cells) - len(calls),
        loads=len({(cell.setup.model.pk, cell.setup.load_key) for cell in calls}),
        tokens=_tokens(places, speeds),
        minutes=_minutes(calls, speeds, wanted.get("parallel") or DEFAULT_PARALLEL),
        quota_left=quota_left(experiment.org, user),
    )


def quota_left(org: Org, user: User) -> dict[str, int | None]:
    """What is left of each limit on calls now, by the limit's name on the wire. None: there is no limit."""
    return {
        one.name: None if one.limit is None else max(0, one.limit - (one.used or 0))
        for one in reports.limits_in_use(org, user)
        if one.name in SHOWN_LIMITS
    }


def _measured(org: Org, places: Collection[Place]) -> dict[Place, Measured]:
    """By the variant's own recent answers, or, where it has none, by all those of its model."""
    found: dict[Place, Measured] = {}
    for model in {model for model, _ in places}:
        answers = ExperimentRun.objects.for_org(org).filter(
            model=model,
            state=ExperimentRun.State.SUCCEEDED,
            cold_start=False,
            cached_from=None,
            latency_ms__isnull=False,
        )
        rows = list(
            answers.order_by("-id").values_list("variant", "latency_ms", "input_tokens", "output_tokens")[
                :RECENT
            ]
        )
        by_variant: dict[UUID, list[tuple[int, int | None, int | None]]] = defaultdict(list)
        for variant, *facts in rows:
            by_variant[variant].append(tuple(facts))  # type: ignore[arg-type]
        if rows:
            of_all = _summary([facts for some in by_variant.values() for facts in some])
            for place in places:
                own = by_variant.get(place[1])
                if place[0] == model:
                    found[place] = _summary(own) if own else of_all
    return found


def _summary(answers: Sequence[tuple[int | None, int | None, int | None]]) -> Measured:
    told = [taken + given for _, taken, given in answers if taken is not None and given is not None]
    return Measured(
        median(latency for latency, _, _ in answers if latency is not None), fmean(told) if told else None
    )


def _tokens(places: Mapping[Place, int], speeds: Mapping[Place, Measured]) -> int | None:
    total = 0.0
    for place, count in places.items():
        speed = speeds.get(place)
        if speed is None or speed.tokens is None:
            return None
        total += count * speed.tokens
    return round(total)


def _minutes(calls: Sequence[Cell], speeds: Mapping[Place, Measured], parallel: int) -> float | None:
    """Providers work side by side, the models of one provider one after the other, in rounds of its slots."""
    providers = {cell.setup.model.provider_id for cell in calls}
    slots = _slots(providers)
    groups: dict[tuple[UUID, UUID, str], list[float]] = defaultdict(list)
    for cell in calls:
        model = cell.setup.model
        speed = speeds.get((model.pk, cell.setup.variant.pk))
        if speed is None:
            return None
        groups[model.provider_id, model.pk, cell.setup.load_key].append(speed.latency_ms)
    by_provider: dict[UUID, float] = defaultdict(float)
    for (provider, _, _), latencies in groups.items():
        lanes = min(parallel, slots.get(provider, 0))
        if not lanes:
            return None  # no endpoint is switched on: it would wait for ever
        rounds = math.ceil(len(latencies) / lanes)
        by_provider[provider] += rounds * fmean(latencies)
    work = sum(map(sum, groups.values()))
    return max([work / parallel, *by_provider.values()], default=0) / 60_000


def _slots(providers: Collection[UUID]) -> dict[UUID, int]:
    """Calls that each provider takes at once, over its endpoints that are switched on."""
    rows = Endpoint.objects.filter(provider__in=providers, enabled=True)
    return dict(rows.order_by().values_list("provider").annotate(Sum("slots")))
