"""What the faithfulness benchmark says, in words."""

from __future__ import annotations

import math
from typing import Any

from benchmarks.common.names import GRAD_CAM
from benchmarks.faithfulness.chunks import DECISION, LOCALIZATION
from benchmarks.faithfulness.tables import better, headline_rows
from benchmarks.faithfulness.targets import AGREEING, AGREEMENT_TARGET

_ASKED = {
    DECISION: "When the pixels that the map lights go first, the class falls behind its rival sooner than with "
    "Grad-CAM's map",
    LOCALIZATION: 'Asked "A rather than B", the map tells the two objects apart better than Grad-CAM\'s',
}


def verdict(record: dict[str, Any]) -> list[str]:
    """Whether the contrastive map is the better one, where it is the same, and where it is not."""
    said = []
    for study, claim in _ASKED.items():
        answers = [better(row) for row in headline_rows(record) if row["study"] == study]
        said += [f"{claim} {_counted(answers)}."] if answers else []
    said += _agreement(record)
    missed: dict[str, list[str]] = {}
    for row in (row for row in record["targets"] if not row["reached"]):
        # Of FinerCAM there are two implementations.
        missed.setdefault(row["against"].split()[0], []).append(row["figure"])
    if missed:
        against = "; ".join(f"{' and '.join(dict.fromkeys(names))} against {other}" for other, names in missed.items())
        said.append(f"Not always better than hoped for: {against} (targets.csv).")
    return said


def _agreement(record: dict[str, Any]) -> list[str]:
    found = [
        row["median"]["value"]
        for row in record["agreement"]
        if (row["study"], row["method"], row["with"]) == (DECISION, AGREEING, GRAD_CAM)
    ]
    if not found or not all(math.isfinite(value) for value in found):
        return []
    same = "is nearly Grad-CAM's" if min(found) >= AGREEMENT_TARGET else "is not Grad-CAM's either"
    return [f"Against the mean of all other classes the map {same} (median correlation {min(found):.2f} or more)."]


def _counted(answers: list[str]) -> str:
    worse = f", worse on {answers.count('no')}" if "no" in answers else ""
    unclear = f", unclear on {answers.count('unclear')}" if "unclear" in answers else ""
    return f"on {answers.count('yes')} of {len(answers)} kinds of images{worse}{unclear}"
