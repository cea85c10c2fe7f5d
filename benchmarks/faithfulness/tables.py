"""The tables of the faithfulness benchmark: those that are written, and the one that is printed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.common.names import DIFF, GRAD_CAM
from benchmarks.common.reporting import table, write_csv
from benchmarks.faithfulness.bootstrap import Estimate
from benchmarks.faithfulness.chunks import PREDICTION
from benchmarks.faithfulness.estimates import HEADLINE, MEASURES
from benchmarks.faithfulness.methods import ODDS, PAIRWISE

Row: TypeAlias = dict[str, Any]
IMAGENET = 50_000
TARGET_HEADER = ("figure", "images", "against", "target", "measured [95 %]", "reached")


def headline_table(record: Row) -> str:
    """Return as text the main measure of each study, for Grad-CAM and DiffGradCAM."""
    rows: list[list[str | float]] = []
    for row in headline_rows(record):
        difference, measure = row["minus"][GRAD_CAM], row["measure"].partition(" ")[0]
        values = (row["value"] - difference["value"], row["value"])
        rows.append([row["subject"], measure, *values, _interval(difference), better(row)])
    header = ["images", "measure", "Grad-CAM", DIFF, "difference [95 %]", "better"]
    return "\n".join(
        [
            table(header, rows, limits=(31, 8, 0, 0, 23, 7)),
            f"{DIFF}: target against its strongest rival. AUROC: A's pixels against B's, 1 is best.",
            "Deletion: area under the margin's curve while the map's pixels are deleted, low is good.",
            "Unclear: the interval contains zero, or there is none",
        ]
    )


def headline_rows(record: Row) -> list[Row]:
    """Return the rows of ``estimates`` with the main measure of DiffGradCAM, for all images of each subject."""
    return [
        row
        for row in record["estimates"]
        if (row["images"], row["method"], row["measure"]) == ("all", PAIRWISE, HEADLINE[row["study"]])
    ]


def better(row: Row) -> str:
    """Return whether a headline is better than LayerGradCam's: "yes", "no" or "unclear"."""
    difference = Estimate(**row["minus"][GRAD_CAM])
    if not difference.excludes_zero:
        return "unclear"
    return "yes" if (difference.value < 0) == (row["study"] == PREDICTION) else "no"


def write_tables(folder: Path, record: Row, *, quick: bool = False) -> list[str]:
    """Write everything with intervals as CSV. Return the names of the files."""
    written: dict[str, tuple[Sequence[str], Sequence[Sequence[object]]]] = {
        "targets.csv": (TARGET_HEADER, _target_rows(record)),
        "differing.csv": _differing(record),
    }
    for study, measures in MEASURES.items():
        rows = [row for row in record["estimates"] if row["study"] == study]
        if rows:
            header = ("subject", "images", "count", "method", *measures, f"differ from {GRAD_CAM}")
            written[f"{study}.csv"] = (header, _measured(rows, measures))
    predictions = [row for row in record["agreement"] if row["study"] == PREDICTION]
    written["agreement.csv"] = (
        ("subject", "method", "with", "median [95 %]", "quartiles"),
        [
            [r["subject"], r["method"], r["with"], _interval(r["median"]), "{:.3f} to {:.3f}".format(*r["quartiles"])]
            for r in predictions
        ],
    )
    written["agreement_where.csv"] = (
        ("subject", "by", "range", "count", "median [95 %]"),
        [
            [row["subject"], by.removeprefix("by "), _range(cell, cell is row[by][-1]), cell["count"], _interval(cell)]
            for row in predictions
            if _is_odds(row)
            for by in ("by confidence", "by close rivals")
            for cell in row[by]
            if cell["count"]
        ],
    )
    hours = record["cost"]["hours for ImageNet's validation set"]
    written["imagenet.csv"] = (("processes", "hours"), [[count, f"{value:.1f}"] for count, value in hours.items()])
    for name, (columns, lines) in written.items():
        write_csv(folder / name, columns, lines, quick=quick)
    return list(written)


def _measured(rows: Sequence[Row], measures: Sequence[str]) -> list[list[object]]:
    """Return a row for each method and images: every measure, and which measures differ from LayerGradCam's."""
    cells: dict[tuple[Any, ...], dict[str, str]] = {}
    differing: dict[tuple[Any, ...], list[str]] = {}
    for row in rows:
        key = (row["subject"], row["images"], row["count"], row["method"])
        cells.setdefault(key, {})[row["measure"]] = _interval(row)
        if GRAD_CAM in row["minus"] and Estimate(**row["minus"][GRAD_CAM]).excludes_zero:
            differing.setdefault(key, []).append(row["measure"])
    return [
        [*key, *(row.get(name, "") for name in measures), "; ".join(differing.get(key, []))]
        for key, row in cells.items()
    ]


def _interval(row: Row) -> str:
    if not _known(row["value"]):
        return ""
    if not _known(row["lower"]):
        return f"{row['value']:.3f} (too few images)"
    return f"{row['value']:.3f} [{row['lower']:.3f}, {row['upper']:.3f}]"


def _known(value: float | None) -> bool:
    """Return whether a value of a record is a number. Records have null for NaN."""
    return value is not None and math.isfinite(value)


def _range(cell: Row, last: bool) -> str:
    """Return the range of a bin as text. The last bin has no upper limit."""
    low, high = cell["from"], cell["below"]
    if last:
        return f"{low} or more"
    if isinstance(low, int) and isinstance(high, int):
        return f"{low}" if high == low + 1 else f"{low} to {high - 1}"
    return f"{low} to {high}"


def _is_odds(row: Row) -> bool:
    return (row["study"], row["method"], row["with"]) == (PREDICTION, ODDS, GRAD_CAM)


def _differing(record: Row) -> tuple[Sequence[str], list[list[object]]]:
    header = ("subject", "images", "count", "agreement", "measure", f"{PAIRWISE} minus {GRAD_CAM} [95 %]")
    rows: list[list[object]] = []
    for row in record["differing"]:
        sign = "<=" if row["images"] == "maps differ most" else ">"
        agreement = f"{sign} {row['threshold']:.3f}"
        rows.append([row["subject"], row["images"], row["count"], agreement, row["measure"], _interval(row)])
    return header, rows


def _target_rows(record: Row) -> list[list[str]]:
    return [
        [r["figure"], r["subject"], r["against"], r["target"], _interval(r), "yes" if r["reached"] else "no"]
        for r in record["targets"]
    ]
