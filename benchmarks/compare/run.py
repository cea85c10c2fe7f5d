"""The comparison: every photograph explained by every method."""

from __future__ import annotations

import argparse

from tqdm import tqdm

from benchmarks.common.contrast_sets import EVERY_OTHER, ContrastSet, class_index, contrast_set, top
from benchmarks.common.images import find_images, load_image, packaged_photographs
from benchmarks.common.layers import choose_layer
from benchmarks.common.models import RANDOM, blank_input, load_classifier
from benchmarks.common.names import REDUCTIONS
from benchmarks.common.options import SkippedError, UsageError, warn
from benchmarks.common.reporting import environment, write_json
from benchmarks.compare.figure import draw_figures
from benchmarks.compare.measures import Explanation, Numbers, Task, explain
from benchmarks.compare.methods import compared_methods
from benchmarks.compare.tables import medians, print_methods, print_photographs

DRAWN_PHOTOGRAPHS = 12


def run(args: argparse.Namespace) -> None:
    paths = find_images(args.images) if args.images else packaged_photographs()
    classifier = load_classifier(args.model, args.weights, args.device)
    layer = choose_layer(classifier.model, blank_input(classifier.preprocess).to(args.device), args.layer)
    target = class_index("--target", args.target, classifier.classes) if args.target else None
    contrast = contrast_set("--contrast", args.contrast, classifier.classes) if args.contrast else None
    if contrast and target is not None and contrast.names(target):
        raise UsageError(f"--contrast: the target {classifier.classes[target]!r} is in its own contrast set")
    if classifier.weights == RANDOM:
        warn(f"{args.model} has random weights, so its decisions mean nothing; --weights DEFAULT loads trained ones")
    methods = compared_methods(classifier.model, layer, _variants(contrast, args.reduction))
    task = Task(classifier, layer, methods, target, contrast or EVERY_OTHER)

    results: list[Numbers] = []
    drawn: list[Explanation] = []
    skipped: list[str] = []
    try:
        for path in tqdm(paths, unit="photograph", leave=False):
            try:
                inputs = classifier.preprocess(load_image(path))[None].to(args.device)
                explanation = explain(task, path.name, inputs)
                results.append(explanation.numbers)
                # Of a large folder the photographs would not all fit into memory.
                drawn += [explanation] if len(drawn) < DRAWN_PHOTOGRAPHS else []
            except SkippedError as reason:
                skipped.append(f"{path.name}: {reason}")
                warn(skipped[-1])
    finally:
        # Also when something went wrong on the way.
        if results:
            write_json(args.output / "compare.json", _record(args, task, results, skipped, len(paths)))
    if not results:
        raise UsageError(f"--images: none of {len(paths)} could be explained")
    print_photographs(results)
    print_methods(task, results)
    figures = draw_figures(args.output, task, drawn, len(results))
    if skipped:
        warn(f"{len(skipped)} of {len(paths)} photographs skipped")
    print(f"\nWritten to {args.output}: compare.json, {', '.join(figures)}")


def _variants(contrast: ContrastSet | None, reduction: str | None) -> list[tuple[ContrastSet, str]]:
    reductions = [reduction] if reduction else REDUCTIONS
    if contrast is not None:
        return [(contrast, each) for each in reductions]
    return [*((EVERY_OTHER, each) for each in reductions), (top(5), reduction or "logsumexp")]


def _record(args: argparse.Namespace, task: Task, results: list[Numbers], skipped: list[str], asked: int) -> Numbers:
    return {
        "benchmark": "compare",
        "complete": len(results) + len(skipped) == asked,
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
