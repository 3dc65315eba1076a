"""What a press of Run would do, cell by cell, before anything is written.

What the cells of a variant or of an input share is worked out and serialised once: ten thousand cells
are planned while their author waits.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, TypedDict, TypeVar, Unpack
from uuid import UUID

from django.db.models import Model, Q, QuerySet

from evalsuite.errors import Conflict, InvalidBody, NotFound
from evalsuite.quotas.limits import limits_of
from experiments.models import Experiment, ExperimentRun, ExperimentVariant
from experiments.services.prompting import fill
from llm_routing import registry, resolution
from llm_routing.models import Provider, RegisteredModel
from llm_routing.types import Parameters

M = TypeVar("M", bound=Model)
STATE = ExperimentRun.State
ONLY_INPUT = "{{ input }}"
DONE_OR_OPEN = (STATE.SUCCEEDED, STATE.QUEUED, STATE.RUNNING)
LOOK_AT_ONCE = 2_000  # earlier cells


class Wanted(TypedDict, total=False):
    """What a press of Run asks for. No ids, or None: all inputs, all variants.

    `fill_gaps`: only cells that have no answer yet. `parallel`: most calls in the air, None for the
    default. `token_budget`: tokens after which the batch pauses, None for no limit.
    """

    input_ids: Sequence[UUID] | None
    variant_ids: Sequence[UUID] | None
    repeats: int
    parallel: int | None
    fill_gaps: bool
    use_cache: bool
    at_most_once: bool
    token_budget: int | None


@dataclass(frozen=True, slots=True)
class Setup:
    """All that the cells of one variant share. `origin` is JSON text."""

    variant: ExperimentVariant
    settings: resolution.Settings
    template: str
    load_key: str
    parameters: dict[str, Any]
    origin: str
    hash_head: str | None  # None: the answer is left to chance

    @property
    def model(self) -> RegisteredModel:
        return self.settings.model


class Case(NamedTuple):
    """What is read of an input; ten thousand model instances would take ten times as long."""

    pk: UUID
    key: str
    content: str
    expected: str | None
    metadata: dict[str, Any]


@dataclass(slots=True)
class Cell:
    """One call to make. `messages` is JSON text."""

    setup: Setup
    input: Case
    repeat: int
    messages: str
    snapshot: str
    request_hash: str
    cached_from: UUID | None = None
    cached_latency_ms: int | None = None


def draft(experiment: Experiment, **wanted: Unpack[Wanted]) -> list[Cell]:
    """The cells in the order of work: one model and its load-time options after the other.

    Raises InvalidBody where there is nothing to run or too much, NotFound for an id that is not the
    experiment's, ModelNotFound for a variant whose model is not to be had, Conflict where `fill_gaps`
    finds no gap.
    """
    rows = _chosen(experiment.inputs.order_by("id"), wanted.get("input_ids"), "input")
    inputs = [Case._make(row) for row in rows.values_list("pk", "key", "content", "expected", "metadata")]
    variants = list(
        _chosen(
            experiment.variants.select_related("chat_profile").order_by("id"),
            wanted.get("variant_ids"),
            "variant",
        )
    )
    repeats = wanted.get("repeats", 1)
    most = limits_of(experiment.org).cells_per_batch
    _require_runnable(inputs, variants, len(inputs) * len(variants) * repeats, most)
    find = cache(registry.resolve)
    setups = [_setup(experiment, variant, find) for variant in variants]
    tails = [_tail(row) for row in inputs]
    cells = [cell for setup in setups for cell in _cells(setup, inputs, tails, repeats)]
    if wanted.get("fill_gaps"):
        cells = _missing(experiment, setups, cells, repeats)
    if wanted.get("use_cache"):
        _take_from_cache(experiment, cells)
    order = {row.pk: number for number, row in enumerate(inputs)}
    cells.sort(key=lambda cell: (cell.setup.model.pk, cell.setup.load_key, cell.repeat, order[cell.input.pk]))
    return cells


def _chosen(rows: QuerySet[M], ids: Sequence[UUID] | None, kind: str) -> QuerySet[M]:
    if ids is None:
        return rows
    if not ids:
        raise InvalidBody({f"{kind}Ids": ["This list may not be empty. Leave it out to run all."]})
    chosen = rows.filter(pk__in=ids)
    missing = set(ids).difference(chosen.values_list("pk", flat=True))
    if missing:
        raise NotFound(kind, ids=sorted(map(str, missing)))
    return chosen


def _require_runnable(inputs: Collection[Any], variants: Collection[Any], total: int, most: int) -> None:
    problems = {}
    if not inputs:
        problems["inputs"] = ["The experiment has no inputs yet."]
    if not variants:
        problems["variants"] = ["The experiment has no variants yet."]
    if total > most:
        problems["body"] = [f"This would be {total:,} cells; one run may have {most:,}."]
    if problems:
        raise InvalidBody(problems)


def _setup(experiment: Experiment, variant: ExperimentVariant, find: Callable[..., RegisteredModel]) -> Setup:
    profile = variant.chat_profile
    chosen = resolution.resolve(
        experiment.org,
        profile=profile,
        explicit=variant.config,
        system_prompt=variant.system_prompt,
        find=find,
    )
    template = variant.config.get("promptTemplate") or ONLY_INPUT
    parameters = resolution.parameters_to_json(chosen.parameters)
    origin = {
        "variant": variant.name,
        "promptTemplate": template,
        "chatProfile": profile and {"id": str(profile.pk), "name": profile.name, "version": profile.version},
    }
    return Setup(
        variant=variant,
        settings=chosen,
        template=template,
        load_key=load_key(chosen.model, chosen.parameters),
        parameters=parameters,
        origin=json.dumps(origin),
        hash_head=_hash_head(chosen.model, parameters) if is_determined(chosen.parameters) else None,
    )


def load_key(model: RegisteredModel, parameters: Parameters) -> str:
    """The options that a server loads the model with: calls that differ in it make it load again.

    Such as `num_ctx=4096`; empty where the server has no such option.
    """
    if model.provider.kind != Provider.Kind.OLLAMA or parameters.num_ctx is None:
        return ""
    return f"num_ctx={parameters.num_ctx}"


def is_determined(parameters: Parameters) -> bool:
    """True where the same request gets the same answer: nothing is drawn, or drawn from a fixed seed."""
    return parameters.temperature == 0 or parameters.seed is not None


def _hash_head(model: RegisteredModel, parameters: dict[str, Any]) -> str:
    facts = [model.provider.slug, model.name, model.digest, parameters]
    return json.dumps(facts, sort_keys=True, separators=(",", ":"))


def _tail(row: Case) -> str:
    """What the snapshots of an input's cells share, as the rest of a JSON object that has begun."""
    facts = {"inputKey": row.key, "content": row.content, "expected": row.expected, "metadata": row.metadata}
    return json.dumps(facts)[1:]


