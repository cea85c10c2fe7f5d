"""Guided backpropagation of the contrast, times its map."""

from __future__ import annotations

import pytest
import torch
from captum.attr import GuidedBackprop, GuidedGradCam, NoiseTunnel
from torch import nn

from captum_diffcam import (
    ContrastScore,
    GuidedDiffGradCam,
    InputAttribution,
    LayerDiffGradCam,
    LayerDiffGradCamPlusPlus,
)

METHODS = [LayerDiffGradCam, LayerDiffGradCamPlusPlus]
TARGETS = [2, 0, 5]
PER_EXAMPLE = [[0, 1], [5], [0, 2, 3]]


def test_an_empty_set_is_guided_grad_cam(net, x):
    expected = GuidedGradCam(net, net.features).attribute(x.clone().requires_grad_(), target=TARGETS)
    maps = GuidedDiffGradCam(net, net.features).attribute(x, target=TARGETS, contrast=[])
    torch.testing.assert_close(maps, expected.detach())
    assert not x.requires_grad
    assert not maps.requires_grad


@pytest.mark.parametrize("method", METHODS)
def test_it_is_guided_backpropagation_of_the_score_times_the_map(net, x, method):
    kwargs = {"target": TARGETS, "contrast": PER_EXAMPLE, "reduction": "mean"}
    maps = GuidedDiffGradCam(net, net.features, method).attribute((x,), **kwargs)
    score = ContrastScore(net, PER_EXAMPLE, "mean")
    guided = GuidedBackprop(score).attribute(x.clone().requires_grad_(), target=TARGETS)
    map_ = InputAttribution(method(net, net.features), "nearest").attribute(x, **kwargs, relu_attributions=True)
    torch.testing.assert_close(maps[0], guided * map_)


def test_in_inference_mode_and_under_noise(net, x):
    cam = GuidedDiffGradCam(net, net.features)
    expected = cam.attribute(x, target=TARGETS, contrast=PER_EXAMPLE)
    with torch.inference_mode():
        torch.testing.assert_close(cam.attribute(x, target=TARGETS, contrast=PER_EXAMPLE), expected)
    tunnel = NoiseTunnel(cam).attribute(x, nt_samples=3, stdevs=0.0, target=TARGETS, contrast=PER_EXAMPLE)
    torch.testing.assert_close(tunnel, expected)


def test_errors_name_the_argument(net, x):
    with pytest.raises(TypeError, match="`model`"):
        GuidedDiffGradCam(lambda x: x, net.features)
    with pytest.raises(ValueError, match="contrast"):
        GuidedDiffGradCam(net, net.features).attribute(x, target=1, contrast=[1])
    with pytest.raises(TypeError, match="`inputs`"):
        GuidedDiffGradCam(net, net.features).attribute((255 * x).byte(), target=1)


class GuidedRelu(torch.autograd.Function):
    """ReLU whose gradient is rectified, too."""

    @staticmethod
    def forward(ctx, a):
        ctx.save_for_backward(a)
        return a.clamp(min=0)

    @staticmethod
    def backward(ctx, gradient):
        (a,) = ctx.saved_tensors
        return gradient.clamp(min=0) * (a > 0)


class TwoRelus(nn.Module):
    """Two convolutions, each followed by a ReLU of some kind."""

    def __init__(self, first, second) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = first, second
        self.conv, self.layer, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, 6)

    def forward(self, x):
        x = self.second(self.layer(self.first(self.conv(x))))
        return self.head(x.mean((2, 3)))


SHARED, SHARED_IN_PLACE = nn.ReLU(), nn.ReLU(inplace=True)
MODULES = {
    "modules": (nn.ReLU(), nn.ReLU()),
    "in place": (nn.ReLU(inplace=True), nn.ReLU(inplace=True)),
    "used twice": (SHARED, SHARED),
    "used twice in place": (SHARED_IN_PLACE, SHARED_IN_PLACE),
}
FUNCTIONS = {
    "torch.relu": (torch.relu, nn.ReLU()),
    "functional": (nn.ReLU(), nn.functional.relu),
    "functional in place": (nn.ReLU(), lambda a: nn.functional.relu(a, inplace=True)),
    "method": (lambda a: a.relu(), nn.ReLU()),
    "method in place, beside one used twice": (lambda a: (SHARED(a) - 0.1).relu_(), SHARED),
}


