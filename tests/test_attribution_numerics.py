"""Where floating point could lie in a map: saturation, large logits, tiny gradients, signed layers, precision."""

from __future__ import annotations

import pytest
import torch
from nets import conv_net, images, scaled

from captum_diffcam import ContrastScore, LayerDiffGradCam, LayerDiffGradCamPlusPlus

METHODS = [LayerDiffGradCam, LayerDiffGradCamPlusPlus]
REDUCTIONS = ["logsumexp", "mean", "max"]


@pytest.mark.parametrize("method", METHODS)
def test_a_saturated_classifier_still_has_a_map(method):
    """With p = 1 to the last bit a gradient of probabilities is zero; that of the log-odds is not."""
    net, x = conv_net(), images()
    saturated = scaled(net, 1e4)
    best = net(x).argmax(1)
    assert (saturated(x).softmax(1).max(1).values == 1).all()
    maps = method(saturated, net.features).attribute(x, target=best)
    strongest = method(saturated, net.features).attribute(x, target=best, reduction="max")
    assert maps.abs().amax((1, 2, 3)).min() > 0.1
    torch.testing.assert_close(maps, strongest)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("method", METHODS)
def test_logits_in_the_thousands(method, reduction):
    """Logits that are all large, with differences that float32 still holds, give the map of the differences."""
    net, x = conv_net(), images()
    shifted = scaled(net, 1.0, 4096.0)
    expected = method(net.double(), net.features).attribute(x.double(), target=1, reduction=reduction)
    maps = method(shifted.float(), net.features).attribute(x, target=1, reduction=reduction)
    torch.testing.assert_close(maps.double(), expected, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("method", METHODS)
def test_tiny_gradients_reach_the_map(method):
    """At 1e-9 of the size, D is linear in A for Grad-CAM++ too: the weight is sum(relu(g)) / 2."""
    net, x = conv_net(), images()
    tiny = scaled(net, 1e-9)
    kwargs = {"target": 1, "contrast": 4}
    maps = method(tiny, net.features).attribute(x, **kwargs) * 1e9
    if method is LayerDiffGradCam:
        expected = method(net, net.features).attribute(x, **kwargs)
    else:
        activations = net.features(x).detach().requires_grad_()
        z = net.head(activations)
        gradient = torch.autograd.grad((z[:, 1] - z[:, 4]).sum(), activations)[0]
        weights = gradient.relu().sum((2, 3), keepdim=True) / 2
        expected = (weights * activations).sum(1, keepdim=True).detach()
    torch.testing.assert_close(maps, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("seed", range(5))
def test_signed_layers_have_finite_maps(seed, reduction):
    net = conv_net(signed=True, seed=seed)
    scale = scaled(net, 1e3)
    maps = LayerDiffGradCamPlusPlus(scale, net.features).attribute(images(), target=1, reduction=reduction)
    assert torch.isfinite(maps).all()
    assert maps.abs().max() > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("method", METHODS)
def test_low_precision_models_are_scored_in_float32(method, dtype):
    net, x = conv_net(), images()
    expected = method(net, net.features).attribute(x, target=1)
    maps = method(net.to(dtype), net.features).attribute(x.to(dtype), target=1)
    assert maps.dtype == torch.float32
    similarity = torch.cosine_similarity(maps.flatten(1), expected.flatten(1))
    assert similarity.min() > 0.99


def test_float64_stays_float64():
    net, x = conv_net().double(), images().double()
    assert LayerDiffGradCam(net, net.features).attribute(x, target=1).dtype == torch.float64
    assert ContrastScore(net)(x).dtype == torch.float64
