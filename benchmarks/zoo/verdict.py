"""What the zoo says, in words."""

from __future__ import annotations

from typing import Any

from benchmarks.zoo import completeness
from benchmarks.zoo.check import TOLERANCE
from benchmarks.zoo.tables import difference


def verdict(record: dict[str, Any]) -> list[str]:
    """Return whether the maps are right, and whether the layers are those that were expected."""
    return [
        *_of_layers(record.get("choosing", [])),
        *_of_maps(record.get("models", [])),
        *_of_sums(record.get("completeness", [])),
    ]


def _of_maps(models: list[dict[str, Any]]) -> list[str]:
    if not models:
        return []
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


def _of_sums(models: list[dict[str, Any]]) -> list[str]:
    linear = [row for row in models if row.get("linear")]
    if not linear:
        return []
    if incomplete := [row["model"] for row in linear if not row["complete"]]:
        return [f"Maps of HiResCAM do not sum to the score on {len(incomplete)} models: {', '.join(incomplete)}."]
    furthest = max(linear, key=lambda row: float(row["HiResCAM"]))
    apart = sum(row["Grad-CAM"] > completeness.TOLERANCE for row in linear)
    return [
        f"On all {len(linear)} of {len(models)} classifiers with linear layers behind, maps of HiResCAM sum to the "
        f"score: the error is at most {furthest['HiResCAM']:.0e} of it ({furthest['model']}). "
        f"Those of Grad-CAM's weights do not on {apart} of them."
    ]


def _of_layers(choices: list[dict[str, Any]]) -> list[str]:
    if not choices:
        return []
    names = {result: _models(choices, result) for result in ("right", "refused", "wrong")}
    models = len({row["model"] for row in choices})
    if names["wrong"]:
        return [f"Of {models} models, {len(names['wrong'])} have a wrong layer or grid: {', '.join(names['wrong'])}."]
    sentences = [f"For {len(names['right'])} of {models} models, the layer and the grid found are the expected ones."]
    if names["refused"]:
        sentences.append(f"No layer is chosen, with a reason, for {', '.join(names['refused'])}.")
    return sentences


def _models(choices: list[dict[str, Any]], result: str) -> list[str]:
    return list(dict.fromkeys(row["model"] for row in choices if row["result"] == result))


def _count(models: int) -> str:
    return f"all {models} classifiers" if models > 1 else "the classifier"
