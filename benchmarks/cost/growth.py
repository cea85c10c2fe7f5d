"""How the cost of a map grows: with classes, image size, the contrast set and the number of rivals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from tqdm import tqdm

from benchmarks.common.names import DIFF, DIFF_PLUS_PLUS, GRAD_CAM
from benchmarks.cost.cases import Case
from benchmarks.cost.jobs import FORWARD
from benchmarks.cost.methods import Action, action
from benchmarks.cost.timing import interleaved_seconds, ratio, spread
from captum_diffcam import LayerDiffGradCam, top_rivals

ONE_MAP = "one map"
CLASSES = (10, 1000, 21_000)
SIZES = (128, 224, 448)
CONTRASTS: dict[int, Any] = {1: 999, 5: top_rivals(5), 100: top_rivals(100), 999: None}
"""Contrast sets by their number of classes, of 1000."""
RIVALS = (1, 10, 100)
PLAIN_RUNS = (1, 10)
"""How often LayerGradCam runs; a hundred runs would add nothing."""


def growth(case: Case, rounds: int) -> list[dict[str, Any]]:
    """Return seconds, and ratios to LayerGradCam, to one rival or to one map, for growing inputs."""
    rows = []
    for name, values in (("classes", CLASSES), ("size", SIZES)):
        for value in tqdm(values, desc=f"growth with {name}", leave=False):
            grown = replace(case, **{name: value}, batch=1 if name == "size" else case.batch)
            workload = grown.build()
            methods = {method: action(method, workload) for method in (FORWARD, GRAD_CAM, DIFF, DIFF_PLUS_PLUS)}
            rows += _records(name, dict.fromkeys(methods, value), methods, GRAD_CAM, rounds, case.device)

    workload = case.build()
    images, targets = workload.images, workload.targets
    cam = LayerDiffGradCam(workload.model, workload.layers[0], layout=workload.layout)
    sets = {f"{n} rivals": partial(cam.attribute, images, targets, contrast=c) for n, c in CONTRASTS.items()}
    # They differ by little, so they need more rounds.
    rows += _records("contrast", dict(zip(sets, CONTRASTS, strict=True)), sets, "1 rivals", 4 * rounds, case.device)

    plain = action(GRAD_CAM, workload)
    actions: dict[str, Action] = {ONE_MAP: partial(cam.attribute, images, targets)}
    counts = {ONE_MAP: 1}
    for n in RIVALS:
        actions[f"{DIFF}, {n} rivals"] = partial(cam.attribute_rivals, images, targets, top_rivals(n))
        counts[f"{DIFF}, {n} rivals"] = n
    for n in PLAIN_RUNS:
        actions[f"{GRAD_CAM}, {n} runs"] = partial(_repeat, plain, n)
        counts[f"{GRAD_CAM}, {n} runs"] = n
    rows += _records("rivals", counts, actions, ONE_MAP, rounds, case.device)
    return rows


def _repeat(do: Action, times: int) -> None:
    for _ in range(times):
        do()


def _records(
    grows: str, to: Mapping[str, int], actions: Mapping[str, Action], base: str, rounds: int, device: str
) -> list[dict[str, Any]]:
    seconds = interleaved_seconds(actions, rounds, device)
    return [
        {
            "grows": grows,
            "to": to[method],
            "method": method,
            "seconds": spread(seconds[method]),
            "base": base,
            "to_base": ratio(seconds, method, base),
        }
        for method in actions
    ]
