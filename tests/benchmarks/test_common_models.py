"""Weights as training scripts save them."""

from __future__ import annotations

import pytest
import torch
from small_models import SMALL

from benchmarks.common.models import load_classifier


@pytest.mark.parametrize("wrapper", [lambda s: {"state_dict": s}, lambda s: {f"module.{k}": v for k, v in s.items()}])
def test_weights_as_training_scripts_save_them(small_model, tmp_path, wrapper):
    torch.save(wrapper(small_model.state_dict()), tmp_path / "checkpoint.pth")
    loaded = load_classifier(SMALL, str(tmp_path / "checkpoint.pth"), torch.device("cpu"))
    assert all(torch.equal(a, b) for a, b in zip(loaded.model.parameters(), small_model.parameters(), strict=True))
