"""The targets of the audit, whether they are reached, and the conclusion in words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmarks.audit.audited_models import CLEAN
from benchmarks.audit.plan import (
    DESTROYED,
    LARGE,
    OMISSION,
    ON_ALL,
    ONE_CLASS,
    REPEATED,
    SHIFTS,
    TRANSFORMER,
    WHITEWASH,
)
from benchmarks.audit.small_models import FLATTENED
from benchmarks.audit.tables import Row, upper_bound

_GOOD, _LOW = 0.4, 0.2
"""Agreement with exhaustive occlusion from which a contradiction, and below which support, is wrong."""
_HOAX = 0.5
"""Correlation with the hoax map from which maps that agree below 0.2 are a hoax. A trained attack may fail to show the
hoax, or make predictions depend on what it shows; then there is no hoax to contradict."""
_MOST_FORWARD_PASSES = 40.0


def reached(rows: Sequence[Row]) -> list[Row]:
    """Return each target with its value, of how many verdicts or audits it is, and whether it is reached."""
    repeated = [row for row in rows if row["kind"] == REPEATED]
    rows = [row for row in rows if row["kind"] != REPEATED]
    clean = [row for row in rows if row["what"].startswith(CLEAN)]
    attacked = [row for row in rows if not row["what"].startswith(CLEAN)]
    targets: list[Row] = []
    known = [row for row in rows if row.get("exhaustive") is not None]
    good = [row for row in known if row["what"].startswith(CLEAN) and row["exhaustive"] >= _GOOD]
    targets += _rate("clean maps contradicted that agree at 0.4 or more", good, "contradicted")
    wrong = [row for row in known if row["exhaustive"] < _LOW or row["what"] in SHIFTS or row.get("names_hoaxed_class")]
    targets += _rate("maps supported that are wrong", wrong, "supported")
    pooled = [row for row in clean if row["kind"] not in (*FLATTENED, TRANSFORMER) and row["what"] == CLEAN]
    if pooled:
        undecided = sum(row["verdict"] == "undecided" for row in pooled) / len(pooled)
        targets.append(_target("clean pooled models: undecided", undecided, len(pooled), most=0.25))
    meant = _audits(attacked, ON_ALL)
    shown = [its for its in ([row for row in audit if _is_hoax(row)] for audit in meant) if its]
    innocent = [audit[0]["suspicion"] for audit in _audits(clean)]
    for which, hoaxes in (("hoax on all images", shown), ("attacks meant to show a hoax on all images", meant)):
        if not hoaxes:
            continue
        share = sum(any(row["verdict"] == "contradicted" for row in audit) for audit in hoaxes) / len(hoaxes)
        targets.append(_target(f"{which}: contradicted", share, len(hoaxes), least=0.95))
        if innocent:
            suspicions = [audit[0]["suspicion"] for audit in hoaxes]
            labels = [0] * len(innocent) + [1] * len(suspicions)
            auroc = float(roc_auc_score(labels, innocent + suspicions))
            targets.append(_target(f"{which}: AUROC", auroc, len(labels), least=0.99))
    hoaxed = [row for audit in shown for row in audit]
    if hoaxed:
        supported = sum(row["verdict"] == "supported" for row in hoaxed)
        targets.append(_target("maps that are a hoax: supported", supported / len(hoaxed), len(hoaxed), most=0.0))
    partly = [row for row in attacked if row.get("changed", 1) < 1 and row["verdict"] == "supported"]
    if partly:
        above = sum(row["changed"] > row["unnoticed_share"] for row in partly) / len(partly)
        figure = "supported although more images have a hoax than the report says may disagree"
        targets.append(_target(figure, above, len(partly), most=0.05))
    for name in (ONE_CLASS, WHITEWASH, *SHIFTS, DESTROYED, OMISSION):
        its = [row for row in attacked if row["what"] == name]
        if its:
            supported = [row for row in its if row["verdict"] == "supported"]
            figure = f"{name}: supported"
            if name == ONE_CLASS:
                # Support for the other classes is right; a hoax is supported if the scope names its class.
                supported = [row for row in supported if row["names_hoaxed_class"]]
                figure = f"{name}: supported with this class in the scope"
            targets.append(_target(figure, len(supported) / len(its), len(its), most=0.0))
    large = [row for row in rows if row["kind"] in LARGE]
    small = [row for row in rows if row["kind"] not in LARGE]
    for which, its in (("", rows), (", 28 x 28 pixels", small), (", 224 x 224 pixels", large)):
        passes = [audit[0]["forward_passes"] for audit in _audits(its)]
        if passes:
            figure = f"time in forward passes, median{which}"
            targets.append(_target(figure, float(np.median(passes)), len(passes), most=_MOST_FORWARD_PASSES))
    if repeated:
        verdicts = defaultdict(set)
        for row in repeated:
            verdicts[row["what"], row["method"]].add(row["verdict"])
        flips = sum({"supported", "contradicted"} <= of_seeds for of_seeds in verdicts.values())
        targets.append(_target("verdicts that flip between ten seeds", flips, len(verdicts), most=0))
    return targets


def _is_hoax(row: Row) -> bool:
    exhaustive = row.get("exhaustive")
    return exhaustive is not None and exhaustive < _LOW and row.get("hoax", 0) >= _HOAX


def _audits(rows: Sequence[Row], attacks: Sequence[str] = ()) -> list[list[Row]]:
    """Return the rows of each audit."""
    audits = defaultdict(list)
    for row in rows:
        if not attacks or row["what"] in attacks:
            audits[row["kind"], row["seed"], row["what"], row["batch"]].append(row)
    return list(audits.values())


def _rate(figure: str, rows: Sequence[Row], verdict: str) -> list[Row]:
    if not rows:
        return []
    hits = sum(row["verdict"] == verdict for row in rows)
    return [
        _target(figure, hits / len(rows), len(rows), most=0.05),
        _target(f"{figure}: upper 95 % bound", upper_bound(hits, len(rows)), len(rows), most=0.10),
    ]


def _target(figure: str, value: float, count: int, *, least: float | None = None, most: float | None = None) -> Row:
    bound = least if least is not None else most
    assert bound is not None
    met = value >= bound if least is not None else value <= bound
    sign = ">=" if least is not None else "<="
    return {"figure": figure, "value": value, "of": count, "bound": f"{sign} {bound:g}", "reached": met}


def verdict(record: dict[str, Any]) -> list[str]:
    """Return the conclusion in sentences."""
    sentences = []
    for name, rows in (("clean", record["clean"]), ("manipulated", record["manipulated"])):
        if rows:
            maps, supported, contradicted = (
                sum(row[key] for row in rows) for key in ("maps", "supported", "contradicted")
            )
            sentences.append(
                f"Of {maps} verdicts about maps of {name} models, {supported} are supported and {contradicted} "
                "contradicted."
            )
    missed = [target["figure"] for target in record["targets"] if not target["reached"]]
    sentences.append(f"Not reached: {'; '.join(missed)}." if missed else "All targets are reached.")
    return sentences
