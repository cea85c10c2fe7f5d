"""Run the benchmark of calibrated maps: each study in pieces, with a record of its own."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from benchmarks.calibrated import attacked, tests
from benchmarks.calibrated.measures import ALONE, CALIBRATED, PLANS, RISE, SIDES, kept, predictions
from benchmarks.calibrated.options import ATTACKED, PREDICTION, STUDIES, TESTS
from benchmarks.common.clean_models import glyphs, settings
from benchmarks.common.cutouts import MISSING, Material, compose, find_material
from benchmarks.common.fashion import MISSING as MISSING_FASHION
from benchmarks.common.fashion import find_fashion
from benchmarks.common.images import load_image, packaged_photographs
from benchmarks.common.layers import choose_layer
from benchmarks.common.models import (
    MISSING_LITE1,
    MISSING_MOBILENET,
    Classifier,
    blank_input,
    lite_weights,
    load_classifier,
    mobilenet_weights,
)
from benchmarks.common.names import GLYPHS, LITE0, LITE1, MOBILENET
from benchmarks.common.options import warn
from benchmarks.common.pieces import Work, in_pieces
from benchmarks.common.reporting import conclude, environment, rounded, table, write_csv, write_json
from benchmarks.common.result_folders import refuse_to_publish
from benchmarks.common.stored import Stored
from benchmarks.faithfulness.studies.plan import Piece, recognise

PHOTOGRAPHS, WALLPAPERS, CUTOUTS = "packaged photographs", "wallpapers", "cut-outs"
SET = PHOTOGRAPHS
"""The images that set the sizes of 9 windows, on EfficientNet-Lite0. Their rows are left out of the conclusion."""
SHIFTED = {LITE0: "_bn1", MOBILENET: "features"}
"""The layers whose features are shifted. By default the input of a module is explained, which cannot be shifted."""
_PIECE = 4
_SCENES = 700_000
"""The seed of scenes that no other benchmark shows."""
_HEADER = ("classifier", "images", "method", *(f"{what}, {side} x {side}" for side in SIDES for what in ("r", "slope")))


class _Run(NamedTuple):
    """What all studies share."""

    args: argparse.Namespace
    work: Work
    material: Material | None
    fashion: Path | None
    missing: list[str]
    until: float


class _Report(NamedTuple):
    """What is printed and published of a study."""

    table: str
    sentences: list[str]
    files: list[str]


def run(args: argparse.Namespace) -> None:
    until = math.inf if args.minutes is None else time.monotonic() + 60 * args.minutes
    material, fashion = find_material(args.cutouts, args.backgrounds), find_fashion(args.fashion)
    needed = {
        MISSING: material is not None,
        MISSING_MOBILENET: mobilenet_weights() is not None,
        MISSING_LITE1: lite_weights(LITE1) is not None,
        MISSING_FASHION: fashion is not None,
    }
    missing = [line for line, is_installed in needed.items() if not is_installed]
    for line in missing:
        warn(line)
    refuse_to_publish(args, missing)
    studies = [study for study in STUDIES if study in (args.studies or STUDIES)]
    run_study: dict[str, Callable[[_Run], _Report]] = {
        PREDICTION: _run_prediction,
        ATTACKED: _run_attacked,
        TESTS: _run_tests,
    }
    with in_pieces(args) as work:
        common = _Run(args, work, material, fashion, missing, until)
        reports = [run_study[study](common) for study in studies]
        if not work.reports:
            return
        for report in reports:
            print(f"\n{report.table}")
        if work.left:
            print(f"\nThere was no time for {len(work.left)} pieces; --resume continues with them")
        files = [file for report in reports for file in report.files]
        sentences = [] if args.quick or work.left else [line for report in reports for line in report.sentences]
        conclude(args, sentences, files, complete=not (missing or work.left))


def _run_prediction(run: _Run) -> _Report:
    """Measure what maps predict of held-out windows, and what shifted features leave of them."""
    args, quick = run.args, run.args.quick
    names = [LITE0, *([MOBILENET] if mobilenet_weights() is not None and not quick else [])]
    kinds = [PHOTOGRAPHS, *([WALLPAPERS, CUTOUTS] if run.material is not None and not quick else [])]
    count = 1 if quick else args.images
    classifier = cache(lambda name: load_classifier(name, None, args.device))
    pieces = {
        f"{name}, {kind}, {start}": (name, kind, start)
        for name in names
        for kind in kinds
        for start in range(0, min(count, len(packaged_photographs())) if kind == PHOTOGRAPHS else count, _PIECE)
    }

    def measure(piece: tuple[str, str, int]) -> dict[str, Any]:
        name, kind, start = piece
        chosen: Classifier = classifier(name)
        images = images_of(kind, chosen, run.material, args.seed, start, min(_PIECE, count - start)).to(args.device)
        layer = choose_layer(chosen.model, blank_input(chosen.preprocess).to(args.device), None)
        predicted = predictions(chosen.model, layer, images)
        return {"classifier": name, "images": kind, **predicted, "kept": kept(chosen.model, SHIFTED[name], images)}

    results = run.work.run_pieces(pieces, measure, unit="piece", until=run.until)
    if not run.work.reports:
        return _Report("", [], [])
    rows = rounded(rows_of(list(results.values())))
    _write(run, "calibrated", {"images": args.images, "rows": rows})
    header = [*_HEADER, "kept"]
    cells = [[_cell(row.get(key)) for key in header] for row in rows]
    write_csv(args.output / "calibrated.csv", header, cells, quick=quick)
    draw(args.output / "calibrated.png", rows)
    shown = table(header, cells, [20] * len(header))
    return _Report(shown, [] if quick else verdict(rows), ["calibrated.json", "calibrated.csv", "calibrated.png"])


def _run_attacked(run: _Run) -> _Report:
    """Measure what trained attacks leave of maps."""
    args, stored = run.args, Stored(run.args.output / "models")
    chosen = (
        {GLYPHS: glyphs(10, stored)}
        if args.quick
        else settings(
            stored, cutouts_folder=args.cutouts, backgrounds_folder=args.backgrounds, fashion_folder=args.fashion
        )
    )
    seeds = list(range(args.seed, args.seed + (1 if args.quick else args.seeds)))
    laboratory = attacked.Laboratory(chosen, stored, args.quick)
    cases = {case.key: case for case in attacked.planned(chosen, seeds, args.quick)}
    results = run.work.run_pieces(cases, laboratory.measure, unit="attack", until=run.until)
    if not run.work.reports:
        return _Report("", [], [])
    rows = rounded(attacked.rows_of(list(results.values())))
    record = {"seeds": seeds, "weight": attacked.WEIGHT, "reached": attacked.reached(rows), "rows": rows}
    _write(run, ATTACKED, {**record, "points": list(results.values())})
    names = list(rows[0]["methods"]) if rows else []
    header = ["setting", "attack", "seeds", "predictions", *names]
    cells = [
        [
            *(str(row[key]) for key in header[:3]),
            *(_cell(each["mean"]) for each in (row["predictions"], *(row["methods"][n]["clean"] for n in names))),
        ]
        for row in rows
    ]
    write_csv(args.output / f"{ATTACKED}.csv", header, cells, quick=args.quick)
    title = "Correlation with the same method's map of the clean model"
    shown = f"{title}\n{table(header, cells, [24] * len(header))}"
    return _Report(shown, attacked.verdict(rows), [f"{ATTACKED}.json", f"{ATTACKED}.csv"])


def _run_tests(run: _Run) -> _Report:
    """Measure mosaics, class sensitivity and removal."""
    args, work = run.args, run.work
    subjects = tests.subjects(run.material, args.quick, args.device, args.seed)
    recognised = work.run_pieces(
        {f"recognise, {subject.name}": subject for subject in subjects}, recognise, unit="classifier", until=run.until
    )
    planned = [
        piece
        for subject in subjects
        if (key := f"recognise, {subject.name}") in recognised
        for piece in tests.planned(subject, recognised[key], args.seed, args.quick)
    ]

    def measure(piece: Piece) -> dict[str, Any]:
        return tests.measured(piece, recognised[f"recognise, {piece.subject.name}"], args.seed)

    results = work.run_pieces({piece.key: piece for piece in planned}, measure, until=run.until)
    if not work.reports:
        return _Report("", [], [])
    rows = rounded(tests.rows_of(list(results.values()), args.seed))
    _write(run, TESTS, {"rows": rows})
    header = ["subject", "measure", "method", "images", "value", "lower", "upper"]
    cells: list[list[str | float]] = [[row[key] for key in header] for row in rows]
    write_csv(args.output / f"{TESTS}.csv", header, cells, quick=args.quick)
    shown = table(header, cells, [34, 20, 20, *[0] * 4])
    return _Report(shown, tests.verdict(rows), [f"{TESTS}.json", f"{TESTS}.csv"])


def _write(run: _Run, name: str, members: dict[str, Any]) -> None:
    """Write the record of a study."""
    complete = not (run.args.quick or run.missing or run.work.left)
    record = {"benchmark": "calibrated", "study": name, "complete": complete, **environment(run.args), **members}
    write_json(run.args.output / f"{name}.json", record)


def images_of(
    kind: str, classifier: Classifier, material: Material | None, seed: int, start: int, count: int
) -> Tensor:
    """Return images from the one with this number on, (N, 3, H, W)."""
    if kind == CUTOUTS:
        assert material is not None
        scenes = compose(material, count, _SCENES + 100 * seed + start, objects=(1, 2)).images
        mean, std = (torch.tensor(v)[:, None, None] for v in (classifier.preprocess.mean, classifier.preprocess.std))
        return (scenes - mean) / std
    files = packaged_photographs()
    if kind == WALLPAPERS:
        assert material is not None
        order = torch.randperm(len(material.backgrounds), generator=torch.Generator().manual_seed(seed)).tolist()
        files = [material.backgrounds[index] for index in order]
    return torch.stack([classifier.preprocess(load_image(file)) for file in files[start : start + count]])


def rows_of(pieces: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each classifier, kind of images and method: pooled r and slope, and the correlation kept.

    The slope is that of the measured falls on the predicted ones, over all windows of all images. Maps of RISE have no
    scale, so they have none.
    """
    rows = []
    for name, kind in dict.fromkeys((piece["classifier"], piece["images"]) for piece in pieces):
        own = [piece for piece in pieces if (piece["classifier"], piece["images"]) == (name, kind)]
        for method in (key for key in own[0] if key not in ("classifier", "images", "falls", "kept")):
            row: dict[str, Any] = {"classifier": name, "images": kind, "method": method, "set": kind == SET}
            for side in SIDES:
                x, y = (torch.cat([p[key][side].flatten() for p in own]).double().numpy() for key in (method, "falls"))
                row[f"r, {side} x {side}"] = float(np.corrcoef(x, y)[0, 1])
                slope = float(np.polyfit(x, y, 1)[0])
                row[f"slope, {side} x {side}"] = None if method.startswith(RISE) else slope
            if method in own[0]["kept"]:
                row["kept"] = float(torch.cat([piece["kept"][method] for piece in own]).mean())
            rows.append(row)
    return rows


