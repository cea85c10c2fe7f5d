"""The targets of the library, and whether they are reached."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.common.names import DIFF, GRAD_CAM
from benchmarks.faithfulness.bootstrap import Estimate
from benchmarks.faithfulness.chunks import LOCALIZATION, PREDICTION
from benchmarks.faithfulness.estimates import AGAINST, Row
from benchmarks.faithfulness.methods import PAIRWISE
from benchmarks.faithfulness.sample import Sample

AGREEING = f"{DIFF} mean, every other class"
"""The method for which agreement with the plain method is a target."""
_TARGETS = {LOCALIZATION: ("AUROC", "AUROC rectified", "energy on A"), PREDICTION: ("deletion of margin",)}
AGREEMENT_TARGET = 0.95


def targets(samples: Sequence[Sample]) -> list[Row]:
    """Return every target, an interval on the better side of zero or a median, and whether it is reached."""
    rows: list[Row] = []

    def add(sample: Sample, figure: str, against: str, target: str, estimate: Estimate, reached: bool) -> None:
        fields = {"figure": figure, "subject": sample.name, "against": against, "target": target}
        rows.append({**fields, **estimate._asdict(), "reached": reached})

    for sample in samples:
        for measure in _TARGETS[sample.study]:
            for other in (other for other in AGAINST if other in sample.methods(measure)):
                difference = sample.difference(measure, PAIRWISE, other)
                if sample.study == LOCALIZATION:
                    add(sample, measure, other, "> 0", difference, difference.lower > 0)
                else:
                    add(sample, measure, other, "< 0", difference, difference.upper < 0)
    for sample in (sample for sample in samples if sample.study == PREDICTION):
        median = sample.bootstrap.median(sample.numbers[f"agreement with {GRAD_CAM}|{AGREEING}"])
        add(sample, "median agreement", GRAD_CAM, f">= {AGREEMENT_TARGET}", median, median.value >= AGREEMENT_TARGET)
    return rows
