"""What a benchmark recorded, for the pages of results. No number on them is typed by hand.

``.. record:: cost`` says how ``benchmarks/results/cost/cost.json`` was made: command, seed, versions, machine.

``.. record-table:: cost targets`` is a table of the rows that stand there under ``targets``, deeper ones under a path
with dots. The option ``columns`` gives each column as ``heading = path``, separated by semicolons; ``digits`` is how
many stand behind the point, 2 if not said.
"""

from __future__ import annotations

import csv
import io
import json
from functools import reduce
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
NAMED = ("python", "captum-diffcam", "captum", "torch", "torchvision")
"""Versions that the pages name; the files have all of them."""


class Record(SphinxDirective):
    """How the numbers were made."""

    required_arguments = 1

    def read(self) -> dict[str, Any]:
        """The benchmark's record, which the page then depends on."""
        path = RESULTS / self.arguments[0] / f"{self.arguments[0]}.json"
        if not path.is_file():
            raise self.error(f"there is no benchmarks/results/{self.arguments[0]}/{path.name}")
        self.env.note_dependency(str(path))
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return record

    def run(self) -> list[nodes.Node]:
        """A paragraph."""
        record, name = self.read(), self.arguments[0]
        machine = record["machine"]
        versions = ", ".join(f"{package} {record['versions'][package]}" for package in NAMED)
        if not record["complete"]:
            raise self.error(f"the record of {name} is of a run that was not completed")
        return self.parse_text_to_nodes(
            f"Made by ``{record['command']}`` (seed {record['seed']}) on: {machine['device']}, "
            f"{machine['cores']} cores, {machine['torch_threads']} thread(s) of PyTorch, {machine['system']}; "
            f"{versions}. "
            f"Every number: :download:`{name}.json </../benchmarks/results/{name}/{name}.json>`."
        )


class RecordTable(Record):
    """A table of what was recorded."""

    required_arguments = 2
    option_spec = {  # noqa: RUF012 - as docutils has it
        "columns": directives.unchanged_required,
        "digits": directives.nonnegative_int,
    }

    def run(self) -> list[nodes.Node]:
        """A table with a row for each recorded one."""
        columns = [column.split("=") for column in self.options["columns"].split(";")]
        digits = self.options.get("digits", 2)
        rows = [
            [_cell(_find(row, path.strip()), digits) for _, path in columns]
            for row in _find(self.read(), self.arguments[1])
        ]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([[heading.strip() for heading, _ in columns], *rows])
        lines = [".. csv-table::", "   :header-rows: 1", "", *(f"   {line}" for line in text.getvalue().splitlines())]
        return self.parse_text_to_nodes("\n".join(lines))


def _find(record: Any, path: str) -> Any:
    return reduce(lambda inner, key: inner[key], path.split("."), record)


def _cell(value: Any, digits: int) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.{digits}f}" if isinstance(value, float) else "" if value is None else str(value)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_directive("record", Record)
    app.add_directive("record-table", RecordTable)
    return {"parallel_read_safe": True}
