"""Inputs on their way in through the console, and what can be taken out as a file."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from openpyxl import load_workbook

from evalsuite.audit.models import AuditEvent
from experiments.datasets import mapping, uploads
from experiments.datasets.formats import JSONLines, PastedTable
from experiments.models import ExperimentRun
from experiments.services import feedback
from tests import factories


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def experiment(org):
    return factories.make_experiment(org, inputs=0)


@pytest.fixture
def console(client, alice):
    client.force_login(alice)
    return client


def page(experiment):
    return f"/app/orgs/{experiment.org_id}/experiments/{experiment.pk}/import"


def send(client, experiment, data=b"", *, name="inputs.csv", **fields):
    files = {"file": SimpleUploadedFile(name, data)} if data else {}
    return client.post(page(experiment), {**files, **fields})


def kept_files():
    return list(Path(tempfile.gettempdir()).glob(f"{uploads.PREFIX}*"))


def go_on(client, experiment, preview, **fields):
    return send(client, experiment, ticket=preview.context["ticket"], **fields)


def test_a_file_is_shown_first_and_written_when_confirmed(console, experiment):
    preview = send(console, experiment, b"key,content,expected,lang\na,Hello,Hi,en\nb,Moin,,de\n")
    assert [column.target for column in preview.context["reading"].columns] == [
        "key",
        "content",
        "expected",
        "metadata.lang",
    ]
    assert not experiment.inputs.exists()
    answer = go_on(console, experiment, preview, **{"import": "1"})
    assert answer.status_code == 302
    rows = list(experiment.inputs.order_by("id").values_list("key", "content", "expected", "metadata"))
    assert rows == [("a", "Hello", "Hi", {"lang": "en"}), ("b", "Moin", None, {"lang": "de"})]
    assert AuditEvent.objects.get(event="experiment.inputs.created").after["count"] == 2
    assert kept_files() == []


def test_a_person_says_what_each_column_becomes(console, experiment):
    preview = send(console, experiment, b"a,b,c\nfirst,second,third\n")
    answer = go_on(
        console,
        experiment,
        preview,
        target=["metadata.", "content", ""],
        metadata_name=["where", "", ""],
        **{"import": "1"},
    )
    assert answer.status_code == 302
    only = experiment.inputs.get()
    assert (only.key, only.content, only.metadata) == ("case_1", "second", {"where": "first"})


def test_rows_without_a_key_go_on_numbering(console, experiment):
    experiment.inputs.create(key="case_7", content="x")
    preview = send(console, experiment, text="question\tanswer\nOne?\t1\nTwo?\t2\n")
    go_on(console, experiment, preview, **{"import": "1"})
    keys = experiment.inputs.order_by("id").values_list("key", "expected")
    assert list(keys) == [("case_7", None), ("case_8", "1"), ("case_9", "2")]


def test_pasted_json_lines_are_known_as_such(console, experiment):
    preview = send(console, experiment, text='{"input": "x", "ideal": ""}')
    go_on(console, experiment, preview, **{"import": "1"})
    assert experiment.inputs.get().expected == ""


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("a.csv", b"key,content\na,\n", "line 2, column content: missing"),
        ("a.csv", b"key,content\na,x\na,y\n", "line 3, column key: a is also the key of line 2"),
        ("a.jsonl", b"{\n", "line 1: this is not JSON"),
        ("a.csv", b"\xff\xfe\n", "This is not UTF-8 text."),
        ("a.xlsx", b"PK nonsense", "This is not an XLSX workbook."),
        ("a.exe", b"x", "Name it by what it is"),
        ("a.csv", b"key,content\n", "There are no inputs in this file."),
        ("a.csv", b'key,content\na,"open', "This is not CSV"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_written(console, experiment, name, data, told):
    answer = send(console, experiment, data, name=name)
    assert told in answer.content.decode()
    assert answer.status_code in (200, 400)
    assert not experiment.inputs.exists()


@pytest.mark.parametrize("data", [b"", b" "])
def test_an_empty_file_is_refused(console, experiment, data):
    answer = console.post(page(experiment), {"file": SimpleUploadedFile("a.csv", data)})
    assert "There are no inputs in this file." in answer.content.decode()


def test_nothing_sent_is_refused(console, experiment):
    assert "Choose a file, or paste a table." in send(console, experiment).content.decode()


def test_an_endless_line_is_refused_before_it_is_kept(console, experiment):
    answer = send(console, experiment, b"x" * (27 * 1024 * 1024))
    assert answer.status_code == 413
    assert "more than one request may bring" in answer.content.decode()
    assert kept_files() == []


def test_a_kept_file_serves_its_sender_its_experiment_and_once(console, experiment, org, client):
    preview = send(console, experiment, b"key,content\na,x\n")
    other = factories.make_experiment(org, inputs=0, name="Other")
    assert "expired" in go_on(console, other, preview, **{"import": "1"}).content.decode()
    assert go_on(console, experiment, preview, **{"import": "1"}).status_code == 302
    assert "expired" in go_on(console, experiment, preview, **{"import": "1"}).content.decode()
    client.force_login(factories.make_user("ed", org=org, role="editor"))
    assert "expired" in go_on(client, experiment, preview).content.decode()


def test_who_may_only_read_may_not_import(client, org, experiment):
    client.force_login(factories.make_user("vera", org=org, role="viewer"))
    assert client.get(page(experiment)).status_code == 403
    assert client.post(page(experiment)).status_code == 403


def test_markup_in_a_file_is_text(console, experiment):
    html = send(console, experiment, b"key,content\n<b>k</b>,<script>x</script>\n").content.decode()
    assert "<script>x" not in html
    assert "&lt;script&gt;x" in html


def test_columns_are_guessed_by_what_they_are_called():
    assert mapping.guessed(["Id", "Question", "Reference", "topic"]) == [
        "key",
        "content",
        "expected",
        "metadata.topic",
    ]
    assert mapping.guessed(["something"]) == ["content"]
    assert mapping.guessed(["prompt", "content"]) == ["metadata.prompt", "content"]
    assert mapping.guessed(["", "content"]) == ["", "content"]


def test_columns_that_are_left_out_are_gone():
    lines = PastedTable().create_dataset("a\tb\n1\t2\n")
    mapping.rename(lines, ["", "content"], first_number=3)
    assert (lines.headers, lines.first()) == (["key", "content"], ("case_3", "2"))
    assert JSONLines().create_dataset('{"expected": ""}').blank_is_missing is False


# Out


@pytest.fixture
def scored(org, alice):
    """An experiment with one answer that begins like a formula, and its scores."""
    experiment = factories.make_experiment(org, inputs=2, variants=1)
    run = factories.make_run(experiment)
    ExperimentRun.objects.filter(pk=run.pk).update(output="=HYPERLINK(1)", latency_ms=12, feedback_note="+1")
    bob = factories.make_user("bob", org=org, role="rater")
    for rater, value in ((alice, 1), (bob, 0)):
        feedback.give_score(run, org=org, rater=rater, metric_key="style", value=value, note=None)
    return experiment


def take(client, experiment, table, kind, api=False, **query):
    root = "/api/v1" if api else "/app"
    address = f"{root}/orgs/{experiment.org_id}/experiments/{experiment.pk}/export/{table}/{kind}"
    answer = client.get(address, query)
    assert answer.status_code == 200
    return answer, b"".join(answer)


def test_runs_come_with_their_mean_scores_and_no_formulas(console, scored):
    answer, data = take(console, scored, "runs", "csv")
    (row,) = csv.DictReader(io.StringIO(data.decode()))
    assert (row["output"], row["note"], row["latencyMs"], row["score.style"]) == (
        "'=HYPERLINK(1)",
        "'+1",
        "12",
        "0.5",
    )
    assert answer["Content-Disposition"].startswith("attachment; filename=")


def test_json_lines_keep_every_value_as_it_is(api, scored):
    _, data = take(api, scored, "runs", "jsonl", api=True)
    row = json.loads(data)
    assert (row["output"], row["thumbsUp"], row["score.style"]) == ("=HYPERLINK(1)", None, 0.5)


def test_scores_come_one_by_one_with_who_gave_them(console, scored):
    _, data = take(console, scored, "scores", "xlsx")
    rows = list(load_workbook(io.BytesIO(data)).worksheets[0].values)
    column = rows[0].index("rater")
    assert {(row[column], row[rows[0].index("value")]) for row in rows[1:]} == {("alice", 1), ("bob", 0)}


@pytest.mark.parametrize("kind", ["csv", "jsonl", "xlsx"])
def test_exported_inputs_are_imported_again_as_they_were(console, scored, experiment, kind):
    scored.inputs.create(key="=k", content="'@\r\n_x0041_", expected="-1", metadata={"a": [1, "="]})
    _, data = take(console, scored, "inputs", kind)
    preview = send(console, experiment, data, name=f"inputs.{kind}")
    assert preview.context["reading"].problems == []
    go_on(console, experiment, preview, **{"import": "1"})
    columns = ("key", "content", "expected", "metadata")
    assert list(experiment.inputs.order_by("id").values_list(*columns)) == list(
        scored.inputs.order_by("id").values_list(*columns)
    )


def test_one_batch_alone_can_be_taken(api, scored):
    batch = scored.batches.get()
    factories.make_run(scored)
    _, data = take(api, scored, "runs", "jsonl", api=True, batchId=str(batch.pk))
    assert len(data.splitlines()) == batch.runs.count()


def test_pages_of_rows_follow_each_other_without_a_gap(api, scored, monkeypatch):
    from experiments.datasets import tables

    monkeypatch.setattr(tables, "AT_ONCE", 2)
    for number in range(7):
        scored.inputs.create(key=f"more_{number}", content="x")
    _, data = take(api, scored, "inputs", "jsonl", api=True)
    keys = [json.loads(line)["key"] for line in data.splitlines()]
    assert keys == list(scored.inputs.order_by("id").values_list("key", flat=True))


@pytest.mark.parametrize(("table", "kind"), [("people", "csv"), ("runs", "exe")])
def test_there_is_no_file_of_anything_else(api, scored, table, kind):
    answer = api.get(f"/api/v1/orgs/{scored.org_id}/experiments/{scored.pk}/export/{table}/{kind}")
    assert (answer.status_code, answer.json()["error"]) == (404, "EXPORT_NOT_FOUND")
