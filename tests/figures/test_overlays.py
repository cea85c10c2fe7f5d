"""Maps over their images, as arrays: which colour stands where."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
import torch
from nets import conv_net, images

from captum_diffcam import LayerDiffGradCam, top_rivals
from captum_diffcam.figures import blended_colours, heatmap, overlay

SIGNED, POSITIVE = mpl.colormaps["RdBu_r"], mpl.colormaps["inferno"]


def blend(grey, colour):
    """Six tenths of the map's colour over the grey of its image."""
    return 0.4 * grey + 0.6 * np.array(colour[:3])


def test_colours_are_centred_on_zero():
    grey = torch.full((1, 3, 4, 4), 0.25)
    maps = torch.tensor([[4.0, 4, -2, -2]]).repeat(4, 1)[None, None]
    maps[..., 1:, :] *= 0
    drawn = overlay(grey, maps)
    assert drawn.shape == (1, 4, 4, 3)
    assert drawn.dtype == np.float32
    np.testing.assert_allclose(drawn[0, 0, 0], blend(0.25, SIGNED(1.0)), atol=5e-3)
    np.testing.assert_allclose(drawn[0, 0, 3], blend(0.25, SIGNED(0.25)), atol=5e-3)
    np.testing.assert_allclose(drawn[0, 3, 3], blend(0.25, SIGNED(0.5)), atol=5e-3)


def test_the_positive_part():
    drawn = overlay(torch.full((1, 1, 1, 2), 0.5), torch.tensor([[[[3.0, -9.0]]]]), positive=True)
    np.testing.assert_allclose(drawn[0, 0], [blend(0.5, POSITIVE(1.0)), blend(0.5, POSITIVE(0.0))], atol=5e-3)


def test_the_image_is_grey_below_its_map():
    drawn = overlay(torch.tensor([0.1, 0.6, 0.8])[None, :, None, None], torch.zeros(1, 1, 1, 1))
    np.testing.assert_allclose(drawn[0, 0, 0], blend(0.5, SIGNED(0.5)), atol=5e-3)


def test_limits_say_which_maps_share_a_scale():
    pair = torch.tensor([[1.0, 2.0], [8.0, 4.0]])[:, :, None, None, None]  # two images, two rivals each
    black = torch.zeros(2, 3, 1, 1)
    strengths = {"image": [[0.5, 1], [1, 0.5]], "map": [[1, 1], [1, 1]], "batch": [[0.125, 0.25], [1, 0.5]]}
    for limits, values in strengths.items():
        expected = [[blend(0, SIGNED((value + 1) / 2)) for value in row] for row in values]
        np.testing.assert_allclose(overlay(black, pair, limits=limits)[:, :, 0, 0], expected, atol=5e-3)


def test_maps_are_upsampled_bilinearly():
    step = torch.tensor([[[[0.0, 1.0]]]])
    red = [SIGNED((1 + value) / 2)[0] * 0.6 for value in (0, 0.25, 0.75, 1)]
    np.testing.assert_allclose(overlay(torch.zeros(1, 1, 1, 4), step)[0, 0, :, 0], red, atol=5e-3)


def test_everything_that_the_library_returns_is_drawn(x):
    net = conv_net()
    cam = LayerDiffGradCam(net, net.features)
    both = LayerDiffGradCam(net, [net.features, net.head[1]])
    maps, size = cam.attribute(x, 1), x.shape[2:]
    assert overlay(x, maps).shape == (3, *size, 3)
    np.testing.assert_array_equal(overlay(x, maps.numpy()), overlay(x, maps))
    np.testing.assert_array_equal(overlay(x, cam.explain(x, 1)), overlay(x, maps))
    assert overlay(x, both.explain(x)).shape == (3, 2, *size, 3)
    np.testing.assert_array_equal(overlay(x, both.attribute(x, 1), limits="map")[:, 0], overlay(x, maps))
    rivals = cam.attribute_rivals(x, 1, top_rivals(2))
    assert overlay(x, rivals).shape == (3, 2, *size, 3)
    one = cam.attribute(x, 1, contrast=rivals.rivals[:, 1:])
    np.testing.assert_array_equal(overlay(x, rivals, limits="map")[:, 1], overlay(x, one))


