"""From the numbers of single images to what a run has found: estimates, paired differences, and targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from benchmarks.bootstrap import Bootstrap, Estimate
from benchmarks.explainers import DIFF, FINER, PAIRWISE
from benchmarks.methods import GRAD_CAM, GRAD_CAM_PLUS_PLUS
from benchmarks.perturbing import shares
from benchmarks.subjects import DECISION, LOCALIZATION

Array: TypeAlias = NDArray[np.float64]
Among: TypeAlias = NDArray[np.bool_] | None
"""Whether an image counts."""
Row: TypeAlias = dict[str, Any]

MEASURES = {
    LOCALIZATION: (*("energy on A", "energy on B", "energy on clutter", "pointing", "AUROC", "AUROC rectified"),),
    DECISION: (
        *("deletion of margin", "insertion of margin", "deletion of log-odds", "insertion of log-odds"),
        *("deleted until overtaken", "infidelity, own score", "infidelity, log-odds", "sensitivity"),
    ),
}
AGAINST = (GRAD_CAM, *FINER.values())
"""What every method is compared with, image by image."""
AGREEING = f"{DIFF} mean, every other class"
"""The setting for which agreement with the plain method is claimed."""
CONFIDENCE = (0, 0.5, 0.9, 0.99, 1.0001)
RIVALS = (0, 1, 2, 5, 10_000)
_TARGETS = {LOCALIZATION: ("AUROC", "AUROC rectified", "energy on A"), DECISION: ("deletion of margin",)}
_AGREEMENT_TARGET = 0.95


@dataclass(frozen=True)
class Sample:
    """All images of one kind, over the models that were trained for it."""

    study: str
    name: str
    numbers: Mapping[str, Array]
    strata: NDArray[np.int64]
    bootstrap: Bootstrap

    @classmethod
    def of(cls, study: str, name: str, parts: Sequence[tuple[int, Mapping[str, Array]]], seed: int) -> Sample:
        """From the chunks in their order, each with its stratum."""
        full = [(stratum, numbers) for stratum, numbers in parts if len(numbers["cluster"])]
        names = full[0][1] if full else {"cluster": np.empty(0)}
        joined = {name: np.concatenate([numbers[name] for _, numbers in full] or [np.empty(0)]) for name in names}
        sizes = [len(numbers["cluster"]) for _, numbers in full]
        strata = np.repeat(np.array([stratum for stratum, _ in full], dtype=np.int64), sizes)
        return cls(study, name, joined, strata, Bootstrap(strata, joined["cluster"], seed))

    @property
    def count(self) -> int:
        """How many images."""
        return len(self.numbers["cluster"])

    def described(self) -> Row:
        """What was looked at, and in which share of it the prediction is an object of the image."""
        right = self.numbers.get("right", np.full(self.count, np.nan))
        accuracy = self.bootstrap.mean(right)._asdict()
        return {"study": self.study, "subject": self.name, "images": self.count, "accuracy": accuracy}

    def by_model(self, values: Array) -> dict[str, list[float]]:
        """The quartiles and the mean of the values that are numbers, for each model by itself."""
        found = {}
        for stratum in np.unique(self.strata):
            known = values[(self.strata == stratum) & np.isfinite(values)]
            if len(known):
                found[str(stratum)] = [*np.quantile(known, [0.25, 0.5, 0.75]).tolist(), float(known.mean())]
        return found

    def methods(self, measure: str) -> list[str]:
        """Those that the measure was taken of."""
        return [key.partition("|")[2] for key in self.numbers if key.startswith(f"{measure}|")]

    def mean(self, measure: str, method: str, among: Among = None) -> Estimate:
        """The mean, where asked among some images only."""
        return self.bootstrap.mean(_among(self.numbers[f"{measure}|{method}"], among))

    def difference(self, measure: str, method: str, against: str, among: Among = None) -> Estimate:
        """The mean difference of two methods on the same image."""
        both = self.numbers[f"{measure}|{method}"] - self.numbers[f"{measure}|{against}"]
        return self.bootstrap.mean(_among(both, among))


def _among(values: Array, among: Among) -> Array:
    return values if among is None else np.where(among, values, np.nan)


def estimates(samples: Sequence[Sample]) -> list[Row]:
    """Every measure of every method, and by how much it differs from those that it is compared with."""
    rows = []
    for sample in samples:
        subsets: dict[str, Among] = {"all": None}
        if sample.study == LOCALIZATION:
            # The question makes most sense where the model sees both objects.
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
                                _among(sample.numbers[f"{measure}|{method}"], among)
                            ),
                            "minus": {
                                other: sample.difference(measure, method, other, among)._asdict() for other in others
                            },
                        }
                    )
    return rows


def agreement(samples: Sequence[Sample]) -> list[Row]:
    """How the signed maps of each method correlate with the plain ones, and on which images."""
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
    found = []
    for low, high in pairwise(edges):
        among = (sample.numbers[by] >= low) & (sample.numbers[by] < high)
        median = sample.bootstrap.median(_among(values, among))._asdict()
        found.append({"from": low, "below": high, "count": int(among.sum()), **median})
    return found


def parting(samples: Sequence[Sample]) -> list[Row]:
    """Whether the contrast does better just where its map differs: in the quarter of images that agree least.

    If the difference between the maps were noise, it would gain nothing there.
    """
    rows = []
    for sample in samples:
        measure = _TARGETS[sample.study][0]
        agreeing = sample.numbers[f"agreement with {GRAD_CAM}|{PAIRWISE}"]
        if not np.isfinite(agreeing).any():
            continue
        threshold = float(np.nanquantile(agreeing, 0.25))
        for images, among in (("least alike", agreeing <= threshold), ("the others", agreeing > threshold)):
            rows.append(
                {
                    **{"study": sample.study, "subject": sample.name, "images": images, "count": int(among.sum())},
                    **{"threshold": threshold, "measure": measure, "method": PAIRWISE, "minus": GRAD_CAM},
                    **sample.difference(measure, PAIRWISE, GRAD_CAM, among)._asdict(),
                }
            )
    return rows


def targets(samples: Sequence[Sample]) -> list[Row]:
    """What the library is to reach, and whether it does: an interval on the better side of zero, or a median."""
    rows: list[Row] = []

    def add(sample: Sample, figure: str, against: str, target: str, found: Estimate, reached: bool) -> None:
        asked = {"figure": figure, "subject": sample.name, "against": against, "target": target}
        rows.append({**asked, **found._asdict(), "reached": reached})

    for sample in samples:
        for measure in _TARGETS[sample.study]:
            for other in (other for other in AGAINST if other in sample.methods(measure)):
                found = sample.difference(measure, PAIRWISE, other)
                if sample.study == LOCALIZATION:
                    add(sample, measure, other, "> 0", found, found.lower > 0)
                else:
                    add(sample, measure, other, "< 0", found, found.upper < 0)
    for sample in (sample for sample in samples if sample.study == DECISION):
        found = sample.bootstrap.median(sample.numbers[f"agreement with {GRAD_CAM}|{AGREEING}"])
        add(sample, "median agreement", GRAD_CAM, f">= {_AGREEMENT_TARGET}", found, found.value >= _AGREEMENT_TARGET)
    return rows


def deletion_curves(samples: Sequence[Sample]) -> list[Row]:
    """The mean margin at every step of deletion, for the figure."""
    rows = []
    for sample in (sample for sample in samples if sample.study == DECISION):
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
