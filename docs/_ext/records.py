"""Directives and a role that show the records of benchmarks, so that no number on a page is typed by hand.

``.. record:: cost`` says how ``benchmarks/results/cost/cost.json`` was made: command, seed, versions, machine.

``.. record-table:: cost targets`` is a table of the rows under ``targets``; a path with dots leads to deeper rows. If
the rows have names, ``key`` is the name. The parts of its options are separated by semicolons:

``columns``: ``heading = path``, or ``heading = {path} [{another}]`` for several numbers in a cell.
``where``: keep the rows with ``path = one value | or another``.
``pivot``: ``path = value | value as heading`` gives each value a column and joins rows with equal ``columns``;
``cell`` is the content of these columns.
``caption``: the text above the table.
``each``: the path of several parts of the record that get a table each, and ``title``, the path of the caption.
``digits``: the number of decimals (default 2). ``class``: the CSS class of the table.

``:recorded:`cost targets[figure = ten rivals, time to one map].value | .2f``` is one number, for a sentence;
:mod:`record_paths` describes the paths.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from record_paths import find, number, record_file
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective, SphinxRole

NAMED = ("python", "captum-diffcam", "captum", "torch", "torchvision")
"""Versions that the pages show. The records have all of them."""


class Record(SphinxDirective):
    """A paragraph about how the numbers were made."""

    required_arguments = 1

    def read(self) -> dict[str, Any]:
        """Return the record, and make the page depend on it."""
        path = record_file(self.arguments[0])
        if not path.is_file():
            raise self.error(f"there is no file benchmarks/results/{self.arguments[0]}/{path.name}")
        self.env.note_dependency(str(path))
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return record

    def run(self) -> list[nodes.Node]:
        """Return the paragraph."""
        record, name = self.read(), self.arguments[0]
        machine, file = record["machine"], record_file(name)
        commit = f"; commit {record['commit']}" if record.get("commit") else ""
        versions = ", ".join(f"{package} {record['versions'][package]}" for package in NAMED)
        if not record.get("complete", "--quick" not in record["command"]):
            raise self.error(f"the record of {name} is incomplete")
        return self.parse_text_to_nodes(
            f"Made by ``{record['command']}`` (seed {record['seed']}) on: {machine['device']}, "
            f"{machine['cores']} cores, {machine['torch_threads']} thread(s) of PyTorch, {machine['system']}; "
            f"{versions}{commit}. "
            f"Every number: :download:`{file.name} </../benchmarks/results/{file.parent.name}/{file.name}>`."
        )


class Recorded(SphinxRole):
    """A single number."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Return the text of the number, or an error if the path leads to none."""
        self.env.note_dependency(str(record_file(self.text.partition(" ")[0])))
        try:
            return [nodes.Text(number(self.text))], []
        except (OSError, KeyError, ValueError) as error:
            message = self.inliner.reporter.error(f"recorded: {error}", line=self.lineno)
            return [self.inliner.problematic(self.rawtext, self.rawtext, message)], [message]


class RecordTable(Record):
    """One or several tables of a record."""

    required_arguments = 2
    option_spec = {  # noqa: RUF012 - required by docutils
        "columns": directives.unchanged_required,
        "where": directives.unchanged_required,
        "pivot": directives.unchanged_required,
        "cell": directives.unchanged_required,
        "caption": directives.unchanged_required,
        "each": directives.unchanged_required,
        "title": directives.unchanged_required,
        "digits": directives.nonnegative_int,
        "class": directives.unchanged_required,
    }

    def run(self) -> list[nodes.Node]:
        """Return the tables."""
        record = self.read()
        if "each" not in self.options:
            return self.table(record, self.options.get("caption", ""))
        parts = find(record, self.options["each"])
        return [node for part in parts for node in self.table(part, find(part, self.options["title"]))]

    def table(self, record: Any, title: str) -> list[nodes.Node]:
        """Return one table."""
        part = find(record, self.arguments[1])
        rows = [{"key": key, **row} for key, row in part.items()] if isinstance(part, dict) else part
        wanted = {path: values.split("|") for path, values in self.parts("where").items()}
        for path, values in wanted.items():
            rows = [row for row in rows if str(find(row, path)) in map(str.strip, values)]
        columns, digits = self.parts("columns"), self.options.get("digits", 2)
        body = [[_fill(row, text, digits) for text in columns.values()] for row in rows]
        headings = list(columns)
        for path, values in self.parts("pivot").items():
            # The heading of each value, by default the value itself.
            wide = {
                name.strip(): head.strip() or name.strip()
                for name, _, head in (value.partition(" as ") for value in " ".join(values.split()).split("|"))
            }
            headings += wide.values()
            cells: dict[tuple[str, ...], dict[str, str]] = {}
            for row, case in zip(rows, body, strict=True):
                cells.setdefault(tuple(case), {})[str(find(row, path))] = _fill(row, self.options["cell"], digits)
            body = [[*case, *(inner.get(name, "") for name in wide)] for case, inner in cells.items()]
        empty = [heading for heading, *cells in zip(headings, *body, strict=True) if not any(cells)]
        if empty:
            raise self.error(f"the record of {self.arguments[0]} has no values for: {', '.join(empty)}")
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([headings, *body])
        lines = (f"   {line}" for line in text.getvalue().splitlines())
        options = [f"   :{name}: {self.options[name]}" for name in ("class",) if name in self.options]
        return self.parse_text_to_nodes(
            "\n".join([f".. csv-table:: {title}", "   :header-rows: 1", *options, "", *lines])
        )

    def parts(self, option: str) -> dict[str, str]:
        """Return the parts of an option, by the text before the equals sign."""
        pairs = (part.split("=", 1) for part in self.options.get(option, "").split(";") if part)
        return {" ".join(name.split()): " ".join(value.split()) for name, value in pairs}


def _fill(row: Any, text: str, digits: int) -> str:
    """Return the text of a cell; empty if the record has no value."""
    try:
        if "{" not in text:
            return _cell(find(row, text), digits)
        return re.sub(r"\{(.+?)\}", lambda path: _cell(find(row, path[1]), digits) or "...", text)
    except KeyError:
        return ""


def _cell(value: Any, digits: int) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, float) or math.isnan(value):
        return "" if value is None or value != value else str(value)
    # Small numbers that would look like zero.
    return f"{value:.0e}" if 0 < abs(value) < 0.05 * 10**-digits else f"{value:.{digits}f}"


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_role("recorded", Recorded())
    app.add_directive("record", Record)
    app.add_directive("record-table", RecordTable)
    return {"parallel_read_safe": True}
