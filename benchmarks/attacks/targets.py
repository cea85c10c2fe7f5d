"""The targets of the benchmark of attacks, whether they are reached, and the conclusion in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.attacks.methods import EQUIVARIANT_9, OCCLUSION, OCCLUSION_9, PLUS_PLUS_LOGSUMEXP
from benchmarks.common.manipulated_models import EQUIVARIANT, LOGSUMEXP, MEAN, PLAIN, SHAM
from benchmarks.common.names import CLOTHES, CUTOUTS

_IN_WORDS = (CUTOUTS, CLOTHES)
_FOOLED, _WITHSTANDS, _SAME = 0.5, 0.8, 0.95
ROBUST_CANDIDATES = (LOGSUMEXP, PLUS_PLUS_LOGSUMEXP, EQUIVARIANT[LOGSUMEXP], EQUIVARIANT_9, OCCLUSION_9, OCCLUSION)
"""The default, and the methods that may withstand an attack better."""


def reached(rows: Sequence[dict[str, Any]], clean: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the targets, for SHAM on the true class with an accuracy budget of 5 %. Values are means over seeds.

    Args:
        rows: of :func:`benchmarks.attacks.frontier.frontier_rows`.
        clean: points of clean models.
    """
    targets = []
    for row in rows:
        if row["attack"] == SHAM and row["budget"] == "5 %":
            methods, setting = row["methods"], f"{row['setting']}, {row['trained']}"
            value = methods[PLAIN]["hoax"]["mean"]
            targets.append(_target(f"{PLAIN}: correlation with the hoax map", setting, value, _FOOLED))
            for name in ROBUST_CANDIDATES:
                figure = f"{name}: correlation with its clean map"
                targets.append(_target(figure, setting, methods[name]["clean"]["mean"], _WITHSTANDS))
    for setting in dict.fromkeys(point["setting"] for point in clean):
        points = [point["methods"] for point in clean if point["setting"] == setting]
        for plain, name in EQUIVARIANT.items():
            values = [methods[name]["plain"] for methods in points if "plain" in methods[name]]
            if values:
                figure = f"{name}: correlation with {plain} of the clean model"
                targets.append(_target(figure, setting, float(np.mean(values)), _SAME))
    return targets


def _target(figure: str, setting: str, value: float, least: float) -> dict[str, Any]:
    return {
        "figure": figure, "setting": setting, "value": value, "bound": f">= {least:g}", "reached": bool(value >= least)
    }  # fmt: skip


def verdict(record: dict[str, Any]) -> list[str]:
    """Return the conclusion in sentences: the real settings with a budget of 5 %, and the rule."""
    sentences = []
    done: set[str] = set()
    for row in record["frontier"]:
        # The usual trained part comes first.
        if (
            row["attack"] == SHAM
            and row["budget"] == "5 %"
            and row["setting"] in _IN_WORDS
            and row["setting"] not in done
        ):
            done.add(row["setting"])
            numbers = {name: row["methods"][name] for name in (PLAIN, LOGSUMEXP, MEAN, EQUIVARIANT[LOGSUMEXP])}
            values = "; ".join(
                f"{name} {method['hoax']['mean']:.2f} ({method['clean']['mean']:.2f})"
                for name, method in numbers.items()
            )
            sentences.append(
                f"{row['setting']}, SHAM against Grad-CAM with an accuracy budget of 5 %: correlation with the hoax "
                f"map (and with the clean map) {values}."
            )
    rule = record["rule"]
    result = f"stays {rule['default']}" if rule["chosen"] == rule["default"] else f"becomes {rule['chosen']}"
    sentences.append(f"By the rule, the default {result}, from {rule['pairs']} pairs.")
    return sentences
