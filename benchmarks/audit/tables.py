"""The tables of the audit: a row for each kind of clean model, and for each attack."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from scipy.stats import beta
from sklearn.metrics import roc_auc_score

from benchmarks.common.reporting import table, write_csv

MANIPULATED, NO_SIGN, UNDECIDED = "manipulated", "no sign of manipulation", "undecided"
SHOWS_HOAX = 0.5
"""The correlation with the hoax map from which a manipulated model counts as showing it."""
Row: TypeAlias = dict[str, Any]


def audits_of(models: Iterable[Row]) -> list[Row]:
    """Return the audits of all models."""
    return [audit for model in models for audit in model["audits"]]


def upper_bound(hits: int, trials: int, level: float = 0.95) -> float:
    """Return the exact one-sided upper bound of a rate (C. Clopper, E. Pearson, 1934)."""
    return 1.0 if hits >= trials else float(beta.ppf(level, hits + 1, trials - hits))


def counts(audits: Sequence[Row]) -> Row:
    """Return the number of each verdict, and means of what was measured."""
    verdicts = [audit["verdict"] for audit in audits]
    return {
        "audits": len(audits),
        "manipulated": verdicts.count(MANIPULATED),
        "no_sign": verdicts.count(NO_SIGN),
        "undecided": verdicts.count(UNDECIDED),
        "forward_passes": float(np.median([audit["forward_passes"] for audit in audits])),
        "excess": float(np.nanmean([audit["excess"] for audit in audits])),
        "highest_excess": float(np.nanmax([audit["excess"] for audit in audits])),
        "equivariance": float(np.nanmean([audit["equivariance"] for audit in audits])),
    }


def clean_rows(models: Sequence[Row]) -> list[Row]:
    """Return a row for all clean models together, and one for each kind."""
    rows = []
    for kind in ["all", *dict.fromkeys(model["kind"] for model in models)]:
        chosen = [model for model in models if kind in ("all", model["kind"])]
        if chosen:
            row = {"kind": kind, "models": len(chosen), **counts(audits_of(chosen))}
            rows.append({**row, "upper_bound": upper_bound(row["manipulated"], row["audits"])})
    return rows


def shows_hoax(model: Row) -> bool:
    """Return whether one of the audited maps of a manipulated model shows the hoax map."""
    return bool(model["hoax"] >= SHOWS_HOAX)


def manipulated_rows(models: Sequence[Row], clean: Sequence[Row]) -> list[Row]:
    """Return a row for each attack and kind of model. Verdicts are counted for models that show the hoax map."""
    rows = []
    suspicions = [audit["suspicion"] for audit in audits_of(clean)]
    for attack, kind in dict.fromkeys((model["attack"], model["kind"]) for model in models):
        attacked = [model for model in models if (model["attack"], model["kind"]) == (attack, kind)]
        showing = [model for model in attacked if shows_hoax(model)]
        counted = counts(audits_of(showing)) if showing else {}
        row = {"attack": attack, "kind": kind, "models": len(attacked), "showing_hoax": len(showing), **counted}
        row["manipulated_of_all"] = counts(audits_of(attacked))["manipulated"]
        row["hoax"] = float(np.mean([model["hoax"] for model in attacked]))
        row["predictions_kept"] = float(np.mean([model["predictions_kept"] for model in attacked]))
        if showing and suspicions:
            attacked_suspicions = [audit["suspicion"] for audit in audits_of(showing)]
            labels = [0] * len(suspicions) + [1] * len(attacked_suspicions)
            row["auroc"] = float(roc_auc_score(labels, suspicions + attacked_suspicions))
        rows.append(row)
    return rows


_HEADERS = {
    "clean": {
        "kind": "model and images",
        "models": "models",
        "audits": "audits",
        "manipulated": "reported as manipulated",
        "undecided": "undecided",
        "no_sign": "no sign",
        "upper_bound": "95 % bound",
        "forward_passes": "forward passes",
        "excess": "excess",
        "highest_excess": "highest excess",
    },
    "manipulated": {
        "attack": "attack",
        "kind": "model",
        "models": "models",
        "showing_hoax": "show the hoax map",
        "manipulated": "detected",
        "undecided": "undecided",
        "no_sign": "no sign",
        "auroc": "AUROC",
        "manipulated_of_all": "detected of all",
        "hoax": "correlation with the hoax map",
        "predictions_kept": "predictions kept",
    },
}
"""The columns of each table, by the keys of the record."""
_NOT_PRINTED = ("forward_passes", "excess", "highest_excess", "manipulated_of_all")


def write_tables(folder: Path, record: Row) -> None:
    """Write clean.csv and manipulated.csv."""
    for name, header in _HEADERS.items():
        rows = [[_text(row.get(key)) for key in header] for row in record[name]]
        write_csv(folder / f"{name}.csv", list(header.values()), rows)


def _text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def print_tables(record: Row) -> None:
    """Print a line for each kind of clean model and for each attack."""
    for name, header in _HEADERS.items():
        keys = [key for key in header if key not in _NOT_PRINTED]
        rows = [[row[keys[0]], *(_text(row.get(key)) for key in keys[1:])] for row in record[name]]
        if rows:
            print(f"\n{table([header[key] for key in keys], rows, [34] + [14] * (len(keys) - 1))}")
