"""What has to be shown for a target to be reached."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.faithfulness.methods import PAIRWISE
from benchmarks.faithfulness.sample import Sample
from benchmarks.faithfulness.targets import targets


def sample(study: str, **numbers: list[float]) -> Sample:
    arrays = {name: np.asarray(values, dtype=float) for name, values in numbers.items()}
    return Sample.of(study, "some images", [(0, {"cluster": np.arange(len(next(iter(arrays.values())))), **arrays})], 0)


def located(gain: float) -> Sample:
    noise = np.random.default_rng(0).normal(size=40) / 100
    numbers = {
        f"{measure}|{method}": value
        for measure in ("AUROC", "AUROC rectified", "energy on A")
        for method, value in (("LayerGradCam", 0.5 + noise), (PAIRWISE, 0.5 + gain + noise * noise))
    }
    return sample("localization", **numbers)


def test_a_target_is_reached_where_the_interval_excludes_zero():
    for gain, reached in ((0.1, True), (-0.1, False), (0.0, False)):
        rows = targets([located(gain)])
        assert [row["figure"] for row in rows] == ["AUROC", "AUROC rectified", "energy on A"]
        assert [row["reached"] for row in rows] == [reached] * 3
        assert rows[0]["value"] == pytest.approx(gain, abs=0.01)


def test_deletion_and_agreement_have_targets():
    noise = np.random.default_rng(1).normal(size=40) / 100
    for gain, agreement, reached in ((-0.2, 0.97, [True, True]), (0.2, 0.9, [False, False])):
        numbers = {
            "deletion of margin|LayerGradCam": noise,
            f"deletion of margin|{PAIRWISE}": gain + noise * noise,
            "agreement with LayerGradCam|DiffGradCAM mean, every other class": agreement + noise / 10,
        }
        rows = targets([sample("prediction", **numbers)])
        assert [(row["figure"], row["against"]) for row in rows] == [
            ("deletion of margin", "LayerGradCam"),
            ("median agreement", "LayerGradCam"),
        ]
        assert [row["reached"] for row in rows] == reached
