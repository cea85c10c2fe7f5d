"""Run the comparison: explain every photograph by every method, with one process or several."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.common.contrast_sets import EVERY_OTHER, ContrastSet, class_index, contrast_set, top
from benchmarks.common.images import find_images, load_image, packaged_photographs
from benchmarks.common.layers import choose_layer
from benchmarks.common.models import blank_input, load_classifier, read_classes, warn_of_random_weights
from benchmarks.common.names import REDUCTIONS
from benchmarks.common.options import SkippedError, UsageError, warn
from benchmarks.common.pieces import Results, in_pieces
from benchmarks.common.reporting import conclude, environment, show, write_json
from benchmarks.compare.figure import PER_PAGE, draw_figures
from benchmarks.compare.measures import Explanation, Numbers, Task, explain
from benchmarks.compare.methods import compared_methods
from benchmarks.compare.photographs import FOLDER, unique_names, write_photograph
from benchmarks.compare.tables import medians, methods_table, write_photographs
from benchmarks.compare.verdict import verdict


def run(args: argparse.Namespace) -> None:
    paths = find_images(args.images) if args.images else packaged_photographs()
    with in_pieces(args) as work:
        task = _task(args, work.reports)
        names = unique_names(path.name for path in paths)
        pieces = {f"{index}, {path.name}": (path, names[index]) for index, path in enumerate(paths)}
        results = work.run_pieces(pieces, lambda piece: _explain_file(args, task, *piece), unit="photograph")
        if work.reports:
            _report(args, task, results)


def _task(args: argparse.Namespace, warns: bool) -> Task:
    """Return how to explain every photograph, from the options."""
    classifier = load_classifier(args.model, args.weights, args.device)
    if args.classes:
        classifier = replace(classifier, classes=read_classes(Path(args.classes), len(classifier.classes)))
    layer = choose_layer(classifier.model, blank_input(classifier.preprocess).to(args.device), args.layer, tokens=True)
    target = class_index("--target", args.target, classifier.classes) if args.target else None
    contrast = contrast_set("--contrast", args.contrast, classifier.classes) if args.contrast else None
    if contrast and target is not None and contrast.names(target):
        raise UsageError(f"--contrast must not contain the target, got {classifier.classes[target]!r}")
    if warns:
        warn_of_random_weights(classifier)
    methods = compared_methods(classifier.model, layer, _variants(contrast, args.reduction))
    return Task(classifier, layer, methods, target, contrast or EVERY_OTHER)


def _explain_file(args: argparse.Namespace, task: Task, path: Path, name: str) -> dict[str, Any]:
    """Write the files of a photograph. Return the fields of its :class:`Explanation`, or why it was skipped."""
    try:
        inputs = task.classifier.preprocess(load_image(path))[None].to(args.device)
        explanation = explain(task, path.name, inputs)
    except SkippedError as reason:
        return {"skipped": f"{path.name}: {reason}"}
    first = next(method for method in task.methods if method.contrast)
    write_photograph(args.output / FOLDER, name, explanation, first)
    return dict(vars(explanation))


def _report(args: argparse.Namespace, task: Task, explanations: Results[dict[str, Any]]) -> None:
    results: list[Numbers] = []
    skipped: list[str] = []
    for explanation in explanations.values():
        if "skipped" in explanation:
            skipped.append(explanation["skipped"])
            warn(skipped[-1])
        else:
            results.append(explanation["numbers"])
    if not results:
        raise UsageError(f"--images: none of the {len(explanations)} images can be explained")
    record = _record(args, task, results, skipped)
    write_json(args.output / "compare.json", record)
    write_photographs(args.output / "photographs.csv", results)
    figures = _draw(args.output, task, explanations, results)
    if skipped:
        warn(f"{len(skipped)} of {len(explanations)} photographs skipped")
    show(methods_table(task, results), quick=args.quick)
    print(f"\nThe folder {FOLDER} has an overlay (.png) and the maps as arrays (.npz) of each photograph.")
    conclude(args, verdict(record), ["compare.json", "photographs.csv", *figures])


def _draw(folder: Path, task: Task, explanations: Results[dict[str, Any]], results: list[Numbers]) -> list[str]:
    """Draw all photographs, page by page. Return the names of the figures."""
    figures, page, done = list[str](), list[Explanation](), 0
    # One after the other, because all of a large folder would not fit into memory.
    for explanation in explanations.values():
        if "skipped" in explanation:
            continue
        page.append(Explanation(**explanation))
        if len(page) == PER_PAGE or done + len(page) == len(results):
            figures += draw_figures(folder, task, page, done, len(results))
            done, page = done + len(page), []
    return figures


def _variants(contrast: ContrastSet | None, reduction: str | None) -> list[tuple[ContrastSet, str]]:
    reductions = [reduction] if reduction else REDUCTIONS
    if contrast is not None:
        return [(contrast, name) for name in reductions]
    return [*((EVERY_OTHER, name) for name in reductions), (top(5), reduction or "logsumexp")]


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