def test_images_of_different_sizes():
    small, wide = images(1, size=6)[0], torch.rand(3, 8, 16)
    maps = torch.tensor([1.0, -1.0])[:, None, None, None]
    first, second = overlay([small, wide], maps)
    assert (first.shape, second.shape) == ((6, 6, 3), (8, 16, 3))
    np.testing.assert_array_equal(first, overlay(small, maps[:1])[0])
    np.testing.assert_array_equal(second, overlay(wide, maps[1:])[0])


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("positive", [False, True])
def test_maps_that_are_not_finite_are_striped(bad, positive):
    pair = torch.tensor([[1.0, 2.0], [-1.0, 2.0]])[..., None, None, None].expand(2, 2, 1, 3, 3).clone()
    broken = pair.clone()
    broken[0, 1, 0, 2, 1] = bad
    x = images(2, size=60)
    for limits in ("batch", "image", "map"):
        drawn = overlay(x, broken, limits=limits, positive=positive)
        stripes = drawn[0, 1]
        assert np.ptp(stripes, axis=2).max() < 1e-6  # grey
        assert len(np.unique((stripes - 0.4 * x[0].mean(dim=0).numpy()[..., None]).round(4))) == 2
        alone = pair.clone()
        alone[0, 1] = 0
        expected = overlay(x, alone, limits=limits, positive=positive)
        np.testing.assert_array_equal(drawn[0, 0], expected[0, 0])
        np.testing.assert_array_equal(drawn[1], expected[1])


def test_the_scale_is_what_lies_over_grey():
    np.testing.assert_allclose(blended_colours(True)(1.0)[:3], blend(0.5, POSITIVE(1.0)), atol=1e-6)


def test_heatmap_is_rectified_and_divided_by_its_maximum():
    maps = torch.tensor([[[1.0, -2.0], [4.0, 2.0]], [[-1.0, -3.0], [0.0, -1.0]], [[3.0, 2.0], [1.0, 1.0]]])[:, None]
    expected = [[[0.25, 0], [1, 0.5]], [[0, 0], [0, 0]], [[1, 2 / 3], [1 / 3, 1 / 3]]]
    result = heatmap(maps)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, atol=1e-7)
    np.testing.assert_array_equal(heatmap(maps[:, 0].numpy()), result)
    np.testing.assert_array_equal(heatmap([maps, -maps])[:, 0], result)
    np.testing.assert_array_equal(heatmap(maps[:, None])[:, 0], result)
    np.testing.assert_array_equal(heatmap(maps.double().requires_grad_()), result)


def test_heatmap_is_resized_bilinearly():
    step = torch.tensor([[[[-5.0, 2.0]]]])
    np.testing.assert_allclose(heatmap(step, (1, 4)), [[[0, 0.25, 0.75, 1]]], atol=1e-7)
    assert heatmap(step, 6).shape == (1, 6, 6)
    assert heatmap(step, torch.rand(1, 3, 5, 7).shape[-2:]).shape == (1, 5, 7)
    layers = [torch.rand(2, 1, 7, 7), torch.rand(2, 1, 4, 4)]
    assert heatmap(layers, 8).shape == (2, 2, 8, 8)


def test_heatmap_of_a_map_that_is_not_finite():
    maps = torch.ones(2, 1, 3, 3)
    maps[1, 0, 1, 1] = torch.inf
    result = heatmap(maps, 9)
    assert (result[0] == 1).all()
    assert np.isnan(result[1]).all()


@pytest.mark.parametrize(
    ("call", "error", "argument"),
    [
        (lambda x: overlay(x, x), ValueError, "maps"),
        (lambda x: overlay(x, torch.ones(3, 1, 9)), ValueError, "maps"),
        (lambda x: overlay(x, "maps"), TypeError, "maps"),
        (lambda x: overlay(x, x[:2, :1]), ValueError, "maps"),
        (lambda x: overlay(x, x[:, :1], limits="all"), ValueError, "limits"),
        (lambda x: heatmap([x[:, :1], x[:, :1, :5]]), ValueError, "size"),
        (lambda x: heatmap(x[:, :1], (2, 3, 4)), ValueError, "size"),
        (lambda x: heatmap(x[:, :1], 0), ValueError, "size"),
        (lambda x: heatmap(x[:, :1], 7.5), TypeError, "size"),
    ],
)
def test_errors(call, error, argument):
    with pytest.raises(error, match=f"`{argument}` must"):
        call(images())
