"""The weights keep their digits, and are finite wherever the papers divide by zero."""

from __future__ import annotations

import pytest
import torch

from captum_diffcam.weighting import grad_cam_plus_plus_weights, grad_cam_weights


@pytest.mark.parametrize("size", [1e-9, 1e-3, 1e9])
@pytest.mark.parametrize("weights", [grad_cam_weights, grad_cam_plus_plus_weights])
def test_weights_keep_their_digits_whatever_the_size_of_gradients(weights, size):
    generator = torch.Generator().manual_seed(0)
    activations = torch.rand(2, 4, 3, 3, generator=generator)
    gradients = size * torch.randn(2, 4, 3, 3, generator=generator)
    computed = weights(activations, gradients).flatten()
    assert (computed != 0).all()
    channels = zip(activations.double().reshape(8, 9), gradients.double().reshape(8, 9), computed, strict=True)
    for a, g, weight in channels:
        if weights is grad_cam_weights:
            expected = g.sum() / 9
        else:  # the ratio of the Grad-CAM++ paper, as it stands there
            positive = g[g > 0]
            expected = (positive**2 / (2 * positive**2 + a.sum() * positive**3) * positive).sum()
        assert weight.item() == pytest.approx(expected.item(), rel=1e-4)


def test_plus_plus_is_finite_where_the_paper_divides_by_zero():
    """A channel that sums to -2 / g has a zero denominator in the paper's ratio."""
    activations = torch.tensor([[[[-4.0, 2.0]]]])
    gradients = torch.ones(1, 1, 1, 2)
    assert grad_cam_plus_plus_weights(activations, gradients).item() == pytest.approx(2 / (2 + 2.0))
