"""Captum's LayerGradCam against DiffGradCAM and DiffGradCAM++ on photographs: maps, agreement, entropy, time.

For every photograph: what the model says, its strongest rivals, and by how much it prefers the target to them. For
every method: the correlation of its signed map with that of the plain method (LayerGradCam; for DiffGradCAM++ plain
Grad-CAM++), the entropy of the map in nats, and the time. Writes compare.json with every number, maps.png, and
pairwise.png: why this class rather than that one.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from tqdm import tqdm

from benchmarks.explaining import Explanation, Numbers, Task, explain
from benchmarks.figures import Row, draw_methods, draw_questions, wrap
from benchmarks.images import find_images, load_image, packaged_photographs
from benchmarks.layers import choose_layer
from benchmarks.methods import FAMILIES, REDUCTIONS, Method, compared_methods
from benchmarks.models import LITE0, RANDOM, blank_input, load_classifier
from benchmarks.options import SkippedError, UsageError, warn
from benchmarks.questions import EVERY_OTHER, ContrastSet, class_index, contrast_set, top
from benchmarks.reporting import environment, table, write_json

MEASURES = ("pearson", "spearman", "entropy", "milliseconds", "time_ratio")
DRAWN_PHOTOGRAPHS = 12
DRAWN_RIVALS = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", default=LITE0, metavar="NAME", help=f"{LITE0} (default) or any classifier of torchvision"
    )
    parser.add_argument(
        "--weights",
        metavar="NAME|FILE",
        help="weights of the model: a name that torchvision gives, such as DEFAULT, or a state-dict file (default: the "
        f"packaged ones for {LITE0}, random ones for another)",
    )
    parser.add_argument(
        "--layer",
        metavar="NAME",
        help="the layer to explain, named as in model.named_modules(), or NAME:input for what goes into it (default: "
        "the last feature map that a module which runs once puts out or else takes in)",
    )
    parser.add_argument(
        "--images", nargs="+", metavar="PATH", help="image files, folders of them (default: eight real photographs)"
    )
    parser.add_argument(
        "--target", metavar="CLASS", help="the class to explain, number or name (default: each photograph's prediction)"
    )
    parser.add_argument(
        "--contrast",
        nargs="+",
        metavar="CLASS",
        help="the rivals to explain it against, numbers or names, or top:K for the K strongest. In place of the "
        "default sets: every other class with each reduction, and the top 5 rivals with logsumexp",
    )
    parser.add_argument(
        "--reduction",
        choices=REDUCTIONS,
        help="how the logits of a contrast set become one; every set is then taken with this reduction alone",
    )


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
    _print_photographs(results)
    _print_methods(task, results)
    _draw(args, task, drawn, len(results))
    if skipped:
        warn(f"{len(skipped)} of {len(paths)} photographs skipped")
    print(f"\nWritten to {args.output}: compare.json, maps.png, pairwise.png")


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
                "median": _medians(method, results),
            }
            for method in task.methods
        ],
        "photographs": results,
        "skipped": skipped,
    }


def _medians(method: Method, results: Sequence[Numbers]) -> dict[str, float]:
    """Over the photographs, without those where a number is undefined."""
    values: dict[str, list[float]] = {measure: [] for measure in MEASURES}
    for result in results:
        numbers = result["methods"][method.name]
        for measure in MEASURES:
            value = {**numbers, **numbers["agreement"][method.compared_with]}[measure]
            values[measure] += [value] if math.isfinite(value) else []
    return {measure: median(found) if found else math.nan for measure, found in values.items()}


def _print_photographs(results: Sequence[Numbers]) -> None:
    rows: list[list[str | float]] = []
    for result in results:
        target, prediction = result["target"], result["prediction"]
        explained = target["name"] if target == prediction else f"{target['name']} (not {prediction['name']})"
        rivals = ", ".join(f"{rival['name']} {rival['probability']:.2f}" for rival in result["rivals"][:2])
        scores = (target["probability"], result["margin"], result["log_odds"])
        rows.append([Path(result["photograph"]).stem, explained, *scores, rivals])
    header = ["photograph", "class explained", "p", "margin", "log-odds", "strongest rivals"]
    print(f"\n{table(header, rows, limits=(15, 27, 0, 0, 0, 31))}")
    print("margin: logit over that of the strongest rival; log-odds: against the whole contrast set")


def _print_methods(task: Task, results: Sequence[Numbers]) -> None:
    rows: list[list[str | float]] = []
    for method in task.methods:
        medians = _medians(method, results)
        name = f"{method.family} {method.reduction or ''}".strip()
        contrast = method.contrast.label if method.contrast else "none"
        rows.append([name, contrast, *(medians[measure] for measure in MEASURES)])
    header = ["method", "contrast set", "Pearson", "Spearman", "entropy", "ms", "time"]
    print(f"\n{table(header, rows, limits=(26, 26, 0, 0, 0, 0, 0))}")
    print("Medians over the photographs. Pearson, Spearman: signed map against that of LayerGradCam, for")
    print("DiffGradCAM++ against that of Grad-CAM++; entropy in nats; time as a multiple of LayerGradCam's")


def _draw(args: argparse.Namespace, task: Task, drawn: Sequence[Explanation], of: int) -> None:
    first = f" The first {len(drawn)} of {of} photographs." if len(drawn) < of else ""
    source = f"{task.classifier.name}, layer {task.layer.name}.{first}"
    groups: list[tuple[str, list[str]]] = []
    for method in task.methods:
        if method.contrast is None:
            groups.append((FAMILIES[method.family], [f"plain\n{method.family}"]))
        else:
            groups[-1][1].append(f"{method.reduction}\n{wrap(method.contrast.label, 19)}")
    draw_methods(
        args.output / "maps.png",
        "Why this class? What each method lights up",
        f"{source} r: Pearson correlation of the signed map with the plain one of its group.",
        groups,
        [_method_row(task.methods, result) for result in drawn],
    )
    draw_questions(
        args.output / "pairwise.png",
        "Why this class rather than that one?",
        f"Red speaks for the class, blue for the rival. DiffGradCAM against a single rival; {source}",
        [_question_row(result) for result in drawn],
    )


def _method_row(methods: Sequence[Method], result: Explanation) -> Row:
    target, numbers = result.numbers["target"], result.numbers["methods"]
    rivals = result.numbers["rivals"][:DRAWN_RIVALS]
    notes = []
    for method in methods:
        agreement = numbers[method.name]["agreement"][method.compared_with]["pearson"]
        notes.append(f"r = {agreement:.2f}" if method.contrast else "")
    return Row(
        result.photograph,
        title=f"{target['name']} {_percent(target['probability'])}",
        text="\n".join(["rather than", *(f"{r['name']} {_percent(r['probability'])}" for r in rivals)]),
        maps=[result.maps[method.name] for method in methods],
        notes=notes,
    )


def _question_row(result: Explanation) -> Row:
    rivals = [rival["name"] for rival in result.numbers["rivals"][:DRAWN_RIVALS]]
    return Row(
        result.photograph,
        title=result.numbers["target"]["name"],
        text=Path(result.numbers["photograph"]).stem,
        maps=list(result.pairwise[: len(rivals)]),
        notes=rivals,
    )


def _percent(probability: float) -> str:
    return f"{probability:.0%}" if probability >= 0.005 else "<1%"
