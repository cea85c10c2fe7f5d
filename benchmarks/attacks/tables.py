"""The tables of the benchmark of attacks: a file with every point, and what is printed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.attacks.methods import OCCLUSION, OCCLUSION_9, PLUS_PLUS_LOGSUMEXP
from benchmarks.common.manipulated_models import EQUIVARIANT, LOGSUMEXP, MEAN, PLAIN
from benchmarks.common.reporting import table, write_csv

_PRINTED = {
    PLAIN: "Grad-CAM",
    LOGSUMEXP: "lse",
    MEAN: "mean",
    PLUS_PLUS_LOGSUMEXP: "++ lse",
    EQUIVARIANT[LOGSUMEXP]: "equivar.",
    OCCLUSION_9: "occl. 9",
    OCCLUSION: "occl.",
}
_MEASURES = ("hoax", "clean", "own_occlusion", "mask", "grad_cam")


def write_points(path: Path, points: Sequence[dict[str, Any]]) -> None:
    """Write a row for every point and method."""
    rows = []
    for point in points:
        predictions = point["predictions"]
        case = [point[key] for key in ("setting", "seed", "trained", "attack")] + [f"{point['weight']:g}"]
        case += [f"{predictions[key]:.4f}" for key in ("kept", "kl")]
        for name, numbers in point["methods"].items():
            rows.append([*case, name, *(f"{numbers[key]:.3f}" if key in numbers else "" for key in _MEASURES)])
    header = ["setting", "seed", "trained", "attack", "weight", "predictions kept", "KL (nats)", "method", *_MEASURES]
    write_csv(path, header, rows)


def print_tables(record: dict[str, Any]) -> None:
    """Print the maps within each budget, the rule, and the targets."""
    print("\nBest attack within an accuracy budget: correlation with the hoax map / with the clean map")
    rows: list[list[str | float]] = []
    for row in record["frontier"]:
        cells = [
            f"{row['methods'][n]['hoax']['mean']:5.2f}/{row['methods'][n]['clean']['mean']:5.2f}" for n in _PRINTED
        ]
        rows.append([row["setting"], row["attack"], row["trained"], row["budget"], *cells])
    if rows:
        header = ["setting", "attack", "trained", "budget", *_PRINTED.values()]
        print(table(header, rows, limits=(14, 20, 7, 6, *[11] * len(_PRINTED))))
    rule = record["rule"]
    result = "stays" if rule["chosen"] == rule["default"] else f"becomes {rule['chosen']}"
    enough = "" if rule["enough"] else ", too few to decide"
    print(f"\nBy the rule, the default, {rule['default']}, {result}; {rule['pairs']} pairs{enough}\n")
    targets: list[list[str | float]] = [
        [t["figure"], t["setting"], t["value"], t["bound"], "yes" if t["reached"] else "no"] for t in record["targets"]
    ]
    if targets:
        print(table(["target", "setting", "value", "bound", "reached"], targets, limits=(50, 32, 0, 8, 8)))
