from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from evalsuite.audit.models import AuditEvent
from evalsuite.orgs.models import Membership, User
from evalsuite.uploads import UPLOAD_MAX
from experiments.datasets import uploads
from experiments.datasets.checking import Checked
from experiments.datasets.formats import CSV, XLSX, JSONLines
from experiments.datasets.resources import InputResource
from experiments.models import ExperimentInput
from tests import factories

IMPORT = reverse("admin:experiments_experimentinput_import")
PROCESS = reverse("admin:experiments_experimentinput_process_import")
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


def confirm(client, preview, **changes):
    data = {"ticket": preview.context["confirm_form"].initial["ticket"], **changes}
    return client.post(PROCESS, data, follow=True)


def messages_of(answer):
    return [str(message) for message in answer.context["messages"]]


def kept_files():
    return list(Path(tempfile.gettempdir()).glob(f"{uploads.PREFIX}*"))


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def problems(text, *, kind=CSV, taken=()):
    return Checked(kind().create_dataset(text), set(taken)).problems


def test_imports_a_csv_file_with_both_ways_of_telling_metadata(staff, experiment):
    text = 'key,content,expected,metadata,metadata.lang\na,"two\nlines",yes,"{""n"": 1}",de\nb,hi,,,\n'
    preview = upload(staff, experiment, text)
    assert "two\nlines" in preview.content.decode()
    assert not experiment.inputs.exists()
    assert messages_of(confirm(staff, preview)) == ["2 inputs were imported."]
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
    confirm(staff, upload(staff, experiment, text, kind="1"))
    assert list(experiment.inputs.order_by("id").values_list("key", "content", "expected", "metadata")) == [
        ("a", "x", None, {"n": [1]}),
        ("b", "=1+1", "2", {}),
    ]


def test_one_bad_line_keeps_the_whole_file_out_and_is_shown(staff, experiment):
    answer = upload(staff, experiment, "key,content\na,fine\nb,\n")
    assert answer.status_code == 200
    assert "line 3, column content: missing" in answer.content.decode()
    assert not experiment.inputs.exists()
    assert kept_files() == []


def test_a_long_preview_shows_the_first_rows(staff, experiment):
    text = "key,content\n" + "".join(f"k{n},{'x' * 500}\n" for n in range(30))
    preview = upload(staff, experiment, text)
    assert messages_of(preview) == ["30 inputs for “Tone”, all without fault. The first 20 are shown."]
    assert len(preview.context["result"].valid_rows()) == 20
    confirm(staff, preview)
    assert experiment.inputs.count() == 30
    assert kept_files() == []


def test_line_ends_inside_a_cell_stay_as_they_are(staff, experiment):
    confirm(staff, upload(staff, experiment, b'key,content\r\na,"x\r\ny\nz"\r\n'))
    assert experiment.inputs.get().content == "x\r\ny\nz"


def test_a_file_is_imported_once_and_by_who_sent_it(staff, experiment, org, client):
    preview = upload(staff, experiment, "key,content\na,b\n")
    client.force_login(factories.make_user("mallory", org=org, role="editor", is_staff=True))
    assert "expired" in messages_of(confirm(client, preview))[0]
    client.force_login(User.objects.get(username="sam"))
    confirm(client, preview)
    assert experiment.inputs.count() == 1
    assert "expired" in messages_of(confirm(client, preview))[0]
    for made_up in ("", "passwd", "../../etc/passwd"):
        assert "expired" in messages_of(confirm(client, preview, ticket=made_up))[0]


def test_rights_and_keys_are_checked_again_when_it_is_confirmed(staff, experiment):
    preview = upload(staff, experiment, "key,content\na,b\n")
    experiment.inputs.create(key="a", content="meanwhile")
    assert messages_of(confirm(staff, preview)) == [
        "line 2, column key: the experiment has an input a already"
    ]
    assert experiment.inputs.get().content == "meanwhile"
    preview = upload(staff, experiment, "key,content\nb,b\n")
    Membership.objects.update(role="viewer")
    assert confirm(staff, preview).status_code == 403
    assert experiment.inputs.count() == 1


def test_a_forgotten_upload_is_removed(staff, experiment):
    upload(staff, experiment, "key,content\na,b\n")
    (old,) = kept_files()
    os.utime(old, (0, 0))
    upload(staff, experiment, "key,content\na,b\n")
    assert len(kept_files()) == 1
    assert not old.exists()


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
    assert found[1].startswith("line 2: this is not JSON")
    assert [found[0], *found[2:]] == [
        "line 1, column content: this is not a text",
        "line 3: this is not a JSON object",
        "line 4, column key: it holds half of a character (a lone surrogate)",
    ]


def test_a_column_that_comes_late_is_missing_before():
    lines = JSONLines().create_dataset(
        '{"key": "a", "content": "x"}\n{"content": "y", "expected": "z", "key": "b"}'
    )
    assert Checked(lines, set()).rows == [("a", "x", None, "{}"), ("b", "y", "z", "{}")]


