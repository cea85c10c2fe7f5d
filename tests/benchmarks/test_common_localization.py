"""Where a map lies, by hand and by slow re-derivations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam
from scipy.stats import mannwhitneyu

from benchmarks.common.localization import auroc, correlation, energy, pointing, regions, upsample


def mask(*rows: str) -> torch.Tensor:
    return torch.tensor([[character == "#" for character in row] for row in rows])


def test_regions_by_hand():
    a, b = mask("#......"), mask("....#..")
    parts = regions(torch.stack([a, b])[None], distance=2)[0].int().flatten(1).tolist()
    # TrainedPart 2: A covers columns 0 to 2, B 2 to 6. Column 2 is near both and counts nowhere.
    assert parts == [[1, 1, 0, 0, 0, 0, 0], [0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0, 0]]


def test_without_distance_the_regions_are_the_masks():
    a, b = mask("##..", "...."), mask("....", "..##")
    parts = regions(torch.stack([a, b])[None], distance=0)[0]
    assert torch.equal(parts, torch.stack([a, b, ~(a | b)]))


def test_energy_by_hand():
    parts = torch.stack([mask("#..."), mask(".#.."), mask("..#.")])[None]
    # The last pixel is in no region, so it is not in the total either; what is negative counts nowhere.
    result = energy(torch.tensor([[[3.0, 1.0, 4.0, 100.0]], [[2.0, -5.0, 0.0, 0.0]], [[-1.0, -1.0, -1.0, 7.0]]]), parts)
    torch.testing.assert_close(result, torch.tensor([[3 / 8, 1 / 8, 4 / 8], [1, 0, 0], [0, 0, 0]]))


def test_pointing_by_hand():
    part = mask("##..")[None].expand(4, 1, 4)
    maps = torch.tensor([[[1.0, 3, 2, 0]], [[1, 2, 3, 0]], [[2, 0, 2, 0]], [[0, 0, 0, 0]]])
    assert pointing(maps, part).tolist() == [1, 0, 0.5, 0]
    assert pointing(maps - 5, part).tolist() == [0, 0, 0, 0]


def test_auroc_is_the_share_of_pairs():
    torch.manual_seed(0)
    # Few values, so that there are ties.
    maps = torch.randint(0, 6, (5, 8, 9)).float()
    positive = torch.rand(5, 8, 9) < 0.3
    negative = ~positive & (torch.rand(5, 8, 9) < 0.5)
    result = auroc(maps, positive, negative)
    for map_, p, n, value in zip(maps, positive, negative, result.tolist(), strict=True):
        statistic = mannwhitneyu(map_[p].numpy(), map_[n].numpy()).statistic
        assert value == pytest.approx(statistic / (p.sum() * n.sum()))
    torch.testing.assert_close(auroc(-maps, positive, negative), 1 - result)
    assert auroc(torch.zeros(5, 8, 9), positive, negative).tolist() == [0.5] * 5


def test_localization_does_not_see_the_scale_of_a_map():
    torch.manual_seed(1)
    maps, parts = torch.randn(3, 6, 6), torch.rand(3, 3, 6, 6) < 0.3
    for measure in (
        lambda m: energy(m, parts),
        lambda m: pointing(m, parts[:, 0]),
        lambda m: auroc(m, parts[:, 0], parts[:, 1]),
    ):
        torch.testing.assert_close(measure(8 * maps), measure(maps))


def test_maps_are_enlarged_as_captum_does():
    maps = torch.rand(2, 3, 3)
    expected = LayerGradCam.interpolate(maps[:, None], (7, 5), "bilinear")[:, 0]
    assert torch.equal(upsample(maps, 7, 5), expected)
    assert upsample(maps, 3, 3) is maps


def test_correlation():
    maps, others = torch.randn(4, 5, 6), torch.randn(4, 5, 6)
    expected = [np.corrcoef(a.flatten(), b.flatten())[0, 1] for a, b in zip(maps, others, strict=True)]
    assert correlation(maps, others).tolist() == pytest.approx(expected, abs=1e-6)
    assert correlation(maps, torch.ones(4, 5, 6)).isnan().all()
