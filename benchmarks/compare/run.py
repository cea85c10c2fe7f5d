"""Run the comparison: explain every photograph by every method, with one process or several."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.common.contrast_sets import EVERY_OTHER, ContrastSet, class_index, contrast_set, top
from benchmarks.common.images import find_images, load_image, packaged_photographs
from benchmarks.common.layers import choose_layer
from benchmarks.common.models import (
    MISSING_MOBILENET,
    blank_input,
    load_classifier,
    mobilenet_weights,
    read_classes,
    warn_of_random_weights,
)
from benchmarks.common.names import LITE0, MOBILENET, REDUCTIONS
from benchmarks.common.options import SkippedError, UsageError, warn
from benchmarks.common.pieces import Results, Work, in_pieces
from benchmarks.common.reporting import conclude, environment, show, write_json
from benchmarks.common.result_folders import refuse_to_publish
from benchmarks.compare.figure import PER_PAGE, draw_figures
from benchmarks.compare.measures import Explanation, Numbers, Task, explain
from benchmarks.compare.methods import compared_methods
from benchmarks.compare.options import UNPUBLISHED
from benchmarks.compare.photographs import FOLDER, unique_names, write_photograph
from benchmarks.compare.tables import medians, methods_table, write_photographs
from benchmarks.compare.verdict import verdict


def run(args: argparse.Namespace) -> None:
    paths = find_images(args.images) if args.images else packaged_photographs()
    models = [args.model or LITE0]
    if not any(getattr(args, name) for name in UNPUBLISHED):
        if mobilenet_weights() is None:
            refuse_to_publish(args, [MISSING_MOBILENET])
        else:
            models.append(MOBILENET)
    with in_pieces(args) as work:
        tasks = [_task(args, model, work.reports) for model in models]
        explanations = [_explain(args, work, task, paths, writes=task is tasks[0]) for task in tasks]
        if work.reports:
            _report(args, tasks, explanations)


def _explain(
    args: argparse.Namespace, work: Work, task: Task, paths: list[Path], *, writes: bool
) -> Results[dict[str, Any]]:
    """Explain every photograph, and write its files if ``writes``."""
    names = unique_names(path.name for path in paths)

    def do(piece: tuple[Path, str]) -> dict[str, Any]:
        path, name = piece
        try:
            explanation = explain(task, path.name, task.classifier.preprocess(load_image(path))[None].to(args.device))
        except SkippedError as reason:
            return {"skipped": f"{path.name}: {reason}"}
        if writes:
            first = next(method for method in task.methods if method.contrast)
            write_photograph(args.output / FOLDER, name, explanation, first)
        return dict(vars(explanation))

    pieces = {f"{task.classifier.name}, {index}, {path.name}": (path, names[index]) for index, path in enumerate(paths)}
    return work.run_pieces(pieces, do, unit="photograph")


def _task(args: argparse.Namespace, model: str, warns: bool) -> Task:
    """Return how to explain every photograph, from the options."""
    classifier = load_classifier(model, args.weights, args.device)
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


def _report(args: argparse.Namespace, tasks: list[Task], explanations: list[Results[dict[str, Any]]]) -> None:
    """Write the record of every model. Tables and figures show the first."""
    parts = [_numbers(of_task) for of_task in explanations]
    results, skipped = parts[0]
    if not results:
        raise UsageError(f"--images: none of the {len(explanations[0])} images can be explained")
    record = {
        **{"benchmark": "compare", "complete": True, **environment(args)},
        **_record(tasks[0], *parts[0]),
        "further_models": [_record(task, *part) for task, part in zip(tasks[1:], parts[1:], strict=True)],
    }
    write_json(args.output / "compare.json", record)
    write_photographs(args.output / "photographs.csv", results)
    figures = _draw(args.output, tasks[0], explanations[0], results)
    if skipped:
        warn(f"{len(skipped)} of {len(explanations[0])} photographs skipped")
    show(methods_table(tasks[0], results), quick=args.quick)
    print(f"\nThe folder {FOLDER} has an overlay (.png) and the maps as arrays (.npz) of each photograph.")
    conclude(args, verdict(record), ["compare.json", "photographs.csv", *figures])


def _numbers(explanations: Results[dict[str, Any]]) -> tuple[list[Numbers], list[str]]:
    """Return the numbers of every photograph that was explained, and why others were not."""
    results, skipped = list[Numbers](), list[str]()
    for explanation in explanations.values():
        if "skipped" in explanation:
            skipped.append(explanation["skipped"])
            warn(skipped[-1])
        else:
            results.append(explanation["numbers"])
    return results, skipped


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


def _record(task: Task, results: list[Numbers], skipped: list[str]) -> Numbers:
    return {
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
