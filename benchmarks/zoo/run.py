"""One model after the other, on one process or several."""

from __future__ import annotations

import argparse
import difflib
from functools import partial

import torchvision

from benchmarks.common.options import UsageError
from benchmarks.common.pieces import in_pieces
from benchmarks.common.reporting import conclude, environment, show, write_csv, write_json
from benchmarks.zoo.check import check
from benchmarks.zoo.tables import HEADER, furthest_table, table_rows
from benchmarks.zoo.timm_models import timm_models
from benchmarks.zoo.verdict import verdict


def run(args: argparse.Namespace) -> None:
    known = torchvision.models.list_models(module=torchvision.models)
    known += timm_models()
    models = list(dict.fromkeys(args.models or known))
    if unknown := [name for name in models if name not in known]:
        close = difflib.get_close_matches(unknown[0], known) or known[:3]
        raise UsageError(f"--models: there is no {unknown[0]!r}; did you mean {', '.join(close)}?")
    with in_pieces(args) as work:
        found = work.run_pieces({name: name for name in models}, partial(check, seed=args.seed), unit="model")
        if not work.reports:
            return
        rows = list(found.values())
        failed = [row["model"] for row in rows if not row["agrees"]]
        record = {"benchmark": "zoo", "complete": not failed, **environment(args), "models": rows}
        write_json(args.output / "zoo.json", record)
        write_csv(args.output / "zoo.csv", HEADER, table_rows(rows))
    show(furthest_table(rows), quick=args.quick)
    conclude(args, verdict(record), ["zoo.json", "zoo.csv"], complete=not failed)
    if failed:
        raise UsageError(f"{len(failed)} of {len(rows)} disagree: {', '.join(failed)}")
