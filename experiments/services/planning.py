"""One press of Run: the whole batch is written down, then workers may look for it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar
from uuid import UUID

from django.conf import settings
from django.db import models, transaction

from evalsuite.audit.services import record
from evalsuite.clock import in_seconds
from evalsuite.errors import InvalidBody, NotFound
from evalsuite.orgs.models import User
from experiments.models import Batch, Experiment, ExperimentInput, ExperimentRun, ExperimentVariant
from experiments.services import permits
from experiments.services.prompting import fill
from llm_routing import resolution

DEFAULT_PARALLEL = 16
WRITE_AT_ONCE = 1_000  # rows
M = TypeVar("M", bound=models.Model)


def start_batch(
    *,
    experiment: Experiment,
    author: User | None,
    input_ids: Sequence[UUID] | None = None,
    variant_ids: Sequence[UUID] | None = None,
    repeats: int = 1,
    parallel: int | None = None,
) -> Batch:
    """Plan one cell for each input, variant and repeat; None means all of them.

    Raises InvalidBody where there is nothing to run or too much, NotFound for an id that is not
    the experiment's, ModelNotFound for a variant whose model is not to be had. Nothing is written then.
    """
    with transaction.atomic():
        inputs = _chosen(experiment.inputs.order_by("id"), input_ids, "input")
        variants = _chosen(
            experiment.variants.select_related("chat_profile").order_by("id"), variant_ids, "variant"
        )
        total = len(inputs) * len(variants) * repeats
        _require_runnable(inputs, variants, total)
        batch = Batch.objects.create(
            experiment=experiment,
            author=author,
            parallel=parallel or DEFAULT_PARALLEL,
            repeats=repeats,
            total=total,
            permits_due_at=in_seconds(permits.GRACE_S),
        )
        cells = _plan(batch, inputs, variants)
        ExperimentRun.objects.bulk_create(cells, batch_size=WRITE_AT_ONCE)
        record(
            "experiment.run.started", org=experiment.org, actor=author, subject=batch, after={"cells": total}
        )
    transaction.on_commit(lambda: permits.hand_out(batch.pk, parallel=min(batch.parallel, total)))
    return batch


def _chosen(rows: models.QuerySet[M], ids: Sequence[UUID] | None, kind: str) -> list[M]:
    if ids is None:
        return list(rows)
    if not ids:
        raise InvalidBody({f"{kind}Ids": ["This list may not be empty. Leave it out to run all."]})
    found = list(rows.filter(pk__in=ids))
    missing = set(ids) - {row.pk for row in found}
    if missing:
        raise NotFound(kind, ids=sorted(map(str, missing)))
    return found


def _require_runnable(inputs: list[Any], variants: list[Any], total: int) -> None:
    problems = {}
    if not inputs:
        problems["inputs"] = ["The experiment has no inputs yet."]
    if not variants:
        problems["variants"] = ["The experiment has no variants yet."]
    if total > settings.RUN_CELLS_MAX:
        problems["body"] = [f"This would be {total:,} cells; one run may have {settings.RUN_CELLS_MAX:,}."]
    if problems:
        raise InvalidBody(problems)


def _plan(
    batch: Batch, inputs: list[ExperimentInput], variants: list[ExperimentVariant]
) -> list[ExperimentRun]:
    """The cells in the order of work: one model and context after the other, since switching reloads."""
    cells = [cell for variant in variants for cell in _cells_of(batch, variant, inputs)]
    order = {row.pk: number for number, row in enumerate(inputs)}
    cells.sort(
        key=lambda cell: (
            str(cell.model_id),
            cell.parameters["num_ctx"],
            cell.repeat,
            order[cell.input_id],
        )
    )
    for position, cell in enumerate(cells):
        cell.position = position
    return cells


def _cells_of(
    batch: Batch, variant: ExperimentVariant, inputs: list[ExperimentInput]
) -> Iterator[ExperimentRun]:
    profile = variant.chat_profile
    chosen = resolution.resolve(
        batch.experiment.org,
        profile=profile,
        explicit=variant.config,
        system_prompt=variant.system_prompt,
    )
    template = variant.config.get("promptTemplate") or "{{ input }}"
    parameters = resolution.parameters_to_json(chosen.parameters)
    origin = {
        "variant": variant.name,
        "promptTemplate": template,
        "chatProfile": profile and {"id": str(profile.pk), "name": profile.name, "version": profile.version},
    }
    for row in inputs:
        where = f"Variant {variant.name}, input {row.key}: "
        prompt = fill(template, content=row.content, metadata=row.metadata, where=where)
        messages = [{"role": message.role, "content": message.content} for message in chosen.messages(prompt)]
        for repeat in range(1, batch.repeats + 1):
            yield ExperimentRun(
                experiment_id=batch.experiment_id,
                batch=batch,
                variant=variant,
                input=row,
                repeat=repeat,
                model=chosen.model,
                model_provider=chosen.model.provider.slug,
                model_name=chosen.model.name,
                model_digest=chosen.model.digest,
                temperature=chosen.parameters.temperature,
                top_p=chosen.parameters.top_p,
                max_tokens=chosen.parameters.max_tokens,
                parameters=parameters,
                messages=messages,
                snapshot={**origin, "inputKey": row.key, "content": row.content, "expected": row.expected},
            )


def wait_until_finished(batch: Batch, *, timeout_s: float) -> bool:
    """Watch the database until the batch has ended. False where it goes on after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    pause = 0.02
    while True:
        batch.refresh_from_db(fields=["state", "finished_at"])
        if batch.finished_at is not None:
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 1.5, 0.25)
