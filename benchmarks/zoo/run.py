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
from benchmarks.zoo.choosing import choose
from benchmarks.zoo.huggingface_models import PREFIX as HUGGINGFACE
from benchmarks.zoo.huggingface_models import huggingface_models
from benchmarks.zoo.tables import (
    CHOOSING_HEADER,
    HEADER,
    choosing_rows,
    choosing_table,
    furthest_table,
    table_rows,
)
from benchmarks.zoo.timm_models import timm_models
from benchmarks.zoo.verdict import verdict


def run(args: argparse.Namespace) -> None:
    """Run the parts that were asked for, and write their record and tables."""
    known = torchvision.models.list_models(module=torchvision.models) + timm_models() + huggingface_models()
    models = list(dict.fromkeys(args.models or known))
    if unknown := [name for name in models if name not in known]:
        close = difflib.get_close_matches(unknown[0], known) or known[:3]
        raise UsageError(f"--models: there is no {unknown[0]!r}; did you mean {', '.join(close)}?")
    with_maps = [] if args.part == "choosing" else [name for name in models if not name.startswith(HUGGINGFACE)]
    to_choose = [] if args.part == "maps" else models
    with in_pieces(args) as work:
        checked = work.run_pieces({name: name for name in with_maps}, partial(check, seed=args.seed), unit="model")
        chosen = work.run_pieces(
            {f"choosing {name}": name for name in to_choose}, partial(choose, seed=args.seed), unit="model"
        )
        if not work.reports:
            return
        rows = list(checked.values())
        choices = [row for of_model in chosen.values() for row in of_model]
        failed = [row["model"] for row in rows if not row["agrees"]]
        failed += [row["model"] for row in choices if row["result"] == "wrong" and row["model"] not in failed]
        record = {"benchmark": "zoo", "complete": not failed, **environment(args), "models": rows, "choosing": choices}
        files = ["zoo.json"]
        write_json(args.output / "zoo.json", record)
        for name, header, lines in (
            ("zoo.csv", HEADER, table_rows(rows)),
            ("choosing.csv", CHOOSING_HEADER, choosing_rows(choices)),
        ):
            if lines:
                write_csv(args.output / name, header, lines)
                files.append(name)
    if rows:
        show(furthest_table(rows), quick=args.quick)
    if choices:
        show(choosing_table(choices), quick=args.quick)
    conclude(args, verdict(record), files, complete=not failed)
    if failed:
        raise UsageError(f"{len(failed)} of {len(models)} disagree: {', '.join(failed)}")
