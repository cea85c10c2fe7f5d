"""The comparison: every photograph explained by every method, on one process or several."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.common.contrast_sets import EVERY_OTHER, ContrastSet, class_index, contrast_set, top
from benchmarks.common.images import find_images, load_image, packaged_photographs
from benchmarks.common.layers import choose_layer
from benchmarks.common.models import RANDOM, blank_input, load_classifier, read_classes
from benchmarks.common.names import REDUCTIONS
from benchmarks.common.options import SkippedError, UsageError, warn
from benchmarks.common.pieces import Found, in_pieces
from benchmarks.common.reporting import conclude, environment, show, write_json
from benchmarks.compare.each_photograph import FOLDER, unlike_names, write_photograph
from benchmarks.compare.figure import PER_PAGE, draw_figures
from benchmarks.compare.measures import Explanation, Numbers, Task, explain
from benchmarks.compare.methods import compared_methods
from benchmarks.compare.tables import medians, methods_table, write_photographs
from benchmarks.compare.verdict import verdict


def run(args: argparse.Namespace) -> None:
    paths = find_images(args.images) if args.images else packaged_photographs()
    with in_pieces(args) as work:
        task = _task(args, work.speaks)
        names = unlike_names(path.name for path in paths)
        pieces = {f"{index}, {path.name}": (path, names[index]) for index, path in enumerate(paths)}
        found = work.run_pieces(pieces, lambda piece: _explained(args, task, *piece), unit="photograph")
        if work.speaks:
            _report(args, task, found)


def _task(args: argparse.Namespace, speaks: bool) -> Task:
    """What is asked of every photograph, as the options say."""
    classifier = load_classifier(args.model, args.weights, args.device)
    if args.classes:
        classifier = replace(classifier, classes=read_classes(Path(args.classes), len(classifier.classes)))
    layer = choose_layer(classifier.model, blank_input(classifier.preprocess).to(args.device), args.layer, tokens=True)
    target = class_index("--target", args.target, classifier.classes) if args.target else None
    contrast = contrast_set("--contrast", args.contrast, classifier.classes) if args.contrast else None
    if contrast and target is not None and contrast.names(target):
        raise UsageError(f"--contrast: the target {classifier.classes[target]!r} is in its own contrast set")
    if classifier.weights == RANDOM and speaks:
        warn(f"{args.model} has random weights, so its decisions mean nothing; --weights DEFAULT loads trained ones")
    methods = compared_methods(classifier.model, layer, _variants(contrast, args.reduction))
    return Task(classifier, layer, methods, target, contrast or EVERY_OTHER)


def _explained(args: argparse.Namespace, task: Task, path: Path, name: str) -> dict[str, Any]:
    """The fields of an :class:`Explanation`, whose maps are written at once, or why there is none."""
    try:
        inputs = task.classifier.preprocess(load_image(path))[None].to(args.device)
        explanation = explain(task, path.name, inputs)
    except SkippedError as reason:
        return {"skipped": f"{path.name}: {reason}"}
    ours = next(method for method in task.methods if method.contrast)
    write_photograph(args.output / FOLDER, name, explanation, ours)
    return dict(vars(explanation))


def _report(args: argparse.Namespace, task: Task, found: Found[dict[str, Any]]) -> None:
    results: list[Numbers] = []
    skipped: list[str] = []
    for explained in found.values():
        if "skipped" in explained:
            skipped.append(explained["skipped"])
            warn(skipped[-1])
        else:
            results.append(explained["numbers"])
    if not results:
        raise UsageError(f"--images: none of {len(found)} could be explained")
    record = _record(args, task, results, skipped)
    write_json(args.output / "compare.json", record)
    write_photographs(args.output / "photographs.csv", results)
    figures = _draw(args.output, task, found, results)
    if skipped:
        warn(f"{len(skipped)} of {len(found)} photographs skipped")
    show(methods_table(task, results), quick=args.quick)
    print(f"\nIn the folder {FOLDER}: each with its map over it (.png), and its maps as arrays (.npz).")
    conclude(args, verdict(record), ["compare.json", "photographs.csv", *figures])


def _draw(folder: Path, task: Task, found: Found[dict[str, Any]], results: list[Numbers]) -> list[str]:
    """All photographs, page by page. Returns the names of the figures."""
    figures, page, done = list[str](), list[Explanation](), 0
    # One after the other, because those of a large folder would not fit into memory.
    for explained in found.values():
        if "skipped" in explained:
            continue
        page.append(Explanation(**explained))
        if len(page) == PER_PAGE or done + len(page) == len(results):
            figures += draw_figures(folder, task, page, done, len(results))
            done, page = done + len(page), []
    return figures


def _variants(contrast: ContrastSet | None, reduction: str | None) -> list[tuple[ContrastSet, str]]:
    reductions = [reduction] if reduction else REDUCTIONS
    if contrast is not None:
        return [(contrast, each) for each in reductions]
    return [*((EVERY_OTHER, each) for each in reductions), (top(5), reduction or "logsumexp")]


def _record(args: argparse.Namespace, task: Task, results: list[Numbers], skipped: list[str]) -> Numbers:
    return {
        "benchmark": "compare",
        "complete": True,
        **environment(args),
        "model": task.classifier.name,
        "weights": task.classifier.weights,
        "layer": task.layer.name,
        "methods": [
            {
                "name": method.name,
                "contrast": method.contrast.label if method.contrast else None,
                "reduction": method.reduction,
                "compared_with": method.compared_with,
                "median": medians(method, results),
            }
            for method in task.methods
        ],
        "photographs": results,
        "skipped": skipped,
    }
