"""Run the benchmark of calibrated maps: each study in pieces, with a record of its own."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from benchmarks.calibrated import attacked, choices, tests
from benchmarks.calibrated.measures import ALONE, CALIBRATED, PLANS, RISE, SIDES, kept, predictions
from benchmarks.calibrated.options import ATTACKED, CHOICES, PREDICTION, STUDIES, TESTS
from benchmarks.common.clean_models import Setting, glyphs, settings
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
SET = (LITE0, PHOTOGRAPHS)
"""The classifier and the images that set the windows. Their rows are left out of the conclusion."""
SHIFTED = {LITE0: "_bn1", MOBILENET: "features", LITE1: "_bn1"}
"""The layers whose features are shifted. By default the input of a module is explained, which cannot be shifted."""
LEAST_R, SLOPES = 0.75, (0.9, 1.1)
"""What is to be reached on held-out windows: the least correlation, and the range of the slope."""
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
        CHOICES: _run_choices,
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


def _run_choices(run: _Run) -> _Report:
    """Measure windows and forms of the formula on what no other study reports."""
    args, stored = run.args, Stored(run.args.output / "models")
    classifier = cache(lambda: load_classifier(LITE0, None, torch.device("cpu")))
    pieces = choices.planned(classifier, {} if args.quick else _settings(run, stored), stored, args.quick)
    results = run.work.run_pieces(pieces, lambda measure: measure(), until=run.until)
    if not run.work.reports:
        return _Report("", [], [])
    rows = rounded(choices.rows_of(list(results.values())))
    _write(run, CHOICES, {"rows": rows})
    header = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[_cell(row.get(key)) for key in header] for row in rows]
    write_csv(args.output / f"{CHOICES}.csv", header, cells, quick=args.quick)
    shown = table(header, [line for line in cells if CALIBRATED in line], [24] * len(header))
    return _Report(shown, [], [f"{CHOICES}.json", f"{CHOICES}.csv"])


def _settings(run: _Run, stored: Stored) -> dict[str, Setting]:
    args = run.args
    return settings(
        stored, cutouts_folder=args.cutouts, backgrounds_folder=args.backgrounds, fashion_folder=args.fashion
    )


def _run_prediction(run: _Run) -> _Report:
    """Measure what maps predict of held-out windows, and what shifted features leave of them."""
    args, quick = run.args, run.args.quick
    pairs = [SET]
    if not quick:
        names = [MOBILENET] * (mobilenet_weights() is not None) + [LITE1] * (lite_weights(LITE1) is not None)
        kinds = [WALLPAPERS, CUTOUTS] if run.material is not None else []
        pairs += [(name, kind) for name in names for kind in kinds]
    count = 1 if quick else args.images
    classifier = cache(lambda name: load_classifier(name, None, args.device))
    pieces = {
        f"{name}, {kind}, {start}": (name, kind, start)
        for name, kind in pairs
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
    chosen = {GLYPHS: glyphs(10, stored)} if args.quick else _settings(run, stored)
    seeds = list(range(args.seed, args.seed + (1 if args.quick else args.seeds)))
    laboratory = attacked.Laboratory(chosen, stored, args.quick)
    cases = {case.key: case for case in attacked.planned(chosen, seeds, args.quick)}
    results = run.work.run_pieces(cases, laboratory.measure, unit="attack", until=run.until)
    owners = attacked.owner_laboratory(run.fashion, run.material, stored, args.quick)
    planned = attacked.planned_of_owner(seeds, owners.installed, args.quick)
    owner_cases = {f"owner, {case.key}": case for case in planned}
    of_owners = run.work.run_pieces(owner_cases, owners.measure, unit="attack", until=run.until)
    if not run.work.reports:
        return _Report("", [], [])
    points = [*results.values(), *map(attacked.of_owner, of_owners.values())]
    rows = rounded(attacked.rows_of(points))
    record = {"seeds": seeds, "reached": attacked.reached(rows), "rows": rows}
    _write(run, ATTACKED, {**record, "points": points})
    names = list(rows[0]["methods"]) if rows else []
    header = ["setting", "attack", "within budget", "weights", "seeds", "predictions", *names]
    cells = [
        [
            *(row["setting"], row["attack"], "yes" if row["within_budget"] else "", _weights(row), str(row["seeds"])),
            *(_cell(each["mean"]) for each in (row["predictions"], *(row["methods"][name] for name in names))),
        ]
        for row in rows
    ]
    write_csv(args.output / f"{ATTACKED}.csv", header, cells, quick=args.quick)
    title = "Correlation with the same method's map of the clean model"
    shown = f"{title}\n{table(header, cells, [24] * len(header))}"
    return _Report(shown, attacked.verdict(rows), [f"{ATTACKED}.json", f"{ATTACKED}.csv"])


def _weights(row: Mapping[str, Any]) -> str:
    return " ".join(f"{weight:g}" for weight in sorted(set(row["weights"]) - {None}))


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
            row: dict[str, Any] = {
                "classifier": name,
                "images": kind,
                "method": method,
                "set": (name, kind) == SET,
            }
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
    sentences = []
    for count in PLANS:
        r, slopes, gain = (reached(rows, count)[key] for key in ("r", "slopes", "gain"))
        sentences.append(
            f"With {count} windows the calibrated map predicts held-out windows at r {min(r):.2f} to {max(r):.2f}, "
            f"with a slope of {min(slopes):.2f} to {max(slopes):.2f}; the map adds {gain:+.2f} on average to the "
            "windows alone."
        )
    return sentences


def reached(rows: Sequence[dict[str, Any]], count: int) -> dict[str, Any]:
    """Return r and slopes of the calibrated map on the rows that set nothing, and what its CAM adds to r."""
    reported = [row for row in rows if not row["set"]]

    def of(what: str, name: str) -> list[float]:
        own = [row for row in reported if row["method"] == f"{name}, {count}"]
        return [row[f"{what}, {side} x {side}"] for row in own for side in SIDES]

    gain = float(np.mean(of("r", CALIBRATED)) - np.mean(of("r", ALONE)))
    return {"r": of("r", CALIBRATED), "slopes": of("slope", CALIBRATED), "gain": gain}


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)


def draw(path: Path, rows: list[dict[str, Any]]) -> None:
    """Draw the pooled correlation and the slope of each method, a panel for each side of the held-out windows.

    Rows that set the windows are left out, unless there are no others.
    """
    rows = [row for row in rows if not row["set"]] or rows
    figure = Figure((8.0, 7.5), layout="constrained")
    methods = list(dict.fromkeys(row["method"] for row in rows))
    panels = figure.subplots(2, len(SIDES), sharex="row", sharey=True)
    for pair, what in zip(panels, ("r", "slope"), strict=True):
        for axes, side in zip(pair, SIDES, strict=True):
            axes.axvspan(*(LEAST_R, 1) if what == "r" else SLOPES, color="0.92")
            for name, kind in dict.fromkeys((row["classifier"], row["images"]) for row in rows):
                own = {row["method"]: row for row in rows if (row["classifier"], row["images"]) == (name, kind)}
                # A method without a slope has no dot.
                values = [math.nan if (value := own[m][f"{what}, {side} x {side}"]) is None else value for m in methods]
                axes.plot(values, range(len(methods)), "o", label=f"{name}, {kind}", alpha=0.8)
            axes.set_title(f"held-out windows of {side} x {side} cells", fontsize=10)
            axes.set_xlabel({"r": "correlation of predicted and measured falls", "slope": "slope"}[what])
            axes.set_yticks(range(len(methods)), methods)
            axes.grid(axis="x", alpha=0.3)
    panels[0, 0].invert_yaxis()
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=9)
    figure.savefig(path, dpi=130)
