"""From the numbers of single images to a record, a table and sentences for each study."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from benchmarks.common.names import GRAD_CAM
from benchmarks.common.reporting import table
from benchmarks.faithfulness.bootstrap import Estimate
from benchmarks.faithfulness.options import CLASSES, GRIDPG, NATS, PARAMETERS, REMOVAL
from benchmarks.faithfulness.sample import Array, Sample
from benchmarks.faithfulness.studies.methods import DEFAULT, HIRES, PLUS_PLUS, TOP
from benchmarks.faithfulness.studies.nats import CEILING, OWN, REGIONS

Row: TypeAlias = dict[str, Any]
SLOPE, CORRELATION, WITHIN, COMPLETENESS = "slope", "correlation", "within", "completeness"
HEADLINE = {
    GRIDPG: "GridPG",
    CLASSES: "second class",
    PARAMETERS: "head",
    REMOVAL: "ROAD, fall",
    NATS: SLOPE,
}
"""The main measure of each study."""
HIDDEN: Row = {"size": 3, "fill": "mean colour", "score": OWN}
"""The regions of the headline of hidden nats."""
HIGHER = (GRIDPG, REMOVAL)
"""Studies whose headline is better if it is higher. In the others a map should change, so lower is better."""
SLOPES, LEAST_CORRELATION, LARGEST_ERROR = (0.8, 1.2), 0.8, 0.01
"""Targets: the range of the default's slope, the correlation on cut-outs, and the completeness error."""


def estimates(study: str, samples: Sequence[Sample]) -> list[Row]:
    """Return every measure of every method with its interval, and its difference from Grad-CAM on the same images."""
    rows: list[Row] = []
    for sample in samples:
        for key in (key for key in sample.numbers if "|" in key):
            measure, _, method = key.partition("|")
            if study == NATS and measure != COMPLETENESS:
                continue
            values = sample.numbers[key]
            row = _row(sample, method, measure, sample.bootstrap.mean(values), values)
            if study == NATS:
                known = values[np.isfinite(values)]
                row["largest"] = float(known.max()) if len(known) else np.nan
            elif method != GRAD_CAM and f"{measure}|{GRAD_CAM}" in sample.numbers:
                row["minus"] = {GRAD_CAM: sample.difference(measure, method, GRAD_CAM)._asdict()}
            rows.append(row)
        if study == NATS:
            rows += _hidden(sample)
    return rows


def _row(sample: Sample, method: str, measure: str, estimate: Estimate, values: Array) -> Row:
    known = np.isfinite(values)
    pictures = len(np.unique(sample.numbers["cluster"][known]))
    names = {"subject": sample.name, "method": method, "measure": measure}
    return {**names, "count": int(known.sum()), "pictures": pictures, **estimate._asdict()}


def _hidden(sample: Sample) -> list[Row]:
    """Return slope and correlation of the fall with the sum of the map over all hidden regions."""
    rows = []
    for key in (key for key in sample.numbers if key.startswith("xf, ")):
        size, fill, rest = key.removeprefix("xf, ").split(", ", 2)
        score, _, method = rest.partition("|")
        where = key.removeprefix("xf")
        sums = np.stack([sample.numbers[f"{name}{where}"] for name in ("x", "f", "xx", "ff", "xf")], axis=1)
        sums = np.concatenate([np.full((len(sums), 1), float(REGIONS**2)), sums], axis=1)
        within = sample.numbers[f"within{where}"]
        for measure, estimate in (
            (SLOPE, sample.bootstrap.of_totals(sums, slope)),
            (CORRELATION, sample.bootstrap.of_totals(sums, pooled_correlation)),
            (WITHIN, sample.bootstrap.mean(within)),
        ):
            row = _row(sample, method, measure, estimate, sums[:, 5])
            rows.append({**row, "size": int(size), "fill": fill, "score": score})
    return rows


def slope(totals: Array) -> Array:
    """Return the slope through zero from totals of 1, x, f, x^2, f^2, x f. Shapes: (..., 6) -> (...)."""
    return totals[..., 5] / totals[..., 3]


def pooled_correlation(totals: Array) -> Array:
    """Return Pearson's correlation from totals of 1, x, f, x^2, f^2, x f. Shapes: (..., 6) -> (...)."""
    count, x, f, xx, ff, xf = np.moveaxis(totals, -1, 0)
    result: Array = (xf - x * f / count) / np.sqrt((xx - x * x / count) * (ff - f * f / count))
    return result


