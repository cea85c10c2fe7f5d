"""The table that is written, and its rows that are furthest apart, which are printed."""

from __future__ import annotations

from typing import Any

from benchmarks.common.reporting import table

HEADER = ("model", "layer", "map", "DiffGradCAM", "DiffGradCAM++")
SHOWN = 5


def table_rows(models: list[dict[str, Any]]) -> list[list[str]]:
    """A row for each model: its layer, the size of its maps, how far they are from those made the long way round."""
    return [
        [
            row["model"],
            f"{row['layer']} ({row['layout']})" if row["layout"] else row["layer"],
            "x".join(map(str, row.get("map", []))),
            *("refused" if "refused" in row else f"{row[method]:.0e}" if row[method] else "0" for method in HEADER[3:]),
        ]
        for row in models
    ]


def furthest_table(models: list[dict[str, Any]]) -> str:
    """The models whose maps are furthest from those made the long way round."""
    furthest = sorted(models, key=difference, reverse=True)[:SHOWN]
    said = "Largest difference from the long way round, as a share of the map's largest value"
    few = f"; the {SHOWN} largest of {len(models)}" if len(models) > SHOWN else ""
    return f"{table(HEADER, table_rows(furthest), limits=(18, 43, 5, 11, 13))}\n{said}{few}"


def difference(row: dict[str, Any]) -> float:
    """By how much the two ways differ at most; nothing where the map was refused."""
    if "refused" in row:
        return 0.0
    return float(max(row[method] for method in HEADER[3:]))
