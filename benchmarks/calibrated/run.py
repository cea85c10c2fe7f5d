"""Run the benchmark of calibrated maps: some images of one classifier are a piece."""

from __future__ import annotations

import argparse
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from benchmarks.calibrated.measures import ALONE, CALIBRATED, PLANS, RISE, SIDES, kept, predictions
from benchmarks.common.cutouts import MISSING, Material, compose, find_material
from benchmarks.common.images import load_image, packaged_photographs
from benchmarks.common.layers import choose_layer
from benchmarks.common.models import MISSING_MOBILENET, Classifier, blank_input, load_classifier, mobilenet_weights
from benchmarks.common.names import LITE0, MOBILENET
from benchmarks.common.options import warn
from benchmarks.common.pieces import in_pieces
from benchmarks.common.reporting import conclude, environment, rounded, table, write_csv, write_json
from benchmarks.common.result_folders import refuse_to_publish

PHOTOGRAPHS, WALLPAPERS, CUTOUTS = "packaged photographs", "wallpapers", "cut-outs"
SET = PHOTOGRAPHS
"""The images that set the sizes of 9 windows, on EfficientNet-Lite0. Their rows are left out of the conclusion."""
SHIFTED = {LITE0: "_bn1", MOBILENET: "features"}
"""The layers whose features are shifted. By default the input of a module is explained, which cannot be shifted."""
_PIECE = 4
_SCENES = 700_000
"""The seed of scenes that no other benchmark shows."""
_HEADER = ("classifier", "images", "method", *(f"{what}, {side} x {side}" for side in SIDES for what in ("r", "slope")))


def run(args: argparse.Namespace) -> None:
    material = find_material(args.cutouts, args.backgrounds)
    missing = [MISSING] * (material is None) + [MISSING_MOBILENET] * (mobilenet_weights() is None)
    for line in missing:
        warn(line)
    refuse_to_publish(args, missing)
    names = [LITE0, *([MOBILENET] if mobilenet_weights() is not None and not args.quick else [])]
    kinds = [PHOTOGRAPHS, *([WALLPAPERS, CUTOUTS] if material is not None and not args.quick else [])]
    count = 2 if args.quick else args.images
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
        images = images_of(kind, chosen, material, args.seed, start, min(_PIECE, count - start)).to(args.device)
        layer = choose_layer(chosen.model, blank_input(chosen.preprocess).to(args.device), None)
        predicted = predictions(chosen.model, layer, images)
        return {"classifier": name, "images": kind, **predicted, "kept": kept(chosen.model, SHIFTED[name], images)}

    with in_pieces(args) as work:
        results = work.run_pieces(pieces, measure, unit="piece")
        if work.reports:
            report(args, list(results.values()), missing)


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


def verdict(rows: list[dict[str, Any]]) -> list[str]:
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


def report(args: argparse.Namespace, pieces: list[dict[str, Any]], missing: list[str]) -> None:
    """Write the record, the table and the figure, and print the conclusion."""
    rows = rounded(rows_of(pieces))
    complete = not (args.quick or missing)
    record = {"benchmark": "calibrated", "complete": complete, **environment(args), "images": args.images, "rows": rows}
    write_json(args.output / "calibrated.json", record)
    header = [*_HEADER, "kept"]
    cells = [[_cell(row.get(key)) for key in header] for row in rows]
    write_csv(args.output / "calibrated.csv", header, cells, quick=args.quick)
    draw(args.output / "calibrated.png", rows)
    print(f"\n{table(header, cells, [20] * len(header))}")
    sentences = [] if args.quick else verdict(rows)
    conclude(args, sentences, ["calibrated.json", "calibrated.csv", "calibrated.png"], complete=complete)


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
