"""Writing experiments: what is tested, in which ways, and by which evaluators."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from django.db import IntegrityError, transaction

from evalsuite.audit.services import record
from evalsuite.bulk import Alike, insert_alike
from evalsuite.errors import Conflict, InvalidBody
from evalsuite.ids import new_id
from evalsuite.orgs.models import Org, User
from experiments.evaluators.registry import KINDS
from experiments.models import (
    Batch,
    Evaluator,
    Experiment,
    ExperimentInput,
    ExperimentRun,
    ExperimentVariant,
)
from experiments.services import changes
from experiments.services.counting import scores_changed
from experiments.services.metric_definitions import ensure_metric
from llm_routing import registry

WRITE_AT_ONCE = 1_000  # rows
NUMBERED_KEY = re.compile(r"case_(\d{1,9})", re.ASCII)
KEYS_TOLD = 100  # of the inputs that one event tells of
NO_METADATA = "{}"


class NewInput(NamedTuple):
    """An input that is not written yet. A hundred thousand of them are lean: `metadata` is JSON already."""

    key: str
    content: str
    expected: str | None = None
    metadata: str = NO_METADATA


def create_experiment(*, org: Org, author: User, **fields: Any) -> Experiment:
    experiment = Experiment(org=org, created_by=author, **fields)
    changes.create(experiment, org=org, actor=author, facts={"name": experiment.name})
    return experiment


def delete_experiment(experiment: Experiment, *, actor: User) -> None:
    """With all its inputs, variants and results. Raises Conflict while a batch is under way."""
    with transaction.atomic():
        Experiment.objects.select_for_update().get(pk=experiment.pk)
        running = Batch.objects.filter(experiment=experiment, finished_at=None).count()
        if running:
            raise Conflict("A batch of this experiment is under way. Cancel it first.", batches=running)
        facts = {"name": experiment.name, "runs": experiment.runs.count()}
        changes.delete(experiment, org=experiment.org, actor=actor, facts=facts)


def create_variant(*, experiment: Experiment, author: User, **fields: Any) -> ExperimentVariant:
    variant = ExperimentVariant(experiment=experiment, **fields)
    facts = changes.told(variant, ["name", "experiment", "chat_profile", "system_prompt", "config"])
    changes.create(variant, org=experiment.org, actor=author, facts=facts)
    return variant


def add_inputs(*, experiment: Experiment, author: User, rows: Sequence[Mapping[str, Any]]) -> None:
    """Each row has key, content and perhaps expected and metadata. Raises as `add_new_inputs`."""
    new = [
        NewInput(row["key"], row["content"], row.get("expected"), json.dumps(row.get("metadata") or {}))
        for row in rows
    ]
    add_new_inputs(experiment=experiment, author=author, rows=new)


def add_new_inputs(*, experiment: Experiment, author: User, rows: Sequence[NewInput]) -> None:
    """All of them or none.

    Raises InvalidBody where a key comes twice, Conflict where the experiment has one already.
    """
    keys = [row.key for row in rows]
    _require_distinct(keys)
    try:
        with transaction.atomic():
            _require_new(experiment, keys)
            for start in range(0, len(rows), WRITE_AT_ONCE):
                _write_inputs(experiment, rows[start : start + WRITE_AT_ONCE])
            record(
                "experiment.inputs.created",
                org=experiment.org,
                actor=author,
                subject=experiment,
                after={"count": len(keys), "keys": keys[:KEYS_TOLD]},
            )
    except IntegrityError:
        _require_new(experiment, keys)  # another request was faster: by now its keys can be named
        raise


def _write_inputs(experiment: Experiment, rows: Sequence[NewInput]) -> None:
    """Without an instance for each: a hundred thousand of them take more memory than the product itself."""
    values = [(new_id(), *row) for row in rows]
    shared = {"experiment_id": experiment.pk}
    insert_alike(ExperimentInput, ("id", *NewInput._fields), Alike(values, shared))


def add_lines(*, experiment: Experiment, author: User, contents: Sequence[str]) -> None:
    """One input for each text, keyed case_1, case_2, ... on from the highest number there is."""
    if not contents:
        raise InvalidBody({"lines": ["There is no text in these lines."]})
    with transaction.atomic():
        Experiment.objects.select_for_update().get(pk=experiment.pk)  # numbers go to one writer at a time
        rows = [
            {"key": f"case_{number}", "content": content}
            for number, content in enumerate(contents, next_number(experiment))
        ]
        add_inputs(experiment=experiment, author=author, rows=rows)


def next_number(experiment: Experiment) -> int:
    """The N of the next case_N: one more than the highest there is."""
    keys = experiment.inputs.filter(key__startswith="case_").values_list("key", flat=True)
    numbers = (int(match[1]) for key in keys.iterator() if (match := NUMBERED_KEY.fullmatch(key)))
    return max(numbers, default=0) + 1


def _require_distinct(keys: Sequence[str]) -> None:
    first: dict[str, int] = {}
    twice: dict[str, list[str]] = {}
    for number, key in enumerate(keys):
        if first.setdefault(key, number) != number:
            twice[f"inputs.{number}.key"] = [f"The key {key} is also that of inputs.{first[key]}."]
    if twice:
        raise InvalidBody(twice)


def _require_new(experiment: Experiment, keys: Sequence[str]) -> None:
    taken: list[str] = []
    if experiment.inputs.exists():
        for start in range(0, len(keys), WRITE_AT_ONCE):  # no statement takes a hundred thousand values
            some = keys[start : start + WRITE_AT_ONCE]
            taken += experiment.inputs.filter(key__in=some).values_list("key", flat=True)
    if taken:
        raise Conflict("The experiment has inputs with these keys already.", keys=sorted(taken))


def delete_run(run: ExperimentRun, *, actor: User) -> None:
    """Raises Conflict while its batch is under way: a batch ends when all its cells are closed."""
    with transaction.atomic():
        batch = Batch.objects.select_for_update().get(pk=run.batch_id)
        if batch.finished_at is None:
            raise Conflict("The batch of this run is under way.", batchId=str(batch.pk))
        facts = changes.told(run, ["experiment", "batch", "variant", "input", "state"])
        changes.delete(run, org=run.experiment.org, actor=actor, facts=facts)
        scores_changed(run.experiment_id)


def create_evaluator(
    *, experiment: Experiment, author: User, kind: str, metric_key: str, **fields: Any
) -> Evaluator:
    """A metric that does not exist yet is created.

    Raises InvalidBody for settings the kind refuses, ModelNotFound for a model that the org may not call.
    """
    fields = {"name": KINDS[kind].title, "config": {}, **fields}
    _require_usable(experiment.org, kind, fields["config"])
    with transaction.atomic():
        metric = ensure_metric(experiment.org, metric_key, actor=author)
        evaluator = Evaluator(experiment=experiment, metric=metric, kind=kind, **fields)
        facts = {"experimentId": str(experiment.pk), "kind": kind, "metricKey": metric_key}
        changes.create(evaluator, org=experiment.org, actor=author, facts=facts)
    return evaluator


def _require_usable(org: Org, kind: str, config: Mapping[str, Any]) -> None:
    KINDS[kind].validate(config)
    if config.get("modelName"):
        registry.resolve(org, config.get("modelProvider"), config["modelName"])


def update_evaluator(
    evaluator: Evaluator, *, actor: User, metric_key: str | None = None, **fields: Any
) -> None:
    """Its kind stays. Raises as `create_evaluator`."""
    org = evaluator.experiment.org
    if "config" in fields:
        _require_usable(org, evaluator.kind, fields["config"])
    with transaction.atomic():
        if metric_key is not None:
            fields["metric"] = ensure_metric(org, metric_key, actor=actor)
        changes.update(evaluator, org=org, actor=actor, changes=fields)
