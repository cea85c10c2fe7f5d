"""The table that is written, and its rows that are furthest apart, which are printed."""

from __future__ import annotations

from typing import Any

from benchmarks.common.reporting import table

HEADER = ("model", "layer", "map", "DiffGradCAM", "DiffGradCAM++")
SHOWN = 5


def table_rows(models: list[dict[str, Any]]) -> list[list[str]]:
    """Return a row for each model: its layer, the size of its maps, how far they are from those of the reference."""
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
    """Return the models whose maps are furthest from those of the reference implementation."""
    furthest = sorted(models, key=difference, reverse=True)[:SHOWN]
    explanation = "Largest difference from the reference implementation, as a share of the map's largest value"
    few = f"; the {SHOWN} largest of {len(models)}" if len(models) > SHOWN else ""
    return f"{table(HEADER, table_rows(furthest), limits=(18, 43, 5, 11, 13))}\n{explanation}{few}"


def difference(row: dict[str, Any]) -> float:
    """Return the largest difference between the maps of either method; zero if the map was refused."""
    if "refused" in row:
        return 0.0
    return float(max(row[method] for method in HEADER[3:]))


COMPLETENESS_HEADER = ("model", "layer", "linear behind", "HiResCAM", "Grad-CAM")


def completeness_rows(models: list[dict[str, Any]]) -> list[list[str]]:
    """Return a row for each model: whether the layers behind are linear, and each method's error."""
    return [
        [
            row["model"],
            f"{row['layer']} ({row['layout']})" if row["layout"] else row["layer"],
            *(
                ["refused"] * 3
                if "refused" in row
                else ["yes" if row["linear"] else "no", *(f"{row[method]:.0e}" for method in COMPLETENESS_HEADER[3:])]
            ),
        ]
        for row in models
    ]


def completeness_table(models: list[dict[str, Any]]) -> str:
    """Return the models with linear layers behind whose maps are furthest from summing to the score."""
    linear = [row for row in models if row.get("linear")]
    furthest = sorted(linear or models, key=lambda row: row.get("HiResCAM", 0.0), reverse=True)[:SHOWN]
    lines = table(COMPLETENESS_HEADER, completeness_rows(furthest), limits=(18, 43, 13, 8, 8))
    return f"{lines}\nDifference of score and sum of the map with the known remainder, as a share of the score"


CHOOSING_HEADER = ("model", "input", "layer", "grid", "expected", "result")


def choosing_rows(choices: list[dict[str, Any]]) -> list[list[str]]:
    """Return a row for each model and input: the layer that was found, its grid, and what was expected."""
    return [
        [
            row["model"],
            _times(row["input"]),
            f"{row['layer']} ({row['layout']})" if row["layout"] else row["layer"],
            _times(row["grid"]),
            row["expected"],
            row["result"],
        ]
        for row in choices
    ]


def choosing_table(choices: list[dict[str, Any]]) -> str:
    """Return the choices that are not as expected, or else a few of them."""
    odd = [row for row in choices if row["result"] != "right"] or choices[:SHOWN]
    right = sum(row["result"] == "right" for row in choices)
    lines = table(CHOOSING_HEADER, choosing_rows(odd), limits=(24, 11, 24, 7, 24, 7))
    return f"{lines}\n{right} of {len(choices)} layers are those that the table by hand expects"


def _times(sides: list[int]) -> str:
    return "x".join(map(str, sides))
