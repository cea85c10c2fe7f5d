"""The tables of the attacks: a file with every point, and what is printed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.attacks.methods import FEW_WINDOWS, GRAD_CAM, LOGSUMEXP, MEAN, MOVING, OCCLUSION
from benchmarks.common.reporting import table, write_csv

_PRINTED = (GRAD_CAM, LOGSUMEXP, MEAN, "++ logsumexp", MOVING[LOGSUMEXP], FEW_WINDOWS, OCCLUSION)
_HEADINGS = ("Grad-CAM", "lse", "mean", "++ lse", "moving", "occl. 9", "occl.")
_MAPS = ("hoax", "clean", "own_occlusion", "mask", "grad_cam")


def write_points(path: Path, points: Sequence[dict[str, Any]]) -> None:
    """A row for every point and method."""
    rows = []
    for point in points:
        decided = point["predictions"]
        case = [point[key] for key in ("setting", "seed", "trained", "attack")] + [f"{point['weight']:g}"]
        case += [f"{decided[key]:.4f}" for key in ("kept", "kl")]
        for name, numbers in point["methods"].items():
            rows.append([*case, name, *(f"{numbers[key]:.3f}" if key in numbers else "" for key in _MAPS)])
    write_csv(
        path,
        ["setting", "seed", "trained", "attack", "weight", "predictions kept", "KL (nats)", "method", *_MAPS],
        rows,
    )


def print_tables(record: dict[str, Any]) -> None:
    """What every map shows at equal damage, the rule, and what was to be reached."""
    print(
        "\nCorrelation with the hoax / with the own honest map, where so large a share of confident decisions is lost"
    )
    rows: list[list[str | float]] = []
    for row in record["frontier"]:
        cells = [
            f"{row['methods'][n]['hoax']['mean']:5.2f}/{row['methods'][n]['clean']['mean']:5.2f}" for n in _PRINTED
        ]
        rows.append([row["setting"], row["attack"], row["trained"], row["budget"], *cells])
    if rows:
        print(
            table(["setting", "attack", "what", "lost", *_HEADINGS], rows, limits=(14, 20, 5, 4, *[11] * len(_PRINTED)))
        )
    rule = record["rule"]
    verdict = "stays" if rule["chosen"] == rule["default"] else f"becomes {rule['chosen']}"
    enough = "" if rule["enough"] else ", too few to decide"
    print(f"\nThe default, {rule['default']}, {verdict} by the rule; {rule['pairs']} pairs{enough}\n")
    targeted: list[list[str | float]] = [
        [t["figure"], t["setting"], t["value"], t["bound"], "yes" if t["reached"] else "no"] for t in record["targets"]
    ]
    if targeted:
        print(table(["target", "setting", "value", "bound", "reached"], targeted, limits=(50, 32, 0, 8, 8)))
