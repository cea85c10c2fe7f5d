"""What an attack did, against replicas and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr
from torch import nn

from benchmarks.sham import measures
from benchmarks.sham.attacked_models import Recipe, Victim
from captum_diffcam.sham import cam_entropy, hoax_map


def test_maps_against_replicas():
    generator = torch.Generator().manual_seed(0)
    maps, honest = torch.randn(2, 5, 7, 7, generator=generator)
    hoax = hoax_map((7, 7), entropy=3.3)
    masks = torch.zeros(5, 14, 14, dtype=torch.bool)
    masks[:, :, 7:] = True
    found = measures.of_maps(maps, honest, hoax, masks)
    pairs = list(zip(maps.numpy(), honest.numpy(), strict=True))

    def mean(measure):
        return pytest.approx(np.mean([measure(a.ravel(), b.ravel()) for a, b in pairs]), abs=1e-5)

    def lit(a):
        return np.maximum(a, 0) / a.max()

    assert found["pearson_honest"] == mean(lambda a, b: pearsonr(a, b).statistic)
    assert found["pearson_hoax"] == mean(lambda a, b: pearsonr(a, hoax.numpy().ravel()).statistic)
    assert found["spearman_honest"] == mean(lambda a, b: spearmanr(a, b).statistic)
    assert found["largest_change"] == pytest.approx(max(np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in pairs))
    losses = [np.mean((lit(a) - hoax.numpy() / hoax.numpy().max()) ** 2) for a, _ in pairs]
    assert found["success_rate"] == np.mean(np.array(losses) <= 0.2)
    assert found["entropy"] == pytest.approx(cam_entropy(maps).mean().item())
    assert found["ssim_honest"] < 0.9


def test_a_map_that_is_the_hoax():
    hoax = hoax_map((7, 7), entropy=3.3)
    maps = 3 * hoax.expand(2, -1, -1)
    found = measures.of_maps(maps, torch.rand(2, 7, 7), hoax, None)
    assert found["pearson_hoax"] == pytest.approx(1)
    assert found["ssim_hoax"] == pytest.approx(1)
    assert found["success_rate"] == 1
    assert "energy" not in found


def test_energy_of_a_map_on_one_half():
    maps = torch.zeros(1, 2, 2)
    maps[0, 0, 1], maps[0, 1, 0] = 3.0, -5.0
    masks = torch.zeros(1, 2, 2, dtype=torch.bool)
    masks[0, :, 1] = True
    hoax = hoax_map((2, 2), entropy=0.0)
    # Windows of SSIM need three positions.
    bigger = [torch.nn.functional.interpolate(m[None].float(), size=8)[0] for m in (maps, masks.float())]
    found = measures.of_maps(bigger[0], bigger[0], hoax_map((8, 8), entropy=3.0), bigger[1] > 0)
    assert found["energy"] == pytest.approx(1)
    assert hoax.sum() == 1


def test_decisions_by_hand():
    class Constant(nn.Module):
        def __init__(self, probabilities):
            super().__init__()
            self.logits = torch.tensor(probabilities).log()

        def forward(self, images):
            return self.logits.expand(len(images), -1)

    victim = Victim(
        Constant([0.5, 0.25, 0.25]),
        nn.Identity(),
        [],
        torch.zeros(4, 3, 2, 2),
        torch.tensor([0, 0, 1, 2]),
        None,
        Recipe(1, 1, 1),
    )
    found = measures.decisions(victim, Constant([0.2, 0.7, 0.1]))
    assert found["honest_accuracy"] == 0.5
    assert found["accuracy"] == 0.25
    assert found["top1_agreement"] == 0
    kl = 0.5 * np.log(0.5 / 0.2) + 0.25 * np.log(0.25 / 0.7) + 0.25 * np.log(0.25 / 0.1)
    assert found["kl"] == pytest.approx(kl)
    assert found["largest_change"] == pytest.approx(0.45)
