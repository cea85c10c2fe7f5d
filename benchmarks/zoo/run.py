"""One model after the other, in a table."""

from __future__ import annotations

import argparse
import difflib
import gc
from typing import Any

import torchvision
from tqdm import tqdm

from benchmarks.common.options import UsageError
from benchmarks.common.reporting import environment, table, write_csv, write_json
from benchmarks.zoo.check import check

HEADER = ("model", "layer", "map", "DiffGradCAM", "DiffGradCAM++")


def run(args: argparse.Namespace) -> None:
    known = torchvision.models.list_models(module=torchvision.models)
    models = args.models or known
    if unknown := [name for name in models if name not in known]:
        close = difflib.get_close_matches(unknown[0], known) or known[:3]
        raise UsageError(f"--models: there is no {unknown[0]!r}; did you mean {', '.join(close)}?")
    record: dict[str, Any] = {"benchmark": "zoo", "complete": False, **environment(args), "models": []}
    try:
        for name in tqdm(models, unit="model", leave=False):
            record["models"].append(check(name, args.seed))
            gc.collect()
        record["complete"] = True
    finally:
        write_json(args.output / "zoo.json", record)
    rows = _rows(record["models"])
    write_csv(args.output / "zoo.csv", HEADER, rows)
    print(f"\n{table(HEADER, rows, limits=(18, 43, 5, 11, 13))}")
    print("Largest difference from the long way round, as a share of the map's largest value")
    failed = [row["model"] for row in record["models"] if not row["agrees"]]
    if failed:
        raise UsageError(f"{len(failed)} of {len(record['models'])} disagree: {', '.join(failed)}")


def _rows(models: list[dict[str, Any]]) -> list[list[str]]:
    return [
        [
            row["model"],
            f"{row['layer']} ({row['layout']})" if row["layout"] else row["layer"],
            "x".join(map(str, row["map"])),
            *(f"{row[method]:.0e}" for method in HEADER[3:]),
        ]
        for row in models
    ]
