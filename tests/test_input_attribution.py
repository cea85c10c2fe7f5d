"""Maps over the input, which Captum's tools take as an attribution of the input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captum.attr import LayerAttribution, LayerGradCam, NoiseTunnel
from captum.metrics import sensitivity_max
from nets import conv_net, images, linear_net
from torch import nn

from captum_diffcam import EquivariantPart, InputAttribution, LayerDiffGradCam

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


def mean_over_positions(a):
    return a.flatten(2).mean(2)


class Branches(nn.Module):
    """A convolution for each of two images, and one for what they put out together."""

    def __init__(self, shared=False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU())
        self.second = self.first if shared else nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU())
        self.fused, self.head = nn.Sequential(nn.Conv2d(10, 4, 3), nn.ReLU()), nn.Linear(14, 6)

    def forward(self, a, b):
        a, b = self.first(a), self.second(b)
        fused = mean_over_positions(self.fused(torch.cat([a, b], 1)))
        return self.head(torch.cat([mean_over_positions(a), mean_over_positions(a * b), fused], 1))


def upsampled(maps, x):
    return LayerAttribution.interpolate(maps, x.shape[2:], "bilinear").expand_as(x)


@pytest.fixture
def pair():
    torch.manual_seed(1)
    return torch.rand(3, 3, 12, 12), torch.rand(3, 3, 12, 12)


@pytest.mark.parametrize(
    ("layer", "on"), [("first", (True, False)), ("second", (False, True)), ("fused", (True, True))]
)
@pytest.mark.parametrize("method", [LayerDiffGradCam, LayerGradCam])
def test_a_map_is_drawn_on_the_inputs_that_the_layer_depends_on(pair, layer, on, method):
    net = Branches().eval()
    cam = method(net, getattr(net, layer))
    maps = cam.attribute(pair, target=TARGETS).detach()
    for attribution, x, is_drawn in zip(InputAttribution(cam).attribute(pair, TARGETS), pair, on, strict=True):
        torch.testing.assert_close(attribution.detach(), is_drawn * upsampled(maps, x))


def test_each_of_several_layers_is_drawn_where_it_belongs(pair):
    net = Branches().eval()
    fused = InputAttribution(LayerDiffGradCam(net, [net.first, net.second])).attribute(pair, TARGETS)
    for layer, x, attribution in zip([net.first, net.second], pair, fused, strict=True):
        maps = LayerDiffGradCam(net, layer).attribute(pair, TARGETS)
        maps = maps / maps.abs().amax((1, 2, 3), keepdim=True)
        torch.testing.assert_close(attribution, upsampled(maps, x) / 2)


def test_the_input_of_a_layer_may_depend_on_less(pair):
    class Modulated(nn.Module):
        """Features of the first image, scaled by the second one, which the layer holds."""

        def forward(self, a):
            return a * self.scale

    net, modulated = Branches().eval(), Modulated()

    def forward(a, b):
        modulated.scale = b.mean((1, 2, 3), keepdim=True)
        return net(modulated(a), b)

    for at_input, on in ((True, (True, False)), (False, (True, True))):
        cam = InputAttribution(LayerDiffGradCam(forward, modulated))
        attributions = cam.attribute(pair, TARGETS, attribute_to_layer_input=at_input)
        assert tuple(bool(attribution.any()) for attribution in attributions) == on


@pytest.mark.parametrize(("run", "index"), [(0, 0), (1, 1), (-1, 1), (-2, 0)])
def test_a_shared_layer_is_drawn_on_the_input_of_its_run(pair, run, index):
    net = Branches(shared=True).eval()
    cam = LayerDiffGradCam(net, net.first, run=run)
    maps = cam.attribute(pair, TARGETS)
    for wrapped in (InputAttribution(cam), *(InputAttribution(cam, input_index=i) for i in (index, index - 2))):
        attributions = wrapped.attribute(pair, TARGETS)
        torch.testing.assert_close(attributions[index], upsampled(maps, pair[index]))
        assert not attributions[1 - index].any()
    part = EquivariantPart(cam, 1)
    attributions = InputAttribution(part).attribute(pair, TARGETS)
    torch.testing.assert_close(attributions[index], upsampled(part.attribute(pair, TARGETS), pair[index]))
    assert not attributions[1 - index].any()


def test_a_shared_layer_in_captums_tools(pair):
    net = Branches(shared=True).eval()
    cam = InputAttribution(LayerDiffGradCam(net, net.first, run=0))
    expected = cam.attribute(pair, TARGETS)
    assert expected[0].any()
    for attribution, right in zip(
        NoiseTunnel(cam).attribute(pair, nt_samples=2, stdevs=0.0, target=TARGETS), expected, strict=True
    ):
        torch.testing.assert_close(attribution, right)
    assert sensitivity_max(cam.attribute, pair, n_perturb_samples=2, target=TARGETS).shape == (3,)


def test_a_shared_layer_of_ids_asks_for_the_input():
    torch.manual_seed(0)
    embedding, layer, head = nn.Embedding(9, 6), nn.Linear(6, 6), nn.Linear(12, 4)
    pair = torch.randint(9, (2, 7)), torch.randint(9, (2, 5))

    def forward(a, b):
        return head(torch.cat([layer(embedding(ids)).tanh().mean(1) for ids in (a, b)], 1))

    cam = LayerDiffGradCam(forward, layer, layout="swin", run=1)
    with pytest.raises(ValueError, match="`input_index`"):
        InputAttribution(cam).attribute(pair, 1)
    first, second = InputAttribution(cam, input_index=1).attribute(pair, 1)
    assert first.shape == (2, 7)
    assert not first.any()
    torch.testing.assert_close(second, cam.attribute(pair, 1)[:, 0])


def test_features_without_a_graph_ask_for_the_input(pair):
    net = Branches().eval()

    def forward(a, b):
        with torch.no_grad():
            a = a / 2
        return net(a, b)

    cam = LayerDiffGradCam(forward, net.first)
    with pytest.raises(ValueError, match="`input_index`"):
        InputAttribution(cam).attribute(pair, TARGETS)
    first, second = InputAttribution(cam, input_index=[0]).attribute(pair, TARGETS)
    assert first.any()
    assert not second.any()


def test_a_table_beside_an_image(net, x):
    mix, table = nn.Linear(4, 6), torch.rand(3, 4)
    cam = LayerDiffGradCam(lambda image, table: net(image) + mix(table), net.features)
    with pytest.raises(ValueError, match=r"\(3, 4\).*`input_index`"):
        InputAttribution(cam).attribute((x, table), TARGETS)
    on_image, on_table = InputAttribution(cam, input_index=0).attribute((x, table), TARGETS)
    torch.testing.assert_close(on_image, upsampled(cam.attribute((x, table), TARGETS), x))
    assert on_table.shape == table.shape
    assert not on_table.any()


@pytest.mark.parametrize(
    ("index", "error"), [(2, IndexError), (-3, IndexError), ([0, 5], IndexError), ([], IndexError), ("a", TypeError)]
)
def test_input_index_is_checked(pair, index, error):
    net = Branches().eval()
    with pytest.raises(error, match="`input_index`"):
        InputAttribution(LayerDiffGradCam(net, net.first), input_index=index).attribute(pair, TARGETS)


def test_several_inputs_leave_the_callers_state(pair):
    net = Branches().eval()
    net.first.append(nn.Dropout(0.5))
    net.first[-1].train()
    state = torch.get_rng_state()
    with pytest.warns(UserWarning, match="train mode"), torch.inference_mode():
        InputAttribution(LayerDiffGradCam(net, net.first)).attribute(pair, TARGETS)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in net.parameters())
    assert not any(tensor.requires_grad for tensor in pair)


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
    """(N, T), to which the model itself adds the channel."""
    net, audio = conv_net(1), torch.rand(3, 27)
    cam = LayerDiffGradCam(lambda *inputs: net(inputs[0].reshape(3, 3, 9)), net.features)
    maps = cam.attribute(audio, target=1)
    assert maps.shape == (3, 1, 7)
    expected = [LayerAttribution.interpolate(maps, (n,), mode or "linear")[:, 0] for n in (27, 5)]
    torch.testing.assert_close(InputAttribution(cam, mode).attribute(audio, target=1), expected[0])
    tokens = torch.zeros(3, 5, dtype=torch.int64)
    with pytest.raises(ValueError, match="`input_index`"):
        InputAttribution(cam, mode).attribute((audio, tokens), target=1)
    both = InputAttribution(cam, mode, channel_dim=None, input_index=[0, 1])
    with_tokens = both.attribute((audio, tokens), target=1)
    for attribution, single in zip(with_tokens, expected, strict=True):
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
