"""Published numbers as text, for the blocks of pages and of the README that cog writes.

A block in a page looks like this. ``cog -P -r -I docs PAGE`` runs it and writes the lines up to the end::

    .. [[[cog
       import published
       rows = published.record("cost")["targets"]
       print(published.table(["ratio", "measured"], [[row["figure"], row["value"]] for row in rows]))
       ]]]
    .. [[[end]]]

The text of a block must end with an empty line. In Markdown the markers are ``<!-- [[[cog``, ``]]] -->`` and
``<!-- [[[end]]] -->``, and tables are made by :func:`markdown_table`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
VERSIONS = ("python", "captum-diffcam", "captum", "torch", "torchvision")
"""The versions that pages name. The records have all of them."""


def record(name: str) -> dict[str, Any]:
    """Return the record of a benchmark, such as ``"cost"``, or of a part of one, such as ``"zoo/choosing"``."""
    folder, _, part = name.partition("/")
    found: dict[str, Any] = json.loads((RESULTS / folder / f"{part or folder}.json").read_text(encoding="utf-8"))
    return found


def rows(table: Iterable[dict[str, Any]], **values: object) -> list[dict[str, Any]]:
    """Return the rows of a table that have these values."""
    return [row for row in table if all(row.get(key) == value for key, value in values.items())]


def row(table: Iterable[dict[str, Any]], **values: object) -> dict[str, Any]:
    """Return the one row of a table that has these values.

    Raises:
        LookupError: If no row has them, or several have.
    """
    found = rows(table, **values)
    if len(found) != 1:
        raise LookupError(f"exactly one row must have {values}, got {len(found)}")
    return found[0]


def text(value: object, form: str = ".2f") -> str:
    """Return the text of a cell: fractions in the given format, ``None`` as an empty cell."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return format(value, form)
    return "" if value is None else str(value)


def table(
    headings: Sequence[str], body: Iterable[Sequence[object]], *, form: str = ".2f", style: str = "numbers"
) -> str:
    """Return a table in reStructuredText. The first cell of a row must not be empty."""
    lines = [list(headings), *([text(cell, form) for cell in cells] for cells in body)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    rule = "  ".join("=" * width for width in widths)
    first, *others = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    written = [f".. table::\n   :class: {style}\n", rule, first, rule, *others, rule]
    return "\n" + "\n".join(f"   {line}".rstrip() if number else line for number, line in enumerate(written)) + "\n"


def markdown_table(headings: Sequence[str], body: Iterable[Sequence[object]], *, form: str = ".2f") -> str:
    """Return a table in Markdown."""
    lines = [list(headings), ["---"] * len(headings), *([text(cell, form) for cell in cells] for cells in body)]
    return "\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def made_by(name: str) -> str:
    """Return the paragraph that says how a record was made: command, seed, machine and versions.

    Raises:
        ValueError: If the record is of an incomplete run.
    """
    run = record(name)
    if not run.get("complete", "--quick" not in run["command"]):
        raise ValueError(f"the record of {name} is incomplete; publish a complete run")
    machine, folder = run["machine"], name.partition("/")[0]
    file = name.rpartition("/")[2]
    versions = ", ".join(f"{package} {run['versions'][package]}" for package in VERSIONS)
    commit = f"; commit {run['commit']}" if run.get("commit") else ""
    earlier = ", ".join(str(other["commit"]) for other in run.get("measured_elsewhere", []))
    taken = f"Some points are of an earlier run, at commit {earlier}.\n" if earlier else ""
    return (
        f"\nMade by ``{run['command']}``, seed {run['seed']}, on {machine['device']} with {machine['cores']} cores\n"
        f"and {machine['torch_threads']} thread(s) of PyTorch, {machine['system']};\n"
        f"{versions}{commit}.\n{taken}"
        f"All numbers: :download:`{file}.json </../benchmarks/results/{folder}/{file}.json>`.\n"
    )
