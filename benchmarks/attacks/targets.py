"""What was to be reached, and what was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.attacks.methods import FEW_WINDOWS, GRAD_CAM, LOGSUMEXP, MEAN, MOVING, NINE, OCCLUSION
from benchmarks.common.forging import SHAM
from benchmarks.common.names import CLOTHES, CUTOUTS

_SAID = (CUTOUTS, CLOTHES)
_GROUNDED, _HONEST, _SHOWN = 0.8, 0.95, 0.5
CANDIDATES = (LOGSUMEXP, "++ logsumexp", MOVING[LOGSUMEXP], NINE, FEW_WINDOWS, OCCLUSION)
"""What might stay grounded, and the default."""


def reached(rows: Sequence[dict[str, Any]], honest: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over seeds at 5 % of the confident decisions, under SHAM of the true class.

    Args:
        rows: of :func:`benchmarks.attacks.frontier.at_equal_damage`.
        honest: points of honest models.
    """
    found = []
    for row in rows:
        if row["attack"] == SHAM and row["budget"] == "5 %":
            methods, where = row["methods"], f"{row['setting']}, {row['trained']}"
            value = methods[GRAD_CAM]["hoax"]["mean"]
            found.append(_target("Grad-CAM: correlation with the hoax map", where, value, _SHOWN))
            for name in CANDIDATES:
                found.append(
                    _target(f"{name}: correlation with its clean map", where, methods[name]["clean"]["mean"], _GROUNDED)
                )
    for setting in dict.fromkeys(point["setting"] for point in honest):
        of = [point["methods"] for point in honest if point["setting"] == setting]
        for name, plain in ((MOVING[each], each) for each in MOVING):
            agreed = [methods[name]["plain"] for methods in of if "plain" in methods[name]]
            if agreed:
                what = f"{name}: correlation with {plain} of the clean model"
                found.append(_target(what, setting, float(np.mean(agreed)), _HONEST))
    return found


def verdict(record: dict[str, Any]) -> list[str]:
    """What the numbers say, in words: the real settings at 5 %, and the rule."""
    said = []
    told: set[str] = set()
    for row in record["frontier"]:
        # What is trained usually comes first.
        if row["attack"] == SHAM and row["budget"] == "5 %" and row["setting"] in _SAID and row["setting"] not in told:
            told.add(row["setting"])
            numbers = {name: row["methods"][name] for name in (GRAD_CAM, LOGSUMEXP, MEAN, MOVING[LOGSUMEXP])}
            shown = ", ".join(
                f"{name} {each['hoax']['mean']:.2f} ({each['clean']['mean']:.2f})" for name, each in numbers.items()
            )
            said.append(
                f"{row['setting']}, at most 5 % of confident decisions lost to SHAM against Grad-CAM: correlation with "
                f"the hoax (and with the own honest map) {shown}."
            )
    rule = record["rule"]
    stays = f"stays {rule['default']}" if rule["chosen"] == rule["default"] else f"becomes {rule['chosen']}"
    said.append(f"The default {stays} by the rule, from {rule['pairs']} pairs.")
    return said


def _target(figure: str, setting: str, value: float, least: float) -> dict[str, Any]:
    return {
        "figure": figure, "setting": setting, "value": value, "bound": f">= {least:g}", "reached": bool(value >= least)
    }  # fmt: skip
