"""The targets of the audit, whether they are reached, and the conclusion in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.audit.hand_made import HAND_MADE
from benchmarks.audit.plan import OCCLUSION_ATTACKS
from benchmarks.audit.tables import Row, audits_of, counts, manipulated_rows, shows_hoax, upper_bound
from benchmarks.common.manipulated_models import AGAINST_EQUIVARIANT, AT_ONCE, INJECTION

_MOST_FORWARD_PASSES = 18.0
"""Half of what occlusion with 36 windows takes for an image."""


def reached(clean: Sequence[Row], manipulated: Sequence[Row]) -> list[Row]:
    """Return each target with its value and whether it is reached."""
    targets: list[Row] = []
    if clean:
        numbers = counts(audits_of(clean))
        accused, audits = numbers["manipulated"], numbers["audits"]
        targets.append(_target("clean models reported as manipulated", accused / audits, most=0.05))
        targets.append(_target("the same, upper 95 % bound", upper_bound(accused, audits), most=0.10))
    special = (AT_ONCE, INJECTION, *OCCLUSION_ATTACKS, AGAINST_EQUIVARIANT, *HAND_MADE)
    ordinary = [model for model in manipulated if model["attack"] not in special]
    groups: dict[str, tuple[list[Row], float, float | None]] = {
        "attacks that show the hoax map": (ordinary, 0.95, 0.99),
        AT_ONCE: (_with_attack(manipulated, AT_ONCE), 0.80, 0.95),
        **{f"attack on {name}": (_with_attack(manipulated, name), 0.80, None) for name in OCCLUSION_ATTACKS},
        INJECTION: (_with_attack(manipulated, INJECTION), 1.0, None),
    }
    for name, (models, least, least_auroc) in groups.items():
        showing = [model for model in models if shows_hoax(model)]
        if showing:
            numbers = counts(audits_of(showing))
            targets.append(_target(f"{name}: detected", numbers["manipulated"] / numbers["audits"], least=least))
            if least_auroc and clean:
                together = manipulated_rows([{**model, "attack": name, "kind": ""} for model in showing], clean)[0]
                targets.append(_target(f"{name}: AUROC", together["auroc"], least=least_auroc))
    hand_made = [model for model in manipulated if model["attack"] in HAND_MADE]
    if hand_made:
        numbers = counts(audits_of(hand_made))
        figure = "hand-made attacks: no sign of manipulation"
        targets.append(_target(figure, numbers["no_sign"] / numbers["audits"], most=0.0))
    if clean or manipulated:
        passes = float(np.median([audit["forward_passes"] for audit in audits_of([*clean, *manipulated])]))
        targets.append(_target("forward passes per image, median audit", passes, most=_MOST_FORWARD_PASSES))
    return targets


def _with_attack(models: Sequence[Row], attack: str) -> list[Row]:
    return [model for model in models if model["attack"] == attack]


def _target(figure: str, value: float, *, least: float | None = None, most: float | None = None) -> Row:
    bound = least if least is not None else most
    assert bound is not None
    met = value >= bound if least is not None else value <= bound
    sign = ">=" if least is not None else "<="
    return {"figure": figure, "value": value, "bound": f"{sign} {bound:g}", "reached": met}


def verdict(record: dict[str, Any]) -> list[str]:
    """Return the conclusion in sentences."""
    sentences = []
    if record["clean"]:
        row = record["clean"][0]
        sentences.append(
            f"Of {row['audits']} audits of {row['models']} clean models, {row['manipulated']} reported manipulation "
            f"(upper 95 % bound of the rate: {row['upper_bound']:.0%}), {row['undecided']} were undecided and "
            f"{row['no_sign']} reported no sign."
        )
    showing = [row for row in record["manipulated"] if row["showing_hoax"]]
    if showing:
        audits, detected, no_sign = (sum(row[key] for row in showing) for key in ("audits", "manipulated", "no_sign"))
        sentences.append(
            f"Of {audits} audits of manipulated models that show the hoax map, {detected} detected the manipulation, "
            f"{no_sign} reported no sign, and the others were undecided."
        )
    missed = [target["figure"] for target in record["targets"] if not target["reached"]]
    if record["targets"]:
        sentences.append(f"Not reached: {'; '.join(missed)}." if missed else "All targets are reached.")
    return sentences