def _cells(setup: Setup, inputs: Sequence[Case], tails: Sequence[str], repeats: int) -> Iterator[Cell]:
    begun = f"{setup.origin[:-1]}, "
    for row, tail in zip(inputs, tails, strict=True):
        messages = _messages(setup, row)
        digest = ""
        if setup.hash_head is not None:
            digest = hashlib.sha256(f"{setup.hash_head}\n{messages}".encode()).hexdigest()
        for repeat in range(1, repeats + 1):
            yield Cell(setup, row, repeat, messages, begun + tail, digest)


def _messages(setup: Setup, row: Case) -> str:
    if setup.template == ONLY_INPUT:
        prompt = row.content
    else:
        where = f"Variant {setup.variant.name}, input {row.key}: "
        prompt = fill(setup.template, content=row.content, metadata=row.metadata, where=where)
    return json.dumps([{"role": one.role, "content": one.content} for one in setup.settings.messages(prompt)])


def _missing(
    experiment: Experiment, setups: Sequence[Setup], cells: Sequence[Cell], repeats: int
) -> list[Cell]:
    """Those without an answer to what would be sent now, and without a call for it under way."""
    open_gaps = {(cell.setup.variant.pk, cell.input.pk, cell.repeat): cell for cell in cells}
    same_model = Q()
    for setup in setups:
        same_model |= Q(
            variant=setup.variant,
            model_provider=setup.model.provider.slug,
            model_name=setup.model.name,
            model_digest=setup.model.digest,
        )
    earlier = experiment.runs.filter(same_model, state__in=DONE_OR_OPEN, repeat__lte=repeats)
    facts = earlier.values_list("variant_id", "input_id", "repeat", "messages", "parameters")
    parameters = {setup.variant.pk: json.loads(json.dumps(setup.parameters)) for setup in setups}
    # The newest first: the latest batch usually has what is not missing, and the rest need not be read.
    for *place, messages, sent in facts.order_by("-id").iterator(chunk_size=LOOK_AT_ONCE):
        cell = open_gaps.get(tuple(place))  # type: ignore[arg-type]
        if cell and json.loads(cell.messages) == messages and parameters[cell.setup.variant.pk] == sent:
            del open_gaps[tuple(place)]  # type: ignore[arg-type]
            if not open_gaps:
                break
    if not open_gaps:
        raise Conflict("Nothing is missing: every one of these cells has its answer, or is under way.")
    return list(open_gaps.values())


def _take_from_cache(experiment: Experiment, cells: Sequence[Cell]) -> None:
    """Name the latest earlier answer of the org for each cell that has one, in one query for all."""
    hashes = {cell.request_hash for cell in cells if cell.request_hash}
    answered = ExperimentRun.objects.for_org(experiment.org).filter(
        ~Q(request_hash=""),  # as the index has it
        state=STATE.SUCCEEDED,
        request_hash__in=hashes,
        cached_from=None,
        cached_latency_ms=None,
    )
    facts = answered.order_by("id").values_list("request_hash", "id", "latency_ms") if hashes else ()
    found = {digest: (original, latency) for digest, original, latency in facts}
    for cell in cells:
        cell.cached_from, cell.cached_latency_ms = found.get(cell.request_hash, (None, None))
