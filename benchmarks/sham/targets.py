"""What the attacks and the methods were to reach, and what they did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.common.names import GRAD_CAM
from benchmarks.sham.attacks import INJECTION
from benchmarks.sham.experiment import HONEST

ATTACK = "SHAM, true class"
METHODS = ("DiffGradCAM mean, every other class", "DiffGradCAM logsumexp, every other class")
"""What withstood most on the models that the attacks were tried on, and the default."""


def reached(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every figure with its bound, for every setting. Means over seeds; of injections the worst seed."""
    return [target for record in records for target in (*_injection(record), *_attack(record), _audit(record))]


def _target(
    record: dict[str, Any], figure: str, value: float, *, least: float | None = None, most: float = 0
) -> dict[str, Any]:
    met = value <= most if least is None else value >= least
    bound = f"<= {most:g}" if least is None else f">= {least:g}"
    return {"figure": figure, "setting": record["setting"], "value": value, "bound": bound, "reached": bool(met)}


def _injection(record: dict[str, Any]) -> list[dict[str, Any]]:
    if INJECTION not in record["attacks"]:
        return []
    forged = record["attacks"][INJECTION]
    changes = [m["largest_change"]["high"] for name, m in forged["methods"].items() if name.startswith("DiffGradCAM")]
    probability = forged["decisions"]["largest_change"]["high"]
    hoax = forged["methods"][GRAD_CAM]["pearson_hoax"]["low"]
    return [
        _target(record, "injection: change of any probability", probability, most=1e-5),
        _target(record, "injection: correlation of LayerGradCam with the hoax", hoax, least=0.95),
        _target(record, "injection: change of any contrastive map", max(changes), most=1e-3),
    ]


def _attack(record: dict[str, Any]) -> list[dict[str, Any]]:
    honest, fooled = (record["attacks"][name] for name in (HONEST, ATTACK))
    kept = "accuracy" if "accuracy" in fooled["decisions"] else "top1_agreement"
    lost = honest["decisions"][kept]["mean"] - fooled["decisions"][kept]["mean"]
    maps = fooled["methods"]
    hoax = maps[GRAD_CAM]["pearson_hoax"]["mean"]

    def kept_map(name: str) -> float:
        mean: float = maps[name]["pearson_honest"]["mean"]
        return mean

    return [
        _target(record, "SHAM: correlation of LayerGradCam with the hoax", hoax, least=0.8),
        _target(record, f"SHAM: {kept.replace('_', ' ')} lost", lost, most=0.01),
        *(
            _target(record, f"SHAM: {n}, with its honest map", maps[n]["pearson_honest"]["mean"], least=0.9)
            for n in METHODS
        ),
    ]


def _audit(record: dict[str, Any]) -> dict[str, Any]:
    worst = min(numbers["auroc_model"] for numbers in record["audit"].values() if "auroc_model" in numbers)
    return _target(record, "audit: AUROC per model, worst attack", worst, least=0.99)
