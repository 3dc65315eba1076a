from __future__ import annotations

import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from evalsuite.audit.models import AuditEvent
from experiments.datasets import formats
from experiments.datasets.checking import Checked
from experiments.datasets.formats import CSV, XLSX, JSONLines
from experiments.datasets.resources import InputResource
from experiments.models import ExperimentInput
from tests import factories

IMPORT = reverse("admin:experiments_experimentinput_import")
EXPORT = reverse("admin:experiments_experimentinput_export")


@pytest.fixture
def experiment(org):
    return factories.make_experiment(org, inputs=0)


@pytest.fixture
def staff(client, org):
    client.force_login(factories.make_user("sam", org=org, role="editor", is_staff=True))
    return client


def upload(client, experiment, text, *, kind="0"):
    data = text if isinstance(text, bytes) else text.encode()
    file = SimpleUploadedFile("inputs.csv", data)
    body = {"resource": "0", "experiment": str(experiment.pk), "format": kind, "import_file": file}
    return client.post(IMPORT, body)


def problems(text, *, kind=CSV, taken=()):
    return Checked(kind().create_dataset(text), set(taken)).problems


def test_imports_a_csv_file_with_both_ways_of_telling_metadata(staff, experiment):
    text = 'key,content,expected,metadata,metadata.lang\na,"two\nlines",yes,"{""n"": 1}",de\nb,hi,,,\n'
    assert upload(staff, experiment, text).status_code == 302
    a, b = experiment.inputs.order_by("id")
    assert (a.key, a.content, a.expected, a.metadata) == ("a", "two\nlines", "yes", {"n": 1, "lang": "de"})
    assert (b.expected, b.metadata) == (None, {})
    event = AuditEvent.objects.get(event="experiment.inputs.created")
    assert (event.actor_name, event.after["count"]) == ("sam", 2)


def test_imports_json_lines(staff, experiment):
    lines = [
        {"key": "a", "content": "x", "metadata": {"n": [1]}},
        {"key": "b", "content": "=1+1", "expected": "2"},
    ]
    text = "\n".join(map(json.dumps, lines))
    assert upload(staff, experiment, text, kind="1").status_code == 302
    assert list(experiment.inputs.order_by("id").values_list("key", "content", "expected", "metadata")) == [
        ("a", "x", None, {"n": [1]}),
        ("b", "=1+1", "2", {}),
    ]


def test_one_bad_line_keeps_the_whole_file_out_and_is_shown(staff, experiment):
    answer = upload(staff, experiment, "key,content\na,fine\nb,\n")
    assert answer.status_code == 200
    assert "line 3, column content: missing" in answer.content.decode()
    assert not experiment.inputs.exists()


def test_every_fault_is_named_by_line_column_and_reason():
    long = "k" * 129
    start = f'key,content,metadata\na,"x\ny",\na,again,\n,no key,\nold,x,\n{long},x,\n'
    text = start + 'nul\0,x,\nd,x,{bad\ne,"  ",\nf,x,[1]\n'
    found = problems(text, taken={"old"})
    assert found[0] == "line 4, column key: a is also the key of line 2"
    assert found[1] == "line 5, column key: missing"
    assert found[2] == "line 6, column key: the experiment has an input old already"
    assert found[3] == "line 7, column key: 129 characters, it may have 128"
    assert found[4] == "line 8, column key: it holds a NUL character"
    assert found[5].startswith("line 9, column metadata: this is not JSON")
    assert found[6] == "line 10, column content: blank"
    assert found[7] == "line 11, column metadata: this is not a JSON object"
    assert len(found) == 8


def test_unknown_missing_and_doubled_columns_are_refused_by_name():
    assert problems("key,contents\na,b\n") == [
        "column contents: there is no such column",
        "column content: missing",
    ]
    assert problems("key,content,key\na,b,c\n") == ["column key: it comes twice"]


def test_a_line_with_too_many_or_too_few_columns_is_named():
    assert problems("key,content\na,b,c\nd,e\n") == ["line 2: it has 3 columns, the first line has 2"]


