"""What is printed and written: a row for each kind of honest model, and for each attack."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import beta
from sklearn.metrics import roc_auc_score

from benchmarks.common.reporting import table, write_csv

MANIPULATED, NO_SIGN = "manipulated", "no sign of manipulation"
SHOWN = 0.5
"""The correlation with the hoax from which on an attack shows it."""
Row = dict[str, Any]


def audits_of(models: Iterable[Row]) -> list[Row]:
    return [audit for model in models for audit in model["audits"]]


def upper_bound(hits: int, of: int, level: float = 0.95) -> float:
    """Of the rate, one-sided and exact (C. Clopper, E. Pearson, 1934)."""
    return 1.0 if hits >= of else float(beta.ppf(level, hits + 1, of - hits))


def counts(audits: Sequence[Row]) -> Row:
    """How many there were of each verdict, and what they took."""
    verdicts = [audit["verdict"] for audit in audits]
    return {
        "audits": len(audits),
        "manipulated": verdicts.count(MANIPULATED),
        "no_sign": verdicts.count(NO_SIGN),
        "undecided": verdicts.count("undecided"),
        "forward_passes": float(np.median([audit["forward_passes"] for audit in audits])),
        "excess": float(np.nanmean([audit["excess"] for audit in audits])),
        "highest_excess": float(np.nanmax([audit["excess"] for audit in audits])),
        "equivariance": float(np.nanmean([audit["equivariance"] for audit in audits])),
    }


def honest_rows(models: Sequence[Row]) -> list[Row]:
    """A row for each kind, and all of them together first."""
    rows = []
    for kind in ["all", *dict.fromkeys(model["kind"] for model in models)]:
        some = [model for model in models if kind in ("all", model["kind"])]
        if some:
            row = {"kind": kind, "models": len(some), **counts(audits_of(some))}
            rows.append({**row, "upper_bound": upper_bound(row["manipulated"], row["audits"])})
    return rows


def shows(model: Row) -> bool:
    """Whether one of the audited maps of a forged model shows the hoax."""
    return bool(model["hoax"] >= SHOWN)


def forged_rows(models: Sequence[Row], honest: Sequence[Row]) -> list[Row]:
    """A row for each attack and kind of victim, of the forged models that show the hoax and of all."""
    rows = []
    suspicions = [audit["suspicion"] for audit in audits_of(honest)]
    for attack, kind in dict.fromkeys((model["attack"], model["kind"]) for model in models):
        everyone = [model for model in models if (model["attack"], model["kind"]) == (attack, kind)]
        showing = [model for model in everyone if shows(model)]
        counted = counts(audits_of(showing)) if showing else {}
        row = {"attack": attack, "kind": kind, "models": len(everyone), "showing_hoax": len(showing), **counted}
        row["manipulated_of_all"] = counts(audits_of(everyone))["manipulated"]
        row["hoax"] = float(np.mean([model["hoax"] for model in everyone]))
        row["predictions_kept"] = float(np.mean([model["predictions_kept"] for model in everyone]))
        if showing and suspicions:
            found = [audit["suspicion"] for audit in audits_of(showing)]
            row["auroc"] = float(roc_auc_score([0] * len(suspicions) + [1] * len(found), suspicions + found))
        rows.append(row)
    return rows


_HONEST = {
    **{"kind": "model and images", "models": "models", "audits": "audits", "manipulated": "reported as manipulated"},
    **{"undecided": "undecided", "no_sign": "no sign", "upper_bound": "95 % bound", "forward_passes": "forward passes"},
    **{"excess": "excess", "highest_excess": "highest excess"},
}
_FORGED = {
    **{
        "attack": "attack",
        "kind": "model",
        "models": "models",
        "showing_hoax": "show the hoax map",
        "manipulated": "detected",
    },
    **{"undecided": "undecided", "no_sign": "no sign", "auroc": "AUROC", "manipulated_of_all": "detected of all"},
    **{"hoax": "correlation with the hoax map", "predictions_kept": "predictions kept"},
}


def write_tables(folder: Path, record: Row) -> None:
    """clean.csv and manipulated.csv."""
    for name, header in (("clean", _HONEST), ("manipulated", _FORGED)):
        rows = [[_text(row.get(key)) for key in header] for row in record[name]]
        write_csv(folder / f"{name}.csv", list(header.values()), rows)


def _text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def print_tables(record: Row) -> None:
    """A line for each kind and for each attack."""
    for name, header in (("clean", _HONEST), ("manipulated", _FORGED)):
        shown = [
            key for key in header if key not in ("forward_passes", "excess", "highest_excess", "manipulated_of_all")
        ]
        rows = [[row[shown[0]], *(_text(row.get(key)) for key in shown[1:])] for row in record[name]]
        if rows:
            print(f"\n{table([header[key] for key in shown], rows, [34] + [14] * (len(shown) - 1))}")
