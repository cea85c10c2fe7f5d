"""The experimental methods, on a model whose every number is known."""

from __future__ import annotations

import torch
from torch import nn

from benchmarks.attacks.methods import HALF_CELLS, grouped_score_cam, mirror_averaged


class Red(nn.Module):
    """Class 0 has the sum of the first colour; the layer's channels are the colours themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Identity()

    def forward(self, images):
        colours = self.layer(images)
        red = colours[:, 0].sum(dim=(1, 2))
        return torch.stack([red, torch.zeros_like(red)], dim=1)


def test_channels_are_weighted_by_the_score_of_masked_images():
    images = torch.zeros(1, 3, 4, 4)
    images[0, 0, 0, 0] = 1.0
    images[0, 1, 3, 3] = 1.0
    model = Red()
    maps = grouped_score_cam(model, model.layer, images, torch.tensor([0]), groups=3)
    # In the mean colour the red sum is 1, as in the image. The red mask adds the red that it shows to the mean around.
    grey = 1 / 16
    of_red = 1.0 + 15 * grey - 1.0
    # The green mask shows a black pixel instead of the mean colour.
    of_green = -grey
    expected = torch.zeros(4, 4)
    expected[0, 0], expected[3, 3] = of_red, of_green
    torch.testing.assert_close(maps[0], expected)
    # The layer is the identity, so its input is the same.
    of_input = grouped_score_cam(model, model.layer, images, torch.tensor([0]), 3, attribute_to_layer_input=True)
    torch.testing.assert_close(of_input, maps)


def test_maps_of_mirror_images_are_mirrored_back():
    images = torch.arange(24.0).reshape(1, 2, 3, 4)
    one_sided = torch.tensor([1.0, 0.0, 0.0, 0.0])
    maps = mirror_averaged(lambda batch: batch.sum(dim=1) * one_sided, images)
    sums = images.sum(dim=1)
    left, right = sums * one_sided, sums * one_sided.flip(0)
    torch.testing.assert_close(maps, (left / left.norm() + right / right.norm()) / 2)


def test_half_cells():
    assert len(set(HALF_CELLS)) == 25
    assert {length for shift in HALF_CELLS for length in shift} == {-1, -0.5, 0, 0.5, 1}
