"""From the numbers of single images to results: estimates, paired differences, agreement."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

from benchmarks.common.names import GRAD_CAM, GRAD_CAM_PLUS_PLUS
from benchmarks.faithfulness.chunks import LOCALIZATION, PREDICTION
from benchmarks.faithfulness.methods import FINER, PAIRWISE
from benchmarks.faithfulness.perturbation import shares
from benchmarks.faithfulness.sample import Among, Array, Sample, kept

Row: TypeAlias = dict[str, Any]

MEASURES = {
    LOCALIZATION: (*("energy on A", "energy on B", "energy on clutter", "pointing", "AUROC", "AUROC rectified"),),
    PREDICTION: (
        *("deletion of margin", "insertion of margin", "deletion of log-odds", "insertion of log-odds"),
        *("deleted until overtaken", "infidelity, own score", "infidelity, log-odds", "sensitivity"),
    ),
}
HEADLINE = {LOCALIZATION: "AUROC", PREDICTION: "deletion of margin"}
"""The main measure of each study."""
AGAINST = (GRAD_CAM, *FINER.values())
"""The methods that every method is compared with, image by image."""
CONFIDENCE = (0, 0.5, 0.9, 0.99, np.inf)
RIVALS = (0, 1, 2, 5, np.inf)
"""Limits of the bins. The last bin has no upper limit, which is null in the record."""


def estimates(samples: Sequence[Sample]) -> list[Row]:
    """Return every measure of every method, and its difference from the methods that it is compared with."""
    rows = []
    for sample in samples:
        subsets: dict[str, Among] = {"all": None}
        if sample.study == LOCALIZATION:
            # "A rather than B" makes most sense if the model recognises both objects.
            subsets["A and B are the top two"] = sample.numbers["both on top"] > 0
        for subset, among in subsets.items():
            for measure in MEASURES[sample.study]:
                for method in sample.methods(measure):
                    others = [other for other in AGAINST if other in sample.methods(measure) and other != method]
                    rows.append(
                        {
                            **{"study": sample.study, "subject": sample.name, "images": subset},
                            "count": sample.count if among is None else int(among.sum()),
                            **{"measure": measure, "method": method},
                            **sample.mean(measure, method, among)._asdict(),
                            "quartiles and mean by model": sample.by_model(
                                kept(sample.numbers[f"{measure}|{method}"], among)
                            ),
                            "minus": {
                                other: sample.difference(measure, method, other, among)._asdict() for other in others
                            },
                        }
                    )
    return rows


def agreement(samples: Sequence[Sample]) -> list[Row]:
    """Return correlations of the signed maps of each method with the plain ones, by confidence and rivals."""
    rows = []
    for sample in samples:
        for plain in (GRAD_CAM, GRAD_CAM_PLUS_PLUS):
            measure = f"agreement with {plain}"
            for method in sample.methods(measure):
                values = sample.numbers[f"{measure}|{method}"]
                known = values[np.isfinite(values)]
                quartiles = np.quantile(known, [0.25, 0.75]) if len(known) else [np.nan, np.nan]
                rows.append(
                    {
                        **{"study": sample.study, "subject": sample.name, "method": method, "with": plain},
                        **{"count": len(known), "undefined": len(values) - len(known)},
                        "median": sample.bootstrap.median(values)._asdict(),
                        "quartiles": [float(quartile) for quartile in quartiles],
                        "quartiles and mean by model": sample.by_model(values),
                        "by confidence": _binned(sample, values, "confidence", CONFIDENCE),
                        "by close rivals": _binned(sample, values, "close rivals", RIVALS),
                    }
                )
    return rows


def _binned(sample: Sample, values: Array, by: str, edges: Sequence[float]) -> list[Row]:
    bins = []
    for low, high in pairwise(edges):
        among = (sample.numbers[by] >= low) & (sample.numbers[by] < high)
        median = sample.bootstrap.median(kept(values, among))._asdict()
        bins.append({"from": low, "below": high, "count": int(among.sum()), **median})
    return bins


def differing(samples: Sequence[Sample]) -> list[Row]:
    """Return the gain of the contrast on the quarter of images whose maps agree least, and on the others.

    If the difference between the maps were noise, the contrast would gain nothing where they differ most.
    """
    rows = []
    for sample in samples:
        measure = HEADLINE[sample.study]
        agreeing = sample.numbers[f"agreement with {GRAD_CAM}|{PAIRWISE}"]
        if not np.isfinite(agreeing).any():
            continue
        threshold = float(np.nanquantile(agreeing, 0.25))
        for images, among in (("maps differ most", agreeing <= threshold), ("the others", agreeing > threshold)):
            rows.append(
                {
                    **{"study": sample.study, "subject": sample.name, "images": images, "count": int(among.sum())},
                    **{"threshold": threshold, "measure": measure, "method": PAIRWISE, "minus": GRAD_CAM},
                    **sample.difference(measure, PAIRWISE, GRAD_CAM, among)._asdict(),
                }
            )
    return rows


def deletion_curves(samples: Sequence[Sample]) -> list[Row]:
    """Return the mean margin after every step of deletion, for the figure."""
    rows = []
    for sample in (sample for sample in samples if sample.study == PREDICTION):
        steps = sorted(
            {
                int(key.partition("|")[0].removeprefix("margin at "))
                for key in sample.numbers
                if key.startswith("margin at ")
            }
        )
        for method in sample.methods("margin at 0"):
            means = [float(sample.numbers[f"margin at {step}|{method}"].mean()) for step in steps]
            rows.append(
                {"subject": sample.name, "method": method, "share": shares(len(steps) - 1).tolist(), "margin": means}
            )
    return rows