def test_bytes_that_are_no_text_are_refused_with_their_line(staff, experiment):
    answer = upload(staff, experiment, b"key,content\na,\xff\n")
    assert "line 2: This is not UTF-8 text." in answer.content.decode()


def test_bytes_that_are_no_text_are_refused_in_json_lines_too(staff, experiment):
    answer = upload(staff, experiment, '{"key": "a", "content": "x"}'.encode("utf-16"), kind="1")
    assert "This is not UTF-8 text." in answer.content.decode()


def test_a_file_over_the_bound_is_refused(staff, experiment):
    answer = upload(staff, experiment, "key,content\na," + "x" * UPLOAD_MAX)
    assert "A file may have 25 MB." in answer.content.decode()
    assert not experiment.inputs.exists()


def test_a_row_and_a_column_too_many_are_refused(staff, experiment):
    answer = upload(staff, experiment, "key,content\n" + "a,b\n" * 100_001)
    assert "line 100002: A file may have 100,000 rows." in answer.content.decode()
    answer = upload(staff, experiment, '{"a": 1}\n' * 100_001, kind="1")
    assert "line 100001: A file may have 100,000 rows." in answer.content.decode()
    wide = "\n".join(json.dumps({f"k{n}": 1}) for n in range(1000))
    answer = upload(staff, experiment, wide, kind="1")
    assert "columns: A file may have 200, this one has 1,000." in answer.content.decode()


@pytest.mark.parametrize(
    "metadata",
    [
        '{"x": NaN}',
        '{"x": 1e999}',
        '{"x": "\\u0000"}',
        '{"x": "\\ud800"}',
        '{"x": ' + "[" * 3000 + "]" * 3000 + "}",
        '{"x": ' + "9" * 5000 + "}",
        '{"x": "' + "y" * 300_000 + '"}',
    ],
    ids=lambda text: text[:20],
)
def test_metadata_that_no_database_keeps_is_named(metadata):
    quoted = metadata.replace('"', '""')
    (fault,) = problems(f'key,content,metadata\na,b,"{quoted}"\n')
    assert fault.startswith("line 2, column metadata: ")


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
    ("controls", "bell \x07 and _x0041_", "lines\r\nand \x1b", {}),
    ("long", "=" + "0123456789" * 10_000, "'" * 40_000, {"long": "ü" * 30_000}),
]


@pytest.mark.parametrize("kind", [CSV, JSONLines, XLSX])
def test_what_is_exported_is_imported_as_it_was(kind, experiment, alice):
    for key, content, expected, metadata in TRICKY:
        experiment.inputs.create(key=key, content=content, expected=expected, metadata=metadata)
    data = kind().export_data(InputResource().export(experiment.inputs.order_by("id")))
    copy = factories.make_experiment(experiment.org, inputs=0)
    data = data.encode() if isinstance(data, str) else data
    result = InputResource(experiment=copy, author=alice).import_data(kind().create_dataset(data))
    assert [str(error.error) for error in result.base_errors] == []
    rows = copy.inputs.order_by("id").values_list("key", "content", "expected", "metadata")
    assert list(rows) == TRICKY


def test_formulas_are_neutralised_on_export(staff, experiment):
    experiment.inputs.create(key="=cmd", content="@SUM(1)", expected="fine")
    answer = staff.post(EXPORT, {"format": "0", "resource": "0"})
    assert answer.content.decode().splitlines()[1] == "'=cmd,'@SUM(1),fine,{}"


def test_xlsx_computes_nothing_and_keeps_what_no_cell_can_hold_beside_it(experiment):
    from io import BytesIO

    from openpyxl import load_workbook

    experiment.inputs.create(key="=1+1", content="bell \x07", expected="z" * 40_000)
    book = load_workbook(BytesIO(XLSX().export_data(InputResource().export(experiment.inputs.all()))))
    rows = list(book.worksheets[0].values)
    assert rows[1][:2] == ("'=1+1", "bell _x0007_")
    assert rows[1][2].startswith("zzz")
    assert "long texts" in rows[1][2]
    assert len(rows[1][2]) <= 32_767
    assert book["long texts"].max_row == 2


def test_a_workbook_that_unpacks_to_too_much_is_refused(staff, experiment):
    import zipfile
    from io import BytesIO

    bomb = BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", b"0" * 450_000_000)
    answer = upload(staff, experiment, bomb.getvalue(), kind="2")
    assert "This workbook unpacks to more than may be read." in answer.content.decode()


def test_an_export_holds_rows_of_ones_own_orgs_only(staff, experiment, charlie):
    factories.make_experiment(charlie.memberships.get().org, inputs=2)
    experiment.inputs.create(key="mine", content="x")
    answer = staff.post(EXPORT, {"format": "1", "resource": "0"})
    assert [json.loads(line)["key"] for line in answer.content.decode().splitlines()] == ["mine"]
    assert ExperimentInput.objects.count() == 3
