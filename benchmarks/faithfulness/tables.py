"""What the faithfulness benchmark prints, and the tables that it leaves for the documentation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.common.contrast_sets import EVERY_OTHER
from benchmarks.common.names import FAMILIES, GRAD_CAM
from benchmarks.common.reporting import table, write_csv
from benchmarks.faithfulness.bootstrap import Estimate
from benchmarks.faithfulness.chunks import DECISION
from benchmarks.faithfulness.estimates import HEADLINE, MEASURES
from benchmarks.faithfulness.methods import ODDS, PAIRWISE
from benchmarks.faithfulness.targets import AGREEING

Row: TypeAlias = dict[str, Any]
IMAGENET = 50_000
_NAME = 35
_SHORT = {
    **{"energy on A": "on A", "energy on B": "on B", "energy on clutter": "clutter", "pointing": "point"},
    **{"AUROC rectified": "AUROC+", "deletion of margin": "del m", "insertion of margin": "ins m"},
    **{"deletion of log-odds": "del lo", "insertion of log-odds": "ins lo", "deleted until overtaken": "overt."},
    **{"infidelity, own score": "inf own", "infidelity, log-odds": "inf lo", "sensitivity": "sens"},
}


def print_record(record: Row) -> None:
    """Every table, within a hundred columns."""
    for study in MEASURES:
        for subject in dict.fromkeys(row["subject"] for row in record["estimates"] if row["study"] == study):
            _print_subject(record, study, subject)
    print("\non A, on B, clutter: shares of the positive part within half a cell of A, of B, of neither;")
    print("point: highest value on A; AUROC: A's pixels above B's, +: with the map rectified.")
    print("m: margin over the strongest rival; lo: log-odds; del, ins: area under the curve of deletion (low")
    print("is good), of insertion (high is good); overt.: share deleted until the rival wins; inf: share of")
    print("the score's change that the map does not foretell; sens: largest change of the map under noise.")
    print("*: the 95 % interval of the difference from LayerGradCam on the same images excludes zero.")
    _print_agreement(record)
    _print_parting(record)
    rows: list[list[str | float]] = [
        [cells[0], cells[1], _library(cells[2]), *cells[4:]] for cells in _target_rows(record)
    ]
    if rows:
        header = [*TARGET_HEADER[:3], *TARGET_HEADER[4:]]
        print(f"\n{table(header, rows, limits=(18, 22, 16, 24, 7))}")
        print(f"Measured is {PAIRWISE}, minus the other; to be above zero, of deletion below.")
        print(f"Median agreement with LayerGradCam is that of {AGREEING}.")


def _library(method: str) -> str:
    return method.removeprefix("FinerCAM ").partition(",")[0]


TARGET_HEADER = ("figure", "images", "against", "target", "measured [95 %]", "reached")


def write_tables(folder: Path, record: Row) -> list[str]:
    """The same with all intervals, as CSV. Bold is what differs from LayerGradCam. Returns the names of the files."""
    written: dict[str, tuple[Sequence[str], Sequence[Sequence[object]]]] = {
        "targets.csv": (TARGET_HEADER, _target_rows(record)),
        "parting.csv": _parting_csv(record),
    }
    for study, measures in MEASURES.items():
        rows = [row for row in record["estimates"] if row["study"] == study]
        found: dict[tuple[Any, ...], list[str]] = {
            (row["subject"], row["images"], row["count"], row["method"]): [] for row in rows
        }
        for row in rows:
            key = (row["subject"], row["images"], row["count"], row["method"])
            text = _interval(row)
            found[key].append(f"**{text}**" if _differs(row) else text)
        if found:
            header = ("subject", "images", "count", "method", *measures)
            body = [[*key, *cells, *[""] * (len(measures) - len(cells))] for key, cells in found.items()]
            written[f"{study}.csv"] = (header, body)
    decisions = [row for row in record["agreement"] if row["study"] == DECISION]
    written["agreement.csv"] = (
        ("subject", "method", "with", "median [95 %]", "quartiles"),
        [
            [r["subject"], r["method"], r["with"], _interval(r["median"]), "{:.3f} to {:.3f}".format(*r["quartiles"])]
            for r in decisions
        ],
    )
    written["agreement_where.csv"] = (
        ("subject", "where", "from", "below", "count", "median [95 %]"),
        [
            [row["subject"], by.removeprefix("by "), cell["from"], cell["below"], cell["count"], _interval(cell)]
            for row in decisions
            if _is_odds(row)
            for by in ("by confidence", "by close rivals")
            for cell in row[by]
        ],
    )
    hours = record["cost"]["hours for ImageNet's validation set"]
    written["imagenet.csv"] = (("processes", "hours"), [[count, f"{value:.1f}"] for count, value in hours.items()])
    for name, (columns, lines) in written.items():
        write_csv(folder / name, columns, lines)
    return list(written)


def _differs(row: Row) -> bool:
    return GRAD_CAM in row["minus"] and Estimate(**row["minus"][GRAD_CAM]).excludes_zero


def _interval(row: Row) -> str:
    if math.isnan(row["lower"]):
        return f"{row['value']:.3f} [too few]"
    return f"{row['value']:.3f} [{row['lower']:.3f}, {row['upper']:.3f}]"


def _print_subject(record: Row, study: str, subject: str) -> None:
    rows = [
        row for row in record["estimates"] if (row["study"], row["subject"], row["images"]) == (study, subject, "all")
    ]
    values = {(row["measure"], row["method"]): row for row in rows}
    lines: list[list[str | float]] = []
    for method in dict.fromkeys(row["method"] for row in rows):
        cells = [values.get((measure, method)) for measure in MEASURES[study]]
        lines.append(
            [
                method.replace(" class", ""),
                *(f"{c['value']:.2f}{'*' if _differs(c) else ' '}" if c else "" for c in cells),
            ]
        )
    header = [subject[:_NAME], *(_SHORT.get(measure, measure) for measure in MEASURES[study])]
    print(f"\n{study}, {rows[0]['count']} images")
    print(table(header, lines, limits=(_NAME, *[8] * len(MEASURES[study]))))
    headline = values.get((HEADLINE[study], PAIRWISE))
    for other, difference in (headline or {"minus": {}})["minus"].items():
        print(f"{HEADLINE[study]}, {PAIRWISE}, minus that of {_library(other)}: {_interval(difference)}")


def _print_agreement(record: Row) -> None:
    """Each family with its plain method, a column for each contrast; then where DiffGradCAM parts from LayerGradCam."""
    columns: dict[tuple[str, str], dict[str, float]] = {}
    for row in record["agreement"]:
        family, _, contrast = row["method"].replace(",", "").partition(" ")
        if row["study"] == DECISION and FAMILIES[row["with"]] == family:
            columns.setdefault((row["subject"], family), {})[contrast] = row["median"]["value"]
    if not columns:
        return
    contrasts = list(next(iter(columns.values())))
    rows: list[list[str | float]] = [[*key, *(found[name] for name in contrasts)] for key, found in columns.items()]
    short = (name.replace(f" {EVERY_OTHER.label}", "").replace("logsumexp top 5", "top 5") for name in contrasts)
    print(f"\n{table(['median agreement', 'of', *short], rows, limits=(31, 14, *[0] * len(contrasts)), digits=3)}")
    print("Correlation of signed maps, DiffGradCAM with LayerGradCam, DiffGradCAM++ with Grad-CAM++; against")
    print("the strongest rival, every other class by one reduction or another, the top 5 rivals by logsumexp.")
    for by, title in (("by confidence", "probability from"), ("by close rivals", "close rivals from")):
        binned = {row["subject"]: row[by] for row in record["agreement"] if _is_odds(row)}
        edges = [f"{cell['from']:g}" for cell in next(iter(binned.values()))]
        body: list[list[str | float]] = [[name, *(c["value"] for c in cells)] for name, cells in binned.items()]
        print(f"\n{table([f'{ODDS}; {title}', *edges], body, limits=(60, *[0] * len(edges)), digits=3)}")
    print("Median agreement with LayerGradCam. Close: at least a tenth of the target's probability.")


def _is_odds(row: Row) -> bool:
    return (row["study"], row["method"], row["with"]) == (DECISION, ODDS, GRAD_CAM)


def _parting_csv(record: Row) -> tuple[Sequence[str], list[list[object]]]:
    header = ("subject", "images", "count", "agreement", "measure", f"{PAIRWISE} minus {GRAD_CAM} [95 %]")
    rows: list[list[object]] = []
    for row in record["parting"]:
        sign = "<=" if row["images"] == "least alike" else ">"
        text = _interval(row)
        bold = f"**{text}**" if Estimate(row["value"], row["lower"], row["upper"]).excludes_zero else text
        agreement = f"{sign} {row['threshold']:.3f}"
        rows.append([row["subject"], row["images"], row["count"], agreement, row["measure"], bold])
    return header, rows


def _print_parting(record: Row) -> None:
    header, body = _parting_csv(record)
    rows: list[list[str | float]] = [[str(cell).strip("*") for cell in row] for row in body]
    if rows:
        print(f"\n{table([*header[:-1], 'gain over LayerGradCam'], rows, limits=(24, 11, 5, 9, 18, 24))}")


def _target_rows(record: Row) -> list[list[str]]:
    return [
        [r["figure"], r["subject"], r["against"], r["target"], _interval(r), "yes" if r["reached"] else "no"]
        for r in record["targets"]
    ]
