"""The conclusion of the faithfulness benchmark in words."""

from __future__ import annotations

import math
from typing import Any

from benchmarks.common.names import GRAD_CAM
from benchmarks.faithfulness.chunks import LOCALIZATION, PREDICTION
from benchmarks.faithfulness.tables import better, headline_rows
from benchmarks.faithfulness.targets import AGREEING, AGREEMENT_TARGET

_CLAIMS = {
    PREDICTION: "When pixels are deleted in the order of DiffGradCAM's map, the class falls behind its rival sooner "
    "than with Grad-CAM's map",
    LOCALIZATION: "For \"A rather than B\", DiffGradCAM's map separates the two objects better than Grad-CAM's",
}


def verdict(record: dict[str, Any]) -> list[str]:
    """Return sentences: where the contrastive map is better, where it is the same, and where it is not."""
    sentences = []
    for study, claim in _CLAIMS.items():
        answers = [better(row) for row in headline_rows(record) if row["study"] == study]
        sentences += [f"{claim} {_counted(answers)}."] if answers else []
    sentences += _agreement(record)
    missed: dict[str, list[str]] = {}
    for row in (row for row in record["targets"] if not row["reached"]):
        # FinerCAM has two implementations.
        missed.setdefault(row["against"].split()[0], []).append(row["figure"])
    if missed:
        against = "; ".join(f"{' and '.join(dict.fromkeys(names))} against {other}" for other, names in missed.items())
        sentences.append(f"Targets that are not always reached: {against} (targets.csv).")
    return sentences


def _agreement(record: dict[str, Any]) -> list[str]:
    medians = [
        row["median"]["value"]
        for row in record["agreement"]
        if (row["study"], row["method"], row["with"]) == (PREDICTION, AGREEING, GRAD_CAM)
    ]
    if not medians or not all(math.isfinite(value) for value in medians):
        return []
    same = "is nearly Grad-CAM's" if min(medians) >= AGREEMENT_TARGET else "differs from Grad-CAM's"
    return [f"Against the mean of all other classes the map {same} (median correlation {min(medians):.2f} or more)."]


def _counted(answers: list[str]) -> str:
    worse = f", worse on {answers.count('no')}" if "no" in answers else ""
    unclear = f", unclear on {answers.count('unclear')}" if "unclear" in answers else ""
    return f"on {answers.count('yes')} of {len(answers)} kinds of images{worse}{unclear}"
