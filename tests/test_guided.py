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


def test_errors(net, x):
    with pytest.raises(TypeError, match="model: got function"):
        GuidedDiffGradCam(lambda x: x, net.features)
    with pytest.raises(ValueError, match="`contrast`"):
        GuidedDiffGradCam(net, net.features).attribute(x, target=1, contrast=[1])


def test_running_statistics_stay_in_train_mode(x):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3))
    model = nn.Sequential(net, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 6)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.warns(UserWarning, match="train mode"):
        GuidedDiffGradCam(model, net).attribute(x, target=TARGETS)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
