"""Maps over the input, which Captum's tools take as an attribution of the input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captum.attr import LayerAttribution, LayerGradCam
from nets import conv_net, images, linear_net

from captum_diffcam import InputAttribution, LayerDiffGradCam

TARGETS = [2, 0, 5]


class Returning(LayerAttribution):
    """An attribution that returns the maps of its constructor."""

    def __init__(self, net, maps) -> None:
        super().__init__(net, net)
        self.maps = maps

    def attribute(self, inputs, target=None):
        return self.maps


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


@pytest.mark.parametrize("mode", [None, "nearest"])
def test_raw_audio(mode):
    """(N, T), to which the model itself adds the channel; beside it a tuple with tokens of another length."""
    net, audio = conv_net(1), torch.rand(3, 27)
    cam = LayerDiffGradCam(lambda *inputs: net(inputs[0].reshape(3, 3, 9)), net.features)
    maps = cam.attribute(audio, target=1)
    assert maps.shape == (3, 1, 7)
    expected = [LayerAttribution.interpolate(maps, (n,), mode or "linear")[:, 0] for n in (27, 5)]
    over_input = InputAttribution(cam, mode)
    torch.testing.assert_close(over_input.attribute(audio, target=1), expected[0])
    tokens = torch.zeros(3, 5, dtype=torch.int64)
    for attribution, single in zip(over_input.attribute((audio, tokens), target=1), expected, strict=True):
        torch.testing.assert_close(attribution, single)


@pytest.mark.parametrize("mode", [None, "nearest"])
def test_a_list_of_maps_becomes_one(net, x, mode):
    """The mean of the maps of each example, divided by their largest absolute values and brought to its size."""
    layers = [net.features[0], net.features[1], net.head[1]]
    maps = [LayerDiffGradCam(net, layer).attribute(x, target=TARGETS) for layer in layers]
    assert [m.shape[2] for m in maps] == [7, 7, 5]
    maps[1][2] = 0
    expected = np.zeros((3, 1, 9, 9))
    for single in maps:
        for n in range(3):
            largest = max(abs(value) for value in single[n].flatten().tolist())
            upsampled = LayerAttribution.interpolate(single[[n]], (9, 9), mode or "bilinear")[0]
            expected[n] += upsampled.numpy() / (largest or 1.0) / 3
    over_input = InputAttribution(Returning(net, maps), mode).attribute(x, target=TARGETS)
    np.testing.assert_allclose(over_input.numpy(), np.broadcast_to(expected, x.shape), rtol=1e-5, atol=1e-6)


def test_several_layers(net, x):
    layers = [net.features, net.head[1]]
    maps = [LayerDiffGradCam(net, layer).attribute(x, target=TARGETS) for layer in layers]
    fused = InputAttribution(LayerDiffGradCam(net, layers)).attribute(x, target=TARGETS)
    torch.testing.assert_close(fused, InputAttribution(Returning(net, maps)).attribute(x))


def test_a_list_in_other_forms(net, x):
    maps = LayerDiffGradCam(net, net.features).attribute(x, target=TARGETS)
    scaled = Returning(net, [maps, 1e-20 * maps, 1e20 * maps])
    one = InputAttribution(Returning(net, [maps])).attribute(x)
    torch.testing.assert_close(InputAttribution(scaled).attribute(x), one)
    assert one.abs().amax((1, 2, 3)).tolist() == pytest.approx([1, 1, 1], abs=0.3)
    (in_a_tuple,) = InputAttribution(scaled).attribute((x,))
    torch.testing.assert_close(in_a_tuple, one)
    assert not InputAttribution(Returning(net, [0 * maps, 0 * maps])).attribute(x).any()
    assert InputAttribution(Returning(net, [maps[:0]])).attribute(x[:0]).shape == (0, 3, 9, 9)
    without_positions = torch.tensor([[-2.0], [0.0], [3.0]])
    mixed = InputAttribution(Returning(net, [maps, without_positions])).attribute(x)
    torch.testing.assert_close(mixed, one / 2 + torch.tensor([-0.5, 0, 0.5])[:, None, None, None])


@pytest.mark.parametrize("returned", [lambda m: [m, m.expand(3, 5, 7, 7)], lambda m: [m, (m, m)], lambda m: (m, m, m)])
def test_each_layer_must_have_one_map(net, x, returned):
    maps = LayerDiffGradCam(net, net.features).attribute(x, target=TARGETS)
    with pytest.raises(ValueError, match="`attribution`"):
        InputAttribution(Returning(net, returned(maps))).attribute(x)


def test_numpy(net, x):
    """Tensors come back, for Captum's own attributions too, and in the dtype that was given."""
    array, targets = x.numpy(), np.array(TARGETS)
    for cam in (LayerDiffGradCam(net, net.features), LayerGradCam(net, net.features)):
        over_input = InputAttribution(cam)
        expected = over_input.attribute(x, target=TARGETS)
        target = targets if isinstance(cam, LayerDiffGradCam) else TARGETS
        torch.testing.assert_close(over_input.attribute(array, target), expected)
        (in_a_tuple,) = over_input.attribute((array,), target)
        torch.testing.assert_close(in_a_tuple, expected)
    double = LayerDiffGradCam(net.double(), net.features)
    assert InputAttribution(double).attribute(array.astype(float), targets).dtype == torch.float64


def test_errors_name_the_argument(net, x):
    with pytest.raises(TypeError, match="`attribution`"):
        InputAttribution(net)
    cam = InputAttribution(LayerDiffGradCam(net, net.features))
    with pytest.raises(ValueError, match="`interpolate_mode`"):
        InputAttribution(LayerDiffGradCam(net, net.features), "linear").attribute(x, target=1)
    with pytest.raises(ValueError, match=r"`attribution` .* \(3, 5, 7, 7\)"):
        cam.attribute(x, target=1, attr_dim_summation=False)
    flat = InputAttribution(LayerDiffGradCam(lambda x: net(x.reshape(3, 3, 9, 9)), net.features))
    with pytest.raises(ValueError, match=r"channel_dim=None.*\(3, 243\)"):
        flat.attribute(x.flatten(1), target=1)
    with pytest.raises(ValueError, match=r"channel_dim=None.*\(3, 3, 81\)"):
        flat.attribute(x.flatten(2), target=1)
