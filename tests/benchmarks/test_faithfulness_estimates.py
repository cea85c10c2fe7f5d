"""What is made of the numbers of single images."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.faithfulness.estimates import differing
from benchmarks.faithfulness.methods import PAIRWISE
from benchmarks.faithfulness.sample import Sample


def sample(study: str, **numbers: list[float]) -> Sample:
    arrays = {name: np.asarray(values, dtype=float) for name, values in numbers.items()}
    return Sample.of(study, "some images", [(0, {"cluster": np.arange(len(next(iter(arrays.values())))), **arrays})], 0)


def test_images_that_part_are_the_quarter_that_agrees_least():
    agreement, gain = np.linspace(0, 1, 40), np.where(np.arange(40) < 10, 0.3, 0.0)
    numbers = {
        f"agreement with LayerGradCam|{PAIRWISE}": agreement,
        "AUROC|LayerGradCam": np.full(40, 0.5),
        f"AUROC|{PAIRWISE}": 0.5 + gain,
    }
    least, others = differing([sample("localization", **numbers)])
    assert (least["images"], least["count"], others["count"]) == ("maps differ most", 10, 30)
    assert least["value"] == pytest.approx(0.3)
    assert others["value"] == pytest.approx(0.0)
