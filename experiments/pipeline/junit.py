"""JUnit XML, as CI servers read it: a suite for each variant, a case for each cell and each gate.

A failed call is an error, a broken gate a failure, a cell that was not called is skipped. Answers of
models are not in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any
from xml.sax.saxutils import XMLGenerator
from xml.sax.xmlreader import AttributesImpl

from experiments.models import Batch, ExperimentRun
from experiments.pipeline.gates import Gate, Judged, Outcome
from experiments.services.results import VariantResult

NO_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
LONGEST = 1_000  # characters of a message
STATE = ExperimentRun.State


def write(file: Any, batch: Batch, results: Sequence[VariantResult], judged: Judged) -> None:
    """Into a text file that is open for writing. Cells are read one by one."""
    xml = XMLGenerator(file, encoding="utf-8")
    xml.startDocument()
    _start(xml, "testsuites", name=batch.experiment.name)
    for found in results:
        gates = [gate for gate in judged.gates if gate.variant == found.variant]
        _suite(xml, batch, found, gates)
    xml.endElement("testsuites")
    xml.endDocument()


def _suite(xml: XMLGenerator, batch: Batch, found: VariantResult, gates: Sequence[Gate]) -> None:
    cells = found.cells
    outcomes = [gate.outcome for gate in gates]
    _start(
        xml,
        "testsuite",
        name=found.variant.name,
        tests=cells["total"] + len(gates),
        failures=outcomes.count(Outcome.BROKEN),
        errors=cells[STATE.FAILED] + outcomes.count(Outcome.UNKNOWN),
        skipped=cells["total"] - cells[STATE.SUCCEEDED] - cells[STATE.FAILED],
        timestamp=f"{batch.created_at:%Y-%m-%dT%H:%M:%S}",
    )
    for cell in _cells(batch, found):
        _cell(xml, found, cell)
    for gate in gates:
        _gate(xml, found, gate)
    xml.endElement("testsuite")


def _cells(batch: Batch, found: VariantResult) -> Iterator[ExperimentRun]:
    cells = batch.runs.filter(variant=found.variant).select_related("input").order_by("position", "id")
    needed = ("repeat", "state", "error_code", "error_message", "latency_ms", "input__key")
    return cells.only(*needed).iterator(chunk_size=500)


def _cell(xml: XMLGenerator, found: VariantResult, cell: ExperimentRun) -> None:
    name = cell.input.key if cell.repeat == 1 else f"{cell.input.key} #{cell.repeat}"
    _start(
        xml,
        "testcase",
        classname=found.variant.name,
        name=name,
        time=f"{(cell.latency_ms or 0) / 1000:.3f}",
    )
    if cell.state == STATE.FAILED:
        _empty(xml, "error", type=cell.error_code, message=cell.error_message)
    elif cell.state != STATE.SUCCEEDED:
        _empty(xml, "skipped", message=cell.state)
    xml.endElement("testcase")


def _gate(xml: XMLGenerator, found: VariantResult, gate: Gate) -> None:
    _start(xml, "testcase", classname=f"{found.variant.name}.gates", name=gate.name, time="0")
    if gate.outcome is Outcome.BROKEN:
        _empty(xml, "failure", message=gate.note)
    elif gate.outcome is Outcome.UNKNOWN:
        _empty(xml, "error", type="UNKNOWN", message=gate.note)
    xml.endElement("testcase")


def _empty(xml: XMLGenerator, element: str, /, **attributes: Any) -> None:
    _start(xml, element, **attributes)
    xml.endElement(element)


def _start(xml: XMLGenerator, element: str, /, **attributes: Any) -> None:
    plain = AttributesImpl({key: _plain(value) for key, value in attributes.items()})
    xml.startElement(element, plain)


def _plain(value: Any) -> str:
    """Without the characters that no XML may have, escaped or not."""
    return NO_XML.sub("\ufffd", str(value))[:LONGEST]