@pytest.mark.parametrize("text", ["", "key,content\n"])
def test_a_file_without_inputs_is_refused(text):
    assert problems(text) == ["There are no inputs in this file."]


def test_bad_json_lines_are_named():
    found = problems(
        '{"key": "a", "content": 1}\nnonsense\n[1]\n{"key": "\\ud800", "content": "x"}', kind=JSONLines
    )
    assert found[0].startswith("line 2: this is not JSON")
    assert found[1:] == [
        "line 3: this is not a JSON object",
        "line 1, column content: this is not a text",
        "line 4, column key: it holds half of a character (a lone surrogate)",
    ]


def test_bytes_that_are_no_text_are_refused_with_their_line(staff, experiment):
    answer = upload(staff, experiment, b"key,content\na,\xff\n")
    assert "line 2: This is not UTF-8 text." in answer.content.decode()


def test_a_file_over_the_bound_is_refused(staff, experiment, monkeypatch):
    monkeypatch.setattr("experiments.datasets.forms.UPLOAD_MAX", 10)
    answer = upload(staff, experiment, "key,content\na,b\n")
    assert answer.status_code == 200
    assert not experiment.inputs.exists()
    assert formats.UPLOAD_MAX == 10 * 1024 * 1024


def test_another_orgs_experiment_cannot_be_chosen(staff, charlie):
    elsewhere = factories.make_experiment(charlie.memberships.get().org, inputs=0, name="Foreign secret")
    assert "Foreign secret" not in staff.get(IMPORT).content.decode()
    assert upload(staff, elsewhere, "key,content\na,b\n").status_code == 200
    assert not elsewhere.inputs.exists()


def test_who_may_only_read_may_not_import(client, org, experiment):
    client.force_login(factories.make_user("vera", org=org, role="viewer", is_staff=True))
    assert client.get(IMPORT).status_code == 403
    assert client.get(EXPORT).status_code == 200


TRICKY = [
    ("=1+1", "=HYPERLINK(1)", "+1", {"a": "=x", "n": [1, None]}),
    ("'=k", "''-x", None, {}),
    ("plain", "'quoted' text", "ä \u2028 \r\n line", {"deep": {"é": 1}}),
    ("@at", "\ttab", "-1", {"x": 1.5}),
]


@pytest.mark.parametrize("kind", [CSV, JSONLines])
def test_what_is_exported_is_imported_as_it_was(kind, experiment, alice):
    for key, content, expected, metadata in TRICKY:
        experiment.inputs.create(key=key, content=content, expected=expected, metadata=metadata)
    text = kind().export_data(InputResource().export(experiment.inputs.order_by("id")))
    copy = factories.make_experiment(experiment.org, inputs=0)
    result = InputResource(experiment=copy, author=alice).import_data(kind().create_dataset(text.encode()))
    assert [str(error.error) for error in result.base_errors] == []
    rows = copy.inputs.order_by("id").values_list("key", "content", "expected", "metadata")
    assert list(rows) == TRICKY


def test_formulas_are_neutralised_on_export(staff, experiment):
    experiment.inputs.create(key="=cmd", content="@SUM(1)", expected="fine")
    answer = staff.post(EXPORT, {"format": "0", "resource": "0"})
    assert answer.content.decode().splitlines()[1] == "'=cmd,'@SUM(1),fine,{}"


def test_xlsx_is_for_reading_and_computes_nothing(experiment):
    from io import BytesIO

    from openpyxl import load_workbook

    experiment.inputs.create(key="=1+1", content="bell \x07")
    data = XLSX().export_data(InputResource().export(experiment.inputs.all()))
    rows = list(load_workbook(BytesIO(data)).active.values)
    assert rows[1][:2] == ("'=1+1", "bell  ")
    assert not XLSX().can_import()


def test_an_export_holds_rows_of_ones_own_orgs_only(staff, experiment, charlie):
    factories.make_experiment(charlie.memberships.get().org, inputs=2)
    experiment.inputs.create(key="mine", content="x")
    answer = staff.post(EXPORT, {"format": "1", "resource": "0"})
    assert [json.loads(line)["key"] for line in answer.content.decode().splitlines()] == ["mine"]
    assert ExperimentInput.objects.count() == 3
