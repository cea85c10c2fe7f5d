"""What the library is to reach, and whether it does."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.common.names import DIFF, GRAD_CAM
from benchmarks.faithfulness.bootstrap import Estimate
from benchmarks.faithfulness.chunks import DECISION, LOCALIZATION
from benchmarks.faithfulness.estimates import AGAINST, Row
from benchmarks.faithfulness.methods import PAIRWISE
from benchmarks.faithfulness.sample import Sample

AGREEING = f"{DIFF} mean, every other class"
"""The setting for which agreement with the plain method is claimed."""
_TARGETS = {LOCALIZATION: ("AUROC", "AUROC rectified", "energy on A"), DECISION: ("deletion of margin",)}
AGREEMENT_TARGET = 0.95


def targets(samples: Sequence[Sample]) -> list[Row]:
    """What the library is to reach, and whether it does: an interval on the better side of zero, or a median."""
    rows: list[Row] = []

    def add(sample: Sample, figure: str, against: str, target: str, found: Estimate, reached: bool) -> None:
        asked = {"figure": figure, "subject": sample.name, "against": against, "target": target}
        rows.append({**asked, **found._asdict(), "reached": reached})

    for sample in samples:
        for measure in _TARGETS[sample.study]:
            for other in (other for other in AGAINST if other in sample.methods(measure)):
                found = sample.difference(measure, PAIRWISE, other)
                if sample.study == LOCALIZATION:
                    add(sample, measure, other, "> 0", found, found.lower > 0)
                else:
                    add(sample, measure, other, "< 0", found, found.upper < 0)
    for sample in (sample for sample in samples if sample.study == DECISION):
        found = sample.bootstrap.median(sample.numbers[f"agreement with {GRAD_CAM}|{AGREEING}"])
        add(sample, "median agreement", GRAD_CAM, f">= {AGREEMENT_TARGET}", found, found.value >= AGREEMENT_TARGET)
    return rows
