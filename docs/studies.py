"""Numbers of the studies of ``python -m benchmarks faithfulness``, for pages that choose or compare maps."""

from __future__ import annotations

from typing import Any

import published

MOBILENET, LITE0 = "mobilenet_v2", "efficientnet-lite0"
PHOTOGRAPHS, CUTOUTS = "photographs", "cut-outs"
REAL = tuple(f"{model}, {kind}" for model in (MOBILENET, LITE0) for kind in (PHOTOGRAPHS, CUTOUTS))
"""The classifiers with ImageNet's weights, with each kind of image."""
MOSAICS = tuple(f"{model}, 2 x 2 mosaics" for model in (MOBILENET, LITE0))
GRAD_CAM, PROBABILITY, REST = (
    "LayerGradCam",
    "Grad-CAM of the probability",
    "Grad-CAM of ReST (logit + log probability)",
)
DEFAULT = "DiffGradCAM logsumexp, every other class"
MEAN, MAX = DEFAULT.replace("logsumexp", "mean"), DEFAULT.replace("logsumexp", "max")
FIVE = "DiffGradCAM logsumexp, top 5 rivals"
PLUS_PLUS = "DiffGradCAM++ logsumexp, every other class"
FINER, LAYER_CAM = "FinerCAM pytorch-grad-cam, its own 3", "LayerCAM pytorch-grad-cam"
REGION = {"size": 3, "fill": "mean colour", "score": "own score"}
"""The hidden regions that pages show."""


def rows(study: str, method: str, measure: str, subjects: tuple[str, ...] = REAL, **where: object) -> list[Any]:
    """Return the row of a measure for each subject.

    Raises:
        LookupError: If a subject has no row, or several.
    """
    estimates = published.record(f"faithfulness/{study}")["estimates"]
    names = {"method": method, "measure": measure, **where}
    return [published.row(estimates, subject=subject, **names) for subject in subjects]


def values(study: str, method: str, measure: str, subjects: tuple[str, ...] = REAL, **where: object) -> list[float]:
    """Return the value of a measure for each subject."""
    return [row["value"] for row in rows(study, method, measure, subjects, **where)]


def mean(study: str, method: str, measure: str, subjects: tuple[str, ...] = REAL, **where: object) -> float:
    """Return the mean of a measure over subjects."""
    measured = values(study, method, measure, subjects, **where)
    return sum(measured) / len(measured)


def span(numbers: list[float], form: str = ".2f") -> str:
    """Return the smallest and the largest of some values as text."""
    low, high = (format(value, form) for value in (min(numbers), max(numbers)))
    return low if low == high else f"{low} to {high}"


def compared(study: str, method: str, measure: str, *, higher: bool, subjects: tuple[str, ...] = REAL) -> str:
    """Return on how many subjects a method is better than Grad-CAM by an interval, and on how many it is worse."""
    intervals = [row["minus"][GRAD_CAM] for row in rows(study, method, measure, subjects)]
    above = sum(interval["lower"] > 0 for interval in intervals)
    below = sum(interval["upper"] < 0 for interval in intervals)
    better, worse = (above, below) if higher else (below, above)
    return f"better on {better}, worse on {worse} of {len(intervals)}"


def counts(study: str) -> str:
    """Return how many images the real classifiers were shown, and of how many different things."""
    subjects = [
        row
        for row in published.record(f"faithfulness/{study}")["subjects"]
        if row["subject"].startswith((MOBILENET, LITE0))
    ]
    images, things = ([row[name] for row in subjects] for name in ("images", "pictures"))
    return f"{span(images, 'd')} images of {span(things, 'd')} different things"
