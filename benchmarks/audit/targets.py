"""What was to be reached, and what was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.audit.by_hand import BY_HAND
from benchmarks.audit.planned import KNOWS_ALL, KNOWS_ONE
from benchmarks.audit.tables import audits_of, counts, forged_rows, shows, upper_bound
from benchmarks.common.forging import AGAINST_MOVING, AT_ONCE, INJECTION

Row = dict[str, Any]
_HALF = 18.0
"""Forward passes for an image, half of what occlusion by 36 windows takes."""


def reached(honest: Sequence[Row], forged: Sequence[Row]) -> list[Row]:
    """Each figure with its bound."""
    found: list[Row] = []
    if honest:
        of_honest = counts(audits_of(honest))
        accused, audits = of_honest["manipulated"], of_honest["audits"]
        found.append(_target("clean models reported as manipulated", accused / audits, most=0.05))
        found.append(_target("the same, upper 95 % bound", upper_bound(accused, audits), most=0.10))
    special = (AT_ONCE, INJECTION, KNOWS_ONE, KNOWS_ALL, AGAINST_MOVING, *BY_HAND)
    plain = [model for model in forged if model["attack"] not in special]
    groups = {
        "attacks that show the hoax map": (plain, 0.95, 0.99),
        AT_ONCE: ([model for model in forged if model["attack"] == AT_ONCE], 0.80, 0.95),
        f"attack on {KNOWS_ONE}": ([model for model in forged if model["attack"] == KNOWS_ONE], 0.80, None),
        f"attack on {KNOWS_ALL}": ([model for model in forged if model["attack"] == KNOWS_ALL], 0.80, None),
        INJECTION: ([model for model in forged if model["attack"] == INJECTION], 1.0, None),
    }
    for name, (models, least, auroc) in groups.items():
        showing = [model for model in models if shows(model)]
        if showing:
            numbers = counts(audits_of(showing))
            found.append(_target(f"{name}: detected", numbers["manipulated"] / numbers["audits"], least=least))
            if auroc and honest:
                together = forged_rows([{**model, "attack": name, "kind": ""} for model in showing], honest)[0]
                found.append(_target(f"{name}: AUROC", together["auroc"], least=auroc))
    by_hand = [model for model in forged if model["attack"] in BY_HAND]
    if by_hand:
        numbers = counts(audits_of(by_hand))
        found.append(
            _target("hand-made attacks: no sign of manipulation", numbers["no_sign"] / numbers["audits"], most=0.0)
        )
    if honest or forged:
        forwards = [audit["forward_passes"] for audit in audits_of([*honest, *forged])]
        found.append(_target("forward passes per image, median audit", float(np.median(forwards)), most=_HALF))
    return found


def _target(figure: str, value: float, *, least: float | None = None, most: float | None = None) -> Row:
    bound = least if least is not None else most
    assert bound is not None
    good = value >= bound if least is not None else value <= bound
    sign = ">=" if least is not None else "<="
    return {"figure": figure, "value": value, "bound": f"{sign} {bound:g}", "reached": good}


def verdict(record: Row) -> list[str]:
    """What the numbers say, in words."""
    said = []
    if record["clean"]:
        every = record["clean"][0]
        said.append(
            f"Of {every['audits']} audits of {every['models']} clean models, {every['manipulated']} reported "
            f"manipulation (upper 95 % bound of the rate: {every['upper_bound']:.0%}), {every['undecided']} were "
            f"undecided and {every['no_sign']} reported no sign."
        )
    showing = [row for row in record["manipulated"] if row["showing_hoax"]]
    if showing:
        audits, found = (sum(row[key] for row in showing) for key in ("audits", "manipulated"))
        missed = sum(row["no_sign"] for row in showing)
        said.append(
            f"Of {audits} audits of forged models that show the hoax {found} found it, {missed} passed them "
            "without a sign, the rest are undecided."
        )
    short = [target["figure"] for target in record["targets"] if target["reached"] is False]
    if record["targets"]:
        said.append(f"Not reached: {'; '.join(short)}." if short else "All targets are reached.")
    return said
