"""What is printed, and the table that is written."""

from __future__ import annotations

import math
from typing import Any

from benchmarks.common.reporting import table

TARGET_HEADER = ("figure", "target", "measured", "reached")


def print_tables(record: dict[str, Any]) -> None:
    """Times with memory, growth, targets."""
    memory = {(row["model"], row["layer"], row["batch"], row["method"]): row["peak_mib"] for row in record["memory"]}
    rows: list[list[str | float]] = []
    for row in record["time"]:
        key = (row["model"], row["layer"], row["batch"], row["method"])
        times = (1000 * row["seconds"]["median"], row["to_grad_cam"]["median"], row["to_forward"]["median"])
        rows.append([row["model"], row["layer"], str(row["batch"]), row["method"], *times, memory.get(key, math.nan)])
    header = ["model", "layer", "batch", "method", "ms", "x LayerGradCam", "x forward", "peak MiB"]
    print(f"\n{table(header, rows, limits=(18, 6, 5, 16, 0, 0, 0, 0))}")

    rows = [
        [r["grows"], str(r["to"]), r["method"], 1000 * r["seconds"]["median"], r["to_base"]["median"], r["base"]]
        for r in record["growth"]
    ]
    print(f"\n{table(['grows', 'to', 'method', 'ms', 'ratio', 'to that of'], rows, limits=(8, 5, 24, 0, 0, 14))}")

    rows = target_rows(record)
    print(f"\n{table(TARGET_HEADER, rows, limits=(66, 8, 0, 7))}")


def target_rows(record: dict[str, Any]) -> list[list[Any]]:
    """A row for each target."""
    return [
        [row["figure"], row["target"], row["value"], "yes" if row["reached"] else "no"] for row in record["targets"]
    ]
