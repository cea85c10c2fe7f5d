"""Every attack on one model."""

from __future__ import annotations

import pytest
import torch
from small_models import TINY

from benchmarks.sham.attacks import ATTACKS, INJECTION
from benchmarks.sham.experiment import HONEST, attack_in_every_way

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def outcome():
    return attack_in_every_way(TINY, 0, True, CPU)


def test_every_attack_on_one_model(outcome):
    assert list(outcome.attacks) == [HONEST, INJECTION, *ATTACKS]
    honest = outcome.attacks[HONEST]
    assert honest["decisions"]["top1_agreement"] == 1
    assert honest["decisions"]["kl"] == 0
    for numbers in honest["methods"].values():
        assert numbers["pearson_honest"] == pytest.approx(1)
        assert numbers["largest_change"] == 0
    injected = outcome.attacks[INJECTION]
    assert injected["methods"]["LayerGradCam"]["pearson_hoax"] > 0.95
    assert injected["methods"]["DiffGradCAM mean, every other class"]["largest_change"] < 1e-3
    assert injected["decisions"]["largest_change"] < 1e-5
    changes = {
        name: attacked["methods"]["LayerGradCam"]["largest_change"] for name, attacked in outcome.attacks.items()
    }
    # Of two steps the first may be the best, and the honest model come back.
    assert sum(change > 0 for name, change in changes.items() if name != HONEST) > len(ATTACKS) // 2
    assert all(len(attacked["scores"]) == len(attacked["disagreement"]) == 6 for attacked in outcome.attacks.values())
