"""Occlusion maps against a literal replica."""

from __future__ import annotations

import pytest
import torch
from nets import Spotter, conv_net, images

from benchmarks.common.occlusion import occlusion_maps


def log_odds(model, image, target):
    probabilities = model(image[None]).double().softmax(dim=1)[0]
    return (probabilities[target] / (1 - probabilities[target])).log()


@pytest.mark.parametrize("grid", [(3, 3), (3, 9), (1, 3)])
def test_each_window_is_hidden_once(grid):
    """Windows of two cells, a pixel's mean over those that cover it, a cell's mean over its pixels."""
    model, x = conv_net(), images(examples=11, size=9)
    target = torch.arange(11) % 6
    maps = occlusion_maps(model, x, target, grid)
    height, width = (9 // n for n in grid)
    for index in (0, 10):
        drops, covered = torch.zeros(9, 9), torch.zeros(9, 9)
        for row in range(max(grid[0] - 1, 1)):
            for column in range(max(grid[1] - 1, 1)):
                window = slice(row * height, (row + 2) * height), slice(column * width, (column + 2) * width)
                occluded = x[index].clone()
                occluded[(slice(None), *window)] = x[index].mean(dim=(1, 2))[:, None, None]
                drops[window] += log_odds(model, x[index], target[index]) - log_odds(model, occluded, target[index])
                covered[window] += 1
        cells = (drops / covered).reshape(grid[0], height, grid[1], width).mean(dim=(1, 3))
        torch.testing.assert_close(maps[index], cells, atol=1e-4, rtol=1e-4)


def test_cells_of_unequal_size():
    """Twelve pixels in five cells: the evidence stays in the last column."""
    model = Spotter().eval()
    x = torch.zeros(1, 3, 12, 12)
    x[0, 0, :, 11] = 1.0
    maps = occlusion_maps(model, x, torch.tensor([0]), (5, 5))
    assert maps.shape == (1, 5, 5)
    assert (maps[0].argmax(dim=1) == 4).all()


def test_series():
    model = conv_net(dims=1)
    x = images(dims=1, size=12)
    assert occlusion_maps(model, x, torch.tensor([0, 1, 2]), (4,)).shape == (3, 4)


def test_one_class_for_all():
    model, x = conv_net(), images()
    one = occlusion_maps(model, x, 2, (3, 3))
    torch.testing.assert_close(one, occlusion_maps(model, x, torch.tensor([2, 2, 2]), (3, 3)))


@pytest.mark.parametrize("grid", [(3,), (0, 3), (3, 10)])
def test_grids_that_do_not_fit(grid):
    with pytest.raises(ValueError, match="grid"):
        occlusion_maps(conv_net(), images(), torch.tensor([0, 1, 2]), grid)
