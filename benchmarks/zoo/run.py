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
from benchmarks.zoo.completeness import completeness
from benchmarks.zoo.huggingface_models import PREFIX as HUGGINGFACE
from benchmarks.zoo.huggingface_models import huggingface_models
from benchmarks.zoo.tables import (
    CHOOSING_HEADER,
    COMPLETENESS_HEADER,
    HEADER,
    choosing_rows,
    choosing_table,
    completeness_rows,
    completeness_table,
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
    with_maps = [name for name in models if not name.startswith(HUGGINGFACE)]
    to_do = {"choosing": models, "maps": with_maps, "completeness": with_maps}
    if args.part:
        to_do = {part: names if part == args.part else [] for part, names in to_do.items()}
    with in_pieces(args) as work:
        chosen = work.run_pieces(
            {f"choosing {name}": name for name in to_do["choosing"]}, partial(choose, seed=args.seed), unit="model"
        )
        checked = work.run_pieces({name: name for name in to_do["maps"]}, partial(check, seed=args.seed), unit="model")
        summed = work.run_pieces(
            {f"completeness {name}": name for name in to_do["completeness"]},
            partial(completeness, seed=args.seed),
            unit="model",
        )
        if not work.reports:
            return
        choices, maps = [row for rows in chosen.values() for row in rows], list(checked.values())
        sums = list(summed.values())
        failed = [row["model"] for row in choices if row["result"] == "wrong"]
        failed += [row["model"] for row in maps if not row["agrees"]]
        failed += [row["model"] for row in sums if not row["complete"]]
        failed = list(dict.fromkeys(failed))
        record = {"benchmark": "zoo", "complete": not failed, **environment(args)}
        files = []
        if choices:
            write_json(args.output / "choosing.json", {**record, "choosing": choices})
            write_csv(args.output / "choosing.csv", CHOOSING_HEADER, choosing_rows(choices))
            files += ["choosing.json", "choosing.csv"]
        if maps:
            write_json(args.output / "zoo.json", {**record, "models": maps})
            write_csv(args.output / "zoo.csv", HEADER, table_rows(maps))
            files += ["zoo.json", "zoo.csv"]
        if sums:
            largest = max((row["HiResCAM"] for row in sums if row.get("linear")), default=None)
            write_json(args.output / "completeness.json", {**record, "largest error": largest, "completeness": sums})
            write_csv(args.output / "completeness.csv", COMPLETENESS_HEADER, completeness_rows(sums))
            files += ["completeness.json", "completeness.csv"]
    if choices:
        show(choosing_table(choices), quick=args.quick)
    if maps:
        show(furthest_table(maps), quick=args.quick)
    if sums:
        show(completeness_table(sums), quick=args.quick)
    conclude(args, verdict({"choosing": choices, "models": maps, "completeness": sums}), files, complete=not failed)
    if failed:
        raise UsageError(f"{len(failed)} of {len(models)} disagree: {', '.join(failed)}")
