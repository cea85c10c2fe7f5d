"""The tables of the attacks: for the documentation, and for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.common.names import GRAD_CAM, GRAD_CAM_PLUS_PLUS
from benchmarks.common.reporting import table, write_csv

_PRINTED = {
    GRAD_CAM: "Grad-CAM",
    GRAD_CAM_PLUS_PLUS: "++",
    "DiffGradCAM logsumexp, every other class": "logsumexp",
    "DiffGradCAM mean, every other class": "mean",
    "DiffGradCAM max, every other class": "max",
    "DiffGradCAM++ mean, every other class": "++ mean",
}
_DECISIONS = {"accuracy": "accuracy", "top1_agreement": "top-1 agreement", "kl": "KL (nats)"}
_MAPS = {
    "pearson_hoax": "correlation with the hoax",
    "spearman_hoax": "rank correlation with the hoax",
    "ssim_hoax": "SSIM with the hoax",
    "pearson_honest": "correlation with the honest map",
    "spearman_honest": "rank correlation with the honest map",
    "ssim_honest": "SSIM with the honest map",
    "energy": "energy on the object",
    "entropy": "entropy (nats)",
    "success_rate": "fooling success rate",
}
_AUDIT = {
    "score": "score",
    "called_manipulated": "called manipulated",
    "auroc_image": "AUROC per image",
    "auroc_model": "AUROC per model",
    "auroc_model_lowest": "lowest of any seed",
    "disagreement_auroc_model": "AUROC of disagreement alone",
}


def write_tables(folder: Path, records: Sequence[dict[str, Any]]) -> None:
    """decisions.csv, maps.csv and audit.csv: a row for each cell that was measured."""
    decided: list[list[str]] = []
    mapped: list[list[str]] = []
    audited: list[list[str]] = []
    for record in records:
        for attack, numbers in record["attacks"].items():
            case = [record["setting"], attack]
            decided.append([*case, *(_spread(numbers["decisions"].get(key)) for key in _DECISIONS)])
            for method, measured in numbers["methods"].items():
                mapped.append([*case, method, *(_spread(measured.get(key)) for key in _MAPS)])
            found = record["audit"][attack]
            audited.append([*case, *(f"{found[key]:.3f}" if key in found else "" for key in _AUDIT)])
    write_csv(folder / "decisions.csv", ["setting", "attack", *_DECISIONS.values()], decided)
    write_csv(folder / "maps.csv", ["setting", "attack", "method", *_MAPS.values()], mapped)
    write_csv(folder / "audit.csv", ["setting", "attack", *_AUDIT.values()], audited)


def _spread(numbers: dict[str, float] | None) -> str:
    """The mean over the seeds with the lowest and the highest; empty where there is nothing to measure by."""
    if numbers is None:
        return ""
    return f"{numbers['mean']:.2f} ({numbers['low']:.2f} to {numbers['high']:.2f})"


def print_tables(records: Sequence[dict[str, Any]], targets: Sequence[dict[str, Any]]) -> None:
    """Each setting's maps in a table, then what was to be reached."""
    for record in records:
        print(f"\n{record['setting']}: correlation with the hoax / with the honest map; means over seeds")
        rows: list[list[str | float]] = []
        for attack, numbers in record["attacks"].items():
            decisions = numbers["decisions"]
            kept = decisions.get("accuracy", decisions["top1_agreement"])["mean"]
            measured = [numbers["methods"][name] for name in _PRINTED]
            cells = [f"{m['pearson_hoax']['mean']:5.2f}/{m['pearson_honest']['mean']:5.2f}" for m in measured]
            rows.append([attack, kept, *cells, record["audit"][attack].get("auroc_model", float("nan"))])
        header = ["attack", "correct", *_PRINTED.values(), "audit"]
        print(table(header, rows, limits=(24, 0, *[11] * len(_PRINTED), 0)))
    print("\nSigned maps. correct: accuracy, or agreement with the honest model where there are no labels;")
    print("logsumexp, mean, max: DiffGradCAM against every other class; ++: Grad-CAM++; audit: AUROC per model\n")
    targeted: list[list[str | float]] = [
        [t["figure"], t["setting"], t["value"], t["bound"], "yes" if t["reached"] else "no"] for t in targets
    ]
    print(table(["target", "setting", "value", "bound", "reached"], targeted, limits=(66, 26, 0, 8, 8), digits=5))
