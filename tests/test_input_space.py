"""Maps over the input, which Captum's tools take as an attribution of the input."""

from __future__ import annotations

import pytest
import torch
from captum.attr import LayerAttribution, LayerGradCam
from nets import conv_net, images, linear_net

from captum_diffcam import InputAttribution, LayerDiffGradCam

TARGETS = [2, 0, 5]


def test_upsampled_and_the_same_for_every_channel(net, x):
    maps = LayerDiffGradCam(net, net.features).attribute(x, target=TARGETS)
    over_input = InputAttribution(LayerDiffGradCam(net, net.features)).attribute(x, target=TARGETS)
    assert over_input.shape == x.shape
    expected = LayerAttribution.interpolate(maps, (9, 9), "bilinear")
    for channel in range(3):
        torch.testing.assert_close(over_input[:, [channel]], expected)


def test_a_tuple_for_a_tuple(net, x):
    def forward(x, larger):
        return net(x) + larger.mean((2, 3)) @ torch.ones(1, 6)

    larger = torch.rand(3, 1, 20, 30)
    over_inputs = InputAttribution(LayerDiffGradCam(forward, net.features)).attribute((x, larger), target=1)
    assert [a.shape for a in over_inputs] == [x.shape, larger.shape]


@pytest.mark.parametrize(("dims", "mode"), [(1, "linear"), (3, "trilinear")])
def test_sequences_and_volumes(dims, mode):
    net, x = conv_net(dims), images(dims=dims)
    cam = LayerDiffGradCam(net, net.features)
    expected = LayerAttribution.interpolate(cam.attribute(x, target=1), (9,) * dims, mode).expand_as(x)
    torch.testing.assert_close(InputAttribution(cam).attribute(x, target=1), expected)


def test_a_mode_of_ones_own(net, x):
    cam = LayerDiffGradCam(net, net.features)
    expected = LayerAttribution.interpolate(cam.attribute(x, target=1), (9, 9), "nearest").expand_as(x)
    torch.testing.assert_close(InputAttribution(cam, "nearest").attribute(x, target=1), expected)


def test_a_layer_without_positions():
    net, x = linear_net(), torch.rand(3, 4)
    cam = LayerDiffGradCam(net, net.features)
    torch.testing.assert_close(InputAttribution(cam).attribute(x, target=1), cam.attribute(x, target=1).expand(3, 4))


def test_captums_own_attributions_too(net, x):
    over_input = InputAttribution(LayerGradCam(net, net.features)).attribute(x, target=1)
    assert over_input.shape == x.shape


def test_errors(net, x):
    with pytest.raises(TypeError, match="attribution: got Net; allowed is a LayerAttribution"):
        InputAttribution(net)
    cam = InputAttribution(LayerDiffGradCam(net, net.features))
    with pytest.raises(ValueError, match=r"interpolate_mode: got 'linear' for a map of shape \(3, 1, 7, 7\)"):
        InputAttribution(LayerDiffGradCam(net, net.features), "linear").attribute(x, target=1)
    with pytest.raises(ValueError, match=r"attribution: returned shape \(3, 5, 7, 7\)"):
        cam.attribute(x, target=1, attr_dim_summation=False)
    flat = InputAttribution(LayerDiffGradCam(lambda x: net(x.reshape(3, 3, 9, 9)), net.features))
    with pytest.raises(ValueError, match=r"inputs: got shape \(3, 243\); a map of shape \(3, 1, 7, 7\) fits"):
        flat.attribute(x.flatten(1), target=1)
