"""The tables of the audit: verdicts about clean and manipulated models, by kind and by attack."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from scipy.stats import beta

from benchmarks.audit.audited_models import CLEAN
from benchmarks.audit.plan import REPEATED
from benchmarks.common.reporting import table, write_csv

Row: TypeAlias = dict[str, Any]
VERDICTS = ("supported", "undecided", "contradicted")


def upper_bound(hits: int, trials: int, level: float = 0.95) -> float:
    """Return the exact one-sided upper bound of a rate (C. Clopper, E. Pearson, 1934)."""
    return 1.0 if hits >= trials else float(beta.ppf(level, hits + 1, trials - hits))


def clean_rows(rows: Sequence[Row]) -> list[Row]:
    """Return a row for each kind of clean model."""
    clean = [row for row in rows if row["what"].startswith(CLEAN) and row["kind"] != REPEATED]
    return [
        _counts({"kind": f"{kind}{what.removeprefix(CLEAN)}"}, clean, kind=kind, what=what)
        for kind, what in dict.fromkeys((row["kind"], row["what"]) for row in clean)
    ]


def manipulated_rows(rows: Sequence[Row]) -> list[Row]:
    """Return a row for each attack."""
    attacked = [row for row in rows if not row["what"].startswith(CLEAN) and row["kind"] != REPEATED]
    return [_counts({"attack": what}, attacked, what=what) for what in dict.fromkeys(row["what"] for row in attacked)]


def _counts(fields: Row, rows: Sequence[Row], **chosen: str) -> Row:
    rows = [row for row in rows if all(row[key] == value for key, value in chosen.items())]
    verdicts = [row["verdict"] for row in rows]
    exhaustive = [row["exhaustive"] for row in rows if row.get("exhaustive") is not None]
    return {
        **fields,
        "models": len({(row["kind"], row["seed"]) for row in rows}),
        "audits": len({(row["kind"], row["seed"], row["batch"]) for row in rows}),
        "maps": len(rows),
        **{verdict: verdicts.count(verdict) for verdict in VERDICTS},
        "agreement": float(np.nanmean([row["agreement"] for row in rows])),
        "prediction": float(np.nanmean([row["prediction"] for row in rows])),
        "exhaustive": float(np.nanmean(exhaustive)) if exhaustive else None,
    }


_COUNTED = {
    "models": "models",
    "audits": "audits",
    "maps": "verdicts",
    **{verdict: verdict for verdict in VERDICTS},
    "agreement": "agreement",
    "prediction": "prediction",
    "exhaustive": "exhaustive occlusion",
}
_HEADERS = {"clean": {"kind": "model", **_COUNTED}, "manipulated": {"attack": "attack", **_COUNTED}}


def write_tables(folder: Path, record: Row) -> None:
    """Write clean.csv and manipulated.csv."""
    for name, header in _HEADERS.items():
        write_csv(folder / f"{name}.csv", list(header.values()), [_texts(row, header) for row in record[name]])


def print_tables(record: Row) -> None:
    """Print a line for each kind of clean model and for each attack."""
    for name, header in _HEADERS.items():
        if record[name]:
            texts = [_texts(row, header) for row in record[name]]
            print(f"\n{table(list(header.values()), texts, [34] + [12] * (len(header) - 1))}")


def _texts(row: Row, header: Row) -> list[str]:
    return [f"{row[key]:.2f}" if isinstance(row[key], float) else str(row[key] or 0) for key in header]
