"""What the zoo says, in words."""

from __future__ import annotations

from typing import Any

from benchmarks.zoo.check import TOLERANCE
from benchmarks.zoo.tables import difference


def verdict(record: dict[str, Any]) -> list[str]:
    """Whether the maps are right."""
    models = record["models"]
    failed = [row["model"] for row in models if not row["agrees"]]
    if failed:
        return [
            f"On {len(failed)} of {len(models)} classifiers a map is not the one that its formula gives: "
            f"{', '.join(failed)}."
        ]
    furthest, refused = max(models, key=difference), [row["model"] for row in models if "refused" in row]
    explained = f"{len(models) - len(refused)} of {len(models)} classifiers" if refused else _count(len(models))
    return [
        f"On {explained} both maps are those that the formulas give when the whole graph is recorded.",
        f"The largest difference is {difference(furthest):.0e} of a map's largest value ({furthest['model']}); up to "
        f"{TOLERANCE:g} counts as rounding.",
        *([f"Refused with a reason, which stands in zoo.json: {', '.join(refused)}."] if refused else []),
    ]


def _count(models: int) -> str:
    return f"all {models} classifiers" if models > 1 else "the classifier"
