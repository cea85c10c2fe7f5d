"""The tables of the cost benchmark: two that are written, and one that is printed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.common.reporting import table, write_csv

TARGET_HEADER = ("figure", "target", "measured", "reached")
_CASE = ("job", "model", "layer", "batch", "method")


def write_tables(folder: Path, record: dict[str, Any], *, quick: bool) -> list[str]:
    """Write targets.csv, and time.csv with times and memory. Return the names of the files."""
    targets = [[figure, target, f"{value:.2f}", met] for figure, target, value, met in _target_rows(record)]
    write_csv(folder / "targets.csv", TARGET_HEADER, targets, quick=quick)
    memory = {tuple(row[name] for name in _CASE): f"{row['peak_mib']:.1f}" for row in record["memory"]}
    rows = []
    for row in record["time"]:
        case = tuple(row[name] for name in _CASE)
        times = (1000 * row["seconds"]["median"], row["to_grad_cam"]["median"], row["to_forward"]["median"])
        rows.append([*case, *(f"{time:.2f}" for time in times), memory.get(case, "")])
    header = (*_CASE, "ms", "to LayerGradCam", "to a forward pass", "peak MiB")
    write_csv(folder / "time.csv", header, rows, quick=quick)
    return ["targets.csv", "time.csv"]


def targets_table(record: dict[str, Any]) -> str:
    """Return the targets as text, with what was measured."""
    return table(TARGET_HEADER, _target_rows(record), limits=(72, 8, 0, 7))


def _target_rows(record: dict[str, Any]) -> list[list[Any]]:
    return [
        [row["figure"], row["target"], row["value"], "yes" if row["reached"] else "no"] for row in record["targets"]
    ]
