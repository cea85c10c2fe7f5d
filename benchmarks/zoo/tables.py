"""The table that is written, its rows that are furthest apart, and what they say in words."""

from __future__ import annotations

from typing import Any

from benchmarks.common.reporting import table
from benchmarks.zoo.check import TOLERANCE

HEADER = ("model", "layer", "map", "DiffGradCAM", "DiffGradCAM++")
SHOWN = 5


def table_rows(models: list[dict[str, Any]]) -> list[list[str]]:
    """A row for each model: its layer, the size of its maps, how far they are from those made the long way round."""
    return [
        [
            row["model"],
            f"{row['layer']} ({row['layout']})" if row["layout"] else row["layer"],
            "x".join(map(str, row["map"])),
            *(f"{row[method]:.0e}" if row[method] else "0" for method in HEADER[3:]),
        ]
        for row in models
    ]


def furthest_table(models: list[dict[str, Any]]) -> str:
    """The models whose maps are furthest from those made the long way round."""
    furthest = sorted(models, key=_difference, reverse=True)[:SHOWN]
    said = "Largest difference from the long way round, as a share of the map's largest value"
    few = f"; the {SHOWN} largest of {len(models)}" if len(models) > SHOWN else ""
    return f"{table(HEADER, table_rows(furthest), limits=(18, 43, 5, 11, 13))}\n{said}{few}"


def verdict(record: dict[str, Any]) -> list[str]:
    """Whether the maps are right."""
    models = record["models"]
    failed = [row["model"] for row in models if not row["agrees"]]
    if failed:
        return [
            f"On {len(failed)} of {len(models)} classifiers a map is not the one that its formula gives: "
            f"{', '.join(failed)}."
        ]
    furthest = max(models, key=_difference)
    return [
        f"On {_count(len(models))} both maps are those that the formulas give when the whole graph is recorded.",
        f"The largest difference is {_difference(furthest):.0e} of a map's largest value ({furthest['model']}); up to "
        f"{TOLERANCE:g} counts as rounding.",
    ]


def _count(models: int) -> str:
    return f"all {models} classifiers" if models > 1 else "the classifier"


def _difference(row: dict[str, Any]) -> float:
    return float(max(row[method] for method in HEADER[3:]))