@pytest.mark.parametrize("relus", MODULES.values(), ids=MODULES)
def test_module_relus_are_guided_without_a_warning(x, relus):
    net, reference = TwoRelus(*relus).eval(), TwoRelus(GuidedRelu.apply, GuidedRelu.apply).eval()
    inputs = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(ContrastScore(reference)(inputs)[range(3), TARGETS].sum(), inputs)
    map_ = InputAttribution(LayerDiffGradCam(reference, reference.layer), "nearest")
    expected = gradient * map_.attribute(x, TARGETS, relu_attributions=True)
    assert expected.flatten(1).any(1).all()
    torch.testing.assert_close(GuidedDiffGradCam(net, net.layer).attribute(x, TARGETS), expected)


@pytest.mark.parametrize("relus", FUNCTIONS.values(), ids=FUNCTIONS)
def test_functional_relus_are_warned_of(x, relus):
    net = TwoRelus(*relus).eval()
    with pytest.warns(UserWarning, match="`model`.* 1 time"):
        GuidedDiffGradCam(net, net.layer).attribute(x, 1)


def test_functional_relus_that_the_score_does_not_depend_on(x):
    net = TwoRelus(nn.ReLU(), nn.ReLU()).eval()
    net.register_forward_pre_hook(lambda module, args: (torch.relu(args[0].mean()), None)[1])
    GuidedDiffGradCam(net, net.layer).attribute(x, 1)


def test_channels_last(x):
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = TwoRelus(nn.ReLU(), nn.ReLU())

        def forward(self, x):
            return self.net(x.movedim(-1, 1))

    last = Last().eval()
    expected = GuidedDiffGradCam(last.net, last.net.layer).attribute(x, 1).movedim(1, -1)
    images = x.movedim(1, -1).contiguous()
    for dim in ("auto", 3, -1):
        cam = GuidedDiffGradCam(last, last.net.layer, channel_dim=dim, layout=lambda a: a)
        torch.testing.assert_close(cam.attribute(images, 1), expected)
    torch.testing.assert_close(NoiseTunnel(cam).attribute(images, nt_samples=2, stdevs=0.0, target=1), expected)


def test_running_statistics_stay_in_train_mode(x):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3))
    model = nn.Sequential(net, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 6)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.warns(UserWarning, match="train mode"):
        GuidedDiffGradCam(model, net).attribute(x, target=TARGETS)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_an_ambiguous_input_and_a_table_need_their_arguments(x):
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.mix = TwoRelus(nn.ReLU(), nn.ReLU()), nn.Linear(9, 3)

        def forward(self, images, table):
            return self.net(torch.einsum("nijc,dc->ndij", images, self.mix.weight)) + table.sum(1, keepdim=True)

    net, images, table = Mixed().eval(), torch.rand(3, 9, 9, 9), torch.rand(3, 6)
    with pytest.raises(ValueError, match="`input_index`"):
        GuidedDiffGradCam(net, net.net.layer, channel_dim=3).attribute((images, table), TARGETS)
    with pytest.raises(ValueError, match="`channel_dim`"):
        GuidedDiffGradCam(net, net.net.layer, input_index=0).attribute((images, table), TARGETS)
    cam = GuidedDiffGradCam(net, net.net.layer, channel_dim=3, input_index=0)
    on_images, on_table = cam.attribute((images, table), TARGETS)
    assert on_images.any()
    assert not on_table.any()


@pytest.mark.filterwarnings("ignore:.*train mode:UserWarning")
def test_random_numbers_are_left_as_they_were(x):
    features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Dropout(0.5))
    model = nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 6)).train()
    before = torch.get_rng_state()
    GuidedDiffGradCam(model, features[1]).attribute(x, target=TARGETS)
    assert torch.equal(torch.get_rng_state(), before)