def verdict(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return what was found on the classifiers and images that set nothing."""
    reported = [row for row in rows if not row["set"]]
    sentences = []
    for count in PLANS:
        values = {
            name: [
                row[f"r, {side} x {side}"] for row in reported if row["method"] == f"{name}, {count}" for side in SIDES
            ]
            for name in (CALIBRATED, ALONE)
        }
        low, high = min(values[CALIBRATED]), max(values[CALIBRATED])
        gain = float(np.mean(values[CALIBRATED]) - np.mean(values[ALONE]))
        sentences.append(
            f"With {count} windows the calibrated map predicts held-out windows at r {low:.2f} to {high:.2f}; the map "
            f"adds {gain:+.2f} on average to the windows alone."
        )
    return sentences


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)


def draw(path: Path, rows: list[dict[str, Any]]) -> None:
    """Draw the pooled correlation of each method, a panel for each side of the held-out windows."""
    figure = Figure((9.0, 4.5), layout="constrained")
    methods = list(dict.fromkeys(row["method"] for row in rows))
    panels = np.atleast_1d(figure.subplots(1, len(SIDES), sharey=True))
    for axes, side in zip(panels, SIDES, strict=True):
        for name, kind in dict.fromkeys((row["classifier"], row["images"]) for row in rows):
            own = {row["method"]: row for row in rows if (row["classifier"], row["images"]) == (name, kind)}
            values = [own[method][f"r, {side} x {side}"] for method in methods]
            note = " (set the sizes)" if kind == SET else ""
            axes.plot(values, range(len(methods)), "o", label=f"{name}, {kind}{note}", alpha=0.8)
        axes.set_title(f"held-out windows of {side} x {side} cells", fontsize=10)
        axes.set_xlabel("pooled correlation of predicted and measured falls")
        axes.set_yticks(range(len(methods)), methods)
        axes.grid(axis="x", alpha=0.3)
    panels[0].invert_yaxis()
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8)
    figure.savefig(path, dpi=130)
