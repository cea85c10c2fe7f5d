"""Measures of maps, against closed forms and NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from captum_diffcam.metrics import cam_entropy, pearson


@settings(deadline=None, max_examples=50)
@given(lit=st.integers(1, 49), level=st.floats(1e-6, 1e6))
def test_entropy_counts_even_cells(lit, level):
    maps = -torch.ones(2, 1, 7, 7)
    maps.view(2, -1)[:, :lit] = level
    torch.testing.assert_close(cam_entropy(maps), torch.tensor([float(lit)] * 2).log(), atol=1e-5, rtol=1e-5)


def test_entropy_of_a_map_without_positive_values_is_zero():
    assert cam_entropy(torch.tensor([[[[-1.0, 0.0]]]])).tolist() == [0.0]


@pytest.mark.parametrize("size", [1e-20, 1.0, 1e20])
def test_correlation_whatever_the_size(size):
    generator = torch.Generator().manual_seed(0)
    maps, others = torch.randn(2, 3, 4, 5, generator=generator)
    expected = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(maps.numpy(), others.numpy(), strict=True)]
    assert pearson(size * maps, others).tolist() == pytest.approx(expected, abs=1e-5)
    same = [np.corrcoef(a.ravel(), others[0].numpy().ravel())[0, 1] for a in maps.numpy()]
    assert pearson(maps, others[:1]).tolist() == pytest.approx(same, abs=1e-5)


@pytest.mark.parametrize("level", [0.0, 3.7])
def test_a_constant_map_has_no_correlation(level):
    maps = torch.full((1, 7, 7), level)
    assert pearson(maps, torch.arange(49.0).reshape(1, 7, 7)).tolist() == [0.0]


def test_rounding_is_no_variation():
    """A map that is constant up to its last digit correlates with nothing."""
    maps = torch.full((1, 16), 0.7)
    maps[:, 8:] = torch.nextafter(maps[:, 8:], torch.tensor(1.0))
    pattern = torch.arange(16.0)[None]
    assert pearson(maps, pattern).abs().item() < 0.1
    assert pearson(pattern, maps).abs().item() < 0.1


def test_a_small_variation_on_a_large_offset_correlates():
    pattern = torch.arange(16.0)[None]
    expected = np.corrcoef(pattern[0] ** 2, pattern[0])[0, 1]
    assert pearson(1 + 1e-4 * (pattern / 15) ** 2, pattern).item() == pytest.approx(expected, abs=0.01)


def test_rounding_takes_no_correlation_beyond_one():
    maps = torch.rand(1000, 7, 7, generator=torch.Generator().manual_seed(0))
    assert pearson(maps, maps).amax() <= 1
    assert pearson(maps, -maps).amin() >= -1


def test_the_gradient_is_finite_where_maps_are_zero_or_constant():
    for measure in (cam_entropy, lambda maps: pearson(maps, torch.arange(4.0)[None])):
        for values in ([0.0, 0, 0, 0], [1.0, 1, 1, 1], [0.0, 2, 0, 1]):
            maps = torch.tensor([values], requires_grad=True)
            measure(maps).sum().backward()
            assert maps.grad.isfinite().all()


def test_half_precision_is_computed_in_float32():
    maps = torch.rand(2, 3, 5, generator=torch.Generator().manual_seed(0)).half()
    assert cam_entropy(maps).dtype == pearson(maps, maps).dtype == torch.float32
    torch.testing.assert_close(cam_entropy(1000 * maps), cam_entropy(1000 * maps.float()), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: pearson(torch.rand(3, 7, 7), torch.rand(3, 1, 1)), "others"),
        (lambda: pearson(torch.rand(3, 7, 7), torch.rand(2, 7, 7)), "others"),
        (lambda: pearson(torch.rand(7), torch.rand(7)), "maps"),
        (lambda: cam_entropy(torch.rand(7)), "maps"),
    ],
)
def test_errors(call, argument):
    with pytest.raises(ValueError, match=f"`{argument}` must"):
        call()