def targets(rows: Sequence[Row]) -> list[Row]:
    """Return the targets of the scale in log-odds, and whether they are reached, for every subject."""
    found: list[Row] = []

    def add(row: Row, figure: str, target: str, reached: bool) -> None:
        names = {"figure": figure, "subject": row["subject"], "method": row["method"], "target": target}
        numbers = {name: row.get(name) for name in ("value", "lower", "upper", "size", "fill")}
        found.append({**names, **numbers, "reached": bool(reached)})

    for row in rows:
        if row["measure"] == COMPLETENESS and row["method"].startswith(HIRES):
            add(row, "largest completeness error", f"<= {LARGEST_ERROR:g}", row["largest"] <= LARGEST_ERROR)
        if row.get("score") != OWN or row["method"] not in (DEFAULT, CEILING):
            continue
        if row["measure"] == SLOPE and row["method"] == DEFAULT:
            low, high = SLOPES
            add(row, "slope of the default", f"{low:g} to {high:g}", low <= row["value"] <= high)
        if row["measure"] == CORRELATION and row["subject"].endswith("cut-outs"):
            add(row, "correlation on cut-outs", f">= {LEAST_CORRELATION:g}", row["value"] >= LEAST_CORRELATION)
    return found


def headline(study: str, rows: Sequence[Row]) -> list[Row]:
    """Return the rows of the main measure."""
    wanted = {"measure": HEADLINE[study], **(HIDDEN if study == NATS else {})}
    return [row for row in rows if all(row.get(name) == value for name, value in wanted.items())]


SHOWN = {"Grad-CAM": GRAD_CAM, "DiffGradCAM": DEFAULT, "top 5": TOP, "++": PLUS_PLUS}
"""The columns of the printed table."""


def headline_table(records: dict[str, list[Row]]) -> str:
    """Return as text the main measure of each study for a few methods."""
    lines: list[list[str | float]] = []
    for study, rows in records.items():
        values = {(row["subject"], row["method"]): row["value"] for row in headline(study, rows)}
        for subject in dict.fromkeys(subject for subject, _ in values):
            cells = [values.get((subject, method), np.nan) for method in SHOWN.values()]
            lines.append([HEADLINE[study], subject, *cells])
    notes = [
        "GridPG: share of the positive map in the target's tile, high is good. Second class, head:",
        "correlation with the map of the second class, and with that after the head was drawn anew;",
        "low is good. ROAD: fall of the log-odds, high is good. Slope: fall of the own score for each",
        "unit of the map in hidden regions of 3 x 3 positions, 1 is best",
    ]
    return "\n".join([table(["measure", "images", *SHOWN], lines, (12, 33, 0, 0, 0, 0)), *notes])


def verdict(records: dict[str, list[Row]]) -> list[str]:
    """Return a sentence for each study: where the default is better than Grad-CAM, and where it is not."""
    claims = {
        GRIDPG: "the default map has more of its positive part in the target's tile of a mosaic than Grad-CAM's",
        CLASSES: "it differs more between the two likeliest classes",
        PARAMETERS: "it depends more on the head's parameters",
        REMOVAL: "removing what it ranks highest lowers the log-odds more (ROAD)",
    }
    sentences = []
    for study, claim in claims.items():
        rows = [row for row in headline(study, records.get(study, [])) if row["method"] == DEFAULT]
        if rows:
            sentences.append(f"On {_counted(study, rows)} {claim}.")
    slopes = [row for row in headline(NATS, records.get(NATS, [])) if row["method"] == DEFAULT]
    if slopes:
        values = [row["value"] for row in slopes]
        good = sum(SLOPES[0] <= value <= SLOPES[1] for value in values)
        sentences.append(
            f"Hiding a region that holds 1 nat costs {min(values):.2f} to {max(values):.2f} nats on average, within "
            f"{SLOPES[0]:g} to {SLOPES[1]:g} on {good} of {len(values)}."
        )
    return sentences


def _counted(study: str, rows: Sequence[Row]) -> str:
    better: Callable[[Estimate], bool] = lambda e: e.lower > 0 if study in HIGHER else e.upper < 0  # noqa: E731
    worse: Callable[[Estimate], bool] = lambda e: e.upper < 0 if study in HIGHER else e.lower > 0  # noqa: E731
    differences = [Estimate(**row["minus"][GRAD_CAM]) for row in rows]
    count = f"{sum(map(better, differences))} of {len(rows)} kinds of images"
    lost = sum(map(worse, differences))
    return f"{count} (the reverse on {lost})" if lost else count


def csv_rows(study: str, rows: Sequence[Row]) -> tuple[list[str], list[list[object]]]:
    """Return every estimate as a row of a table."""
    names = ["subject", "method", "measure", *(HIDDEN if study == NATS else [])]
    names += ["count", "pictures", "value", "lower", "upper"]
    lines = [[row.get(name, "") for name in names] for row in rows]
    if study == NATS:
        return [*names, "largest"], [[*line, row.get("largest", "")] for line, row in zip(lines, rows, strict=True)]
    differences = [row.get("minus", {}).get(GRAD_CAM, {}) for row in rows]
    header = [*names, *(f"{name} minus {GRAD_CAM}" for name in Estimate._fields)]
    return header, [
        [*line, *(difference.get(name, "") for name in Estimate._fields)]
        for line, difference in zip(lines, differences, strict=True)
    ]
