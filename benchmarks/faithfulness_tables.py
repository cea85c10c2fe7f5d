"""What the faithfulness benchmark prints, and the tables that it leaves for the documentation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.bootstrap import Estimate
from benchmarks.explainers import PAIRWISE
from benchmarks.findings import MEASURES
from benchmarks.methods import GRAD_CAM
from benchmarks.reporting import table, write_csv
from benchmarks.subjects import DECISION, LOCALIZATION

Row: TypeAlias = dict[str, Any]
IMAGENET = 50_000
_NAME = 39
_SHORT = {
    **{"energy on A": "on A", "energy on B": "on B", "energy on clutter": "clutter", "pointing": "point"},
    **{"AUROC rectified": "AUROC+", "deletion of margin": "del m", "insertion of margin": "ins m"},
    **{"deletion of log-odds": "del lo", "insertion of log-odds": "ins lo", "deleted until overtaken": "overt."},
    **{"infidelity, own score": "inf own", "infidelity, log-odds": "inf lo", "sensitivity": "sens"},
}
_HEADLINE = {LOCALIZATION: "AUROC", DECISION: "deletion of margin"}


def print_record(record: Row) -> None:
    """Every table, within a hundred columns."""
    for study in MEASURES:
        for subject in dict.fromkeys(row["subject"] for row in record["estimates"] if row["study"] == study):
            _print_subject(record, study, subject)
    print("\nenergy: share of the positive part within half a cell of A, of B, of neither; point: highest value on A;")
    print("AUROC: A's pixels above B's, +: of the rectified map. m: margin over the strongest rival, lo: log-odds;")
    print("del, ins: area under the curve (low, high is good); overt.: share deleted until the rival wins; inf: share")
    print("of the score's change that a map does not foretell; sens: largest change of the map under noise.")
    print("*: the 95 % interval of the difference from LayerGradCam on the same images excludes zero.")
    _print_agreement(record)
    _print_parting(record)
    rows: list[list[str | float]] = [
        [row["figure"], row["target"], _interval(row), "yes" if row["reached"] else "no"] for row in record["targets"]
    ]
    if rows:
        print(f"\n{table(TARGET_HEADER, rows, limits=(68, 7, 24, 7))}")


TARGET_HEADER = ("figure", "target", "measured [95 %]", "reached")


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
    header = ("subject", "method", "with", "median [95 %]", "quartiles")
    body = [
        [r["subject"], r["method"], r["with"], _interval(r["median"]), "{:.3f} to {:.3f}".format(*r["quartiles"])]
        for r in record["agreement"]
        if r["study"] == DECISION
    ]
    written["agreement.csv"] = (header, body)
    for name, (header, body) in written.items():
        write_csv(folder / name, header, body)
    return list(written)


def _differs(row: Row) -> bool:
    return GRAD_CAM in row["minus"] and Estimate(**row["minus"][GRAD_CAM]).excludes_zero


def _interval(row: Row) -> str:
    return f"{row['value']:.3f} [{row['lower']:.3f}, {row['upper']:.3f}]"


def _print_subject(record: Row, study: str, subject: str) -> None:
    rows = [
        row for row in record["estimates"] if (row["study"], row["subject"], row["images"]) == (study, subject, "all")
    ]
    values = {(row["measure"], row["method"]): row for row in rows}
    lines: list[list[str | float]] = []
    for method in dict.fromkeys(row["method"] for row in rows):
        cells = [values.get((measure, method)) for measure in MEASURES[study]]
        lines.append([method, *(f"{c['value']:.2f}{'*' if _differs(c) else ' '}" if c else "" for c in cells)])
    header = [f"{study}: {subject}", *(_SHORT.get(measure, measure) for measure in MEASURES[study])]
    print(f"\n{rows[0]['count']} images")
    print(table(header, lines, limits=(_NAME, *[8] * len(MEASURES[study]))))
    headline = values.get((_HEADLINE[study], PAIRWISE))
    for other, difference in (headline or {"minus": {}})["minus"].items():
        print(f"{_HEADLINE[study]}: {PAIRWISE} minus {other}: {_interval(difference)}")


def _print_agreement(record: Row) -> None:
    rows: list[list[str | float]] = [
        [row["subject"], row["method"], row["median"]["value"], *row["quartiles"]]
        for row in record["agreement"]
        if row["study"] == DECISION and row["with"] == GRAD_CAM
    ]
    if rows:
        header = ["agreement with LayerGradCam", "method", "median", "quarter", "3/4"]
        print(f"\n{table(header, rows, limits=(30, 42, 0, 0, 0), digits=3)}")


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
        print(f"\n{table([*header[:-1], 'gain over LayerGradCam'], rows, limits=(30, 11, 5, 9, 18, 24))}")


def _target_rows(record: Row) -> list[list[object]]:
    return [[r["figure"], r["target"], _interval(r), "yes" if r["reached"] else "no"] for r in record["targets"]]
