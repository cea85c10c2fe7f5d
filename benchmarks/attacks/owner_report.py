"""From points of the owner's attacks to rows, the summary, the printed table and the figure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.attacks.defences import DIFF, EQUIVARIANT, GRAD_CAM, OCCLUSION, PLUS_PLUS
from benchmarks.attacks.frontier import interval
from benchmarks.common.canvas import Canvas
from benchmarks.common.reporting import table

BUDGET = 2
"""Percentage points of accuracy that an attacker of the summary may lose, on average over the seeds."""


def rows_of(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each setting, attack and weight: means over seeds, and the map that keeps most of its clean map.

    ``attacked`` is the map that the attack is aimed at. ``cost`` is the accuracy lost, in percentage points. Without
    labels it is the share of confident predictions that changed.
    """
    groups: dict[tuple[str, str, float | None], list[Mapping[str, Any]]] = defaultdict(list)
    for result in results:
        groups[result["setting"], result["attack"], result["weight"]].append(result)
    rows = []
    for (setting, attack, weight), group in groups.items():
        methods = {
            name: {
                **{
                    key: interval([seed["methods"][name][key] for seed in group])
                    for key, value in numbers.items()
                    if not isinstance(value, bool)
                },
                "invariant": numbers["invariant"],
            }
            for name, numbers in group[0]["methods"].items()
        }
        best = max(methods, key=lambda name: methods[name]["clean"]["mean"])
        fields = [key for key, value in group[0].items() if isinstance(value, float) and key != "weight"]
        row: dict[str, Any] = {
            "setting": setting,
            "attack": attack,
            "weight": weight,
            "seeds": len(group),
            "exact": group[0]["exact"],
            "attacked": group[0]["attacked"],
            **{key: interval([seed[key] for seed in group]) for key in fields},
            "methods": methods,
            "best": {"name": best, **methods[best]},
        }
        row["cost"] = interval([100 * _lost(seed) for seed in group])
        rows.append(row)
    return rows


def summary_of(rows: Sequence[Mapping[str, Any]], setting: str, attacks: Sequence[str]) -> list[Mapping[str, Any]]:
    """Return a row for each attack, with the weight that an attacker would choose.

    Of the weights that cost at most :data:`BUDGET` percentage points, it is the one under which the attacked map keeps
    least of its clean map. If all cost more, it is the cheapest.
    """
    chosen = []
    for attack in attacks:
        own = [row for row in rows if (row["setting"], row["attack"]) == (setting, attack)]
        if within := [row for row in own if _cost(row) <= BUDGET]:
            chosen.append(min(within, key=lambda row: row["methods"][row["attacked"]]["clean"]["mean"]))
        elif own:
            chosen.append(min(own, key=_cost))
    return chosen


def _cost(row: Mapping[str, Any]) -> float:
    cost: float = row["cost"]["mean"]
    return cost


def _lost(point: Mapping[str, Any]) -> float:
    """Return the accuracy lost; without labels, the share of confident predictions that changed."""
    lost: float = point["accuracy"] - point["accuracy_after"] if "accuracy" in point else 1 - point["kept"]
    return lost


def print_table(record: Mapping[str, Any]) -> None:
    """Print what maps keep under each attack."""
    cells: list[list[str | float]] = [
        [
            *(row["setting"], row["attack"], "" if row["weight"] is None else f"{row['weight']:g}"),
            row["kept"]["mean"],
            *(row["methods"][name]["clean"]["mean"] for name in _COLOURS),
        ]
        for row in record["rows"]
    ]
    print("\nCorrelation with the clean model's map")
    limits = (34, 27, 6, 0, *[0] * len(_COLOURS))
    print(table(["setting", "attack", "weight", "kept", *_COLOURS], cells, limits=limits))


def verdict(record: Mapping[str, Any]) -> list[str]:
    """Return the summary in sentences."""
    return [
        f"{row['attack']}: Grad-CAM keeps {row['methods'][GRAD_CAM]['clean']['mean']:.2f} of its clean map, "
        f"DiffGradCAM {row['methods'][DIFF]['clean']['mean']:.2f}, {row['best']['name']} "
        f"{row['best']['clean']['mean']:.2f}."
        for row in record["summary"]
    ]


_COLOURS = {GRAD_CAM: "#b2182b", DIFF: "#2166ac", PLUS_PLUS: "#e08214", EQUIVARIANT: "#762a83", OCCLUSION: "#666666"}
_PANELS = 4


def draw(path: Path, record: Mapping[str, Any]) -> None:
    """Draw a panel for each of the first settings and a line for each attack, with a dot for each map.

    The first setting, which has most attacks, is on the left, and the others are on the right.

    Of several weights, that of :func:`summary_of` is drawn.
    """
    rows = record["rows"]
    settings = list(dict.fromkeys(row["setting"] for row in rows))[:_PANELS]
    drawn = {
        setting: summary_of(rows, setting, list(dict.fromkeys(r["attack"] for r in rows if r["setting"] == setting)))
        for setting in settings
    }
    first, *others = settings
    wide, left, top, line, between = 2.05, 2.4, 1.3, 0.27, 0.72
    places = {first: (left, top)}
    below = top
    for setting in others:
        places[setting] = (2 * left + wide - 0.1, below)
        below += line * len(drawn[setting]) + between
    canvas = Canvas(2 * (wide + left) + 0.1, max(below, top + line * len(drawn[first]) + between) - 0.2)
    canvas.heading(
        "What maps keep under attack",
        "Correlation of each map with the same method's map of the clean model; means over images and seeds.",
    )
    place = 0.12
    for name, colour in _COLOURS.items():
        canvas.text(place, 0.72, f"● {name}", color=colour, fontweight="bold", fontsize=10.5)
        place += 0.35 + 0.098 * len(name)
    for setting, corner in places.items():
        axes = canvas.axes(*corner, wide, line * len(drawn[setting]))
        axes.spines["bottom"].set_visible(True)
        for height, row in enumerate(drawn[setting]):
            axes.axhline(height, color="0.9", linewidth=0.8)
            for name, colour in _COLOURS.items():
                axes.plot(row["methods"][name]["clean"]["mean"], height, "o", color=colour, markersize=6, alpha=0.85)
        axes.set(xlim=(-1.08, 1.08), xticks=[-1, 0, 1], ylim=(len(drawn[setting]) - 0.5, -0.5))
        axes.set_yticks(range(len(drawn[setting])), [row["attack"] for row in drawn[setting]], fontsize=10.5)
        axes.tick_params(labelsize=10.5, length=0)
        axes.set_title(setting, fontsize=10.5, x=1, ha="right", fontweight="bold")
    canvas.save(path)
