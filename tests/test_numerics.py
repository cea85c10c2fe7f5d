"""Where floating point could lie: saturation, large logits, tiny gradients, low precision, many classes."""

from __future__ import annotations

import pytest
import torch
from nets import Net, conv_net, images
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from captum_diffcam import ContrastScore, LayerDiffGradCam, LayerDiffGradCamPlusPlus, top_rivals
from captum_diffcam.weighting import grad_cam_plus_plus_weights, grad_cam_weights

METHODS = [LayerDiffGradCam, LayerDiffGradCamPlusPlus]
REDUCTIONS = ["logsumexp", "mean", "max"]


def scaled(net: Net, factor: float, offset: float = 0.0) -> Net:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = net.head

        def forward(self, a):
            return factor * self.head(a) + offset

    return Net(net.features, Scaled())


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
def test_scores_are_exact_where_one_class_holds_all_probability(reduction):
    logits = torch.tensor([[5000.0, 1.25, -2.5, 3.0], [-7.0, -4000.0, 1e-3, -4000.5]])
    scores = ContrastScore(lambda x: x, reduction=reduction)(logits)
    exact = ContrastScore(lambda x: x, reduction=reduction)(logits.double())
    torch.testing.assert_close(scores.double(), exact, rtol=2e-7, atol=0)
    for row, z in zip(exact, logits.double(), strict=True):
        for c in range(4):
            rest = torch.cat([z[:c], z[c + 1 :]])
            expected = {"logsumexp": rest.logsumexp(0), "mean": rest.mean(), "max": rest.max()}[reduction]
            assert row[c].item() == pytest.approx((z[c] - expected).item(), rel=1e-12)


def test_weights_of_the_rest_survive_a_dominant_class():
    """The dominant class's rivals are told apart although each is 5000 below it."""
    logits = torch.tensor([[5000.0, 1.0, 2.0, 3.0]], requires_grad=True)
    ContrastScore(lambda x: x)(logits)[0, 0].backward()
    expected = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64).softmax(0)
    torch.testing.assert_close(-logits.grad[0, 1:].double(), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("method", METHODS)
def test_logits_in_the_thousands(method, reduction):
    """Logits that are all large, with differences that float32 still holds, give the map of the differences."""
    net, x = conv_net(), images()
    shifted = scaled(net, 1.0, 4096.0)
    expected = method(net.double(), net.features).attribute(x.double(), target=1, reduction=reduction)
    maps = method(shifted.float(), net.features).attribute(x, target=1, reduction=reduction)
    torch.testing.assert_close(maps.double(), expected, rtol=2e-3, atol=2e-4)


def test_ties_are_told_apart_by_the_last_bit():
    logits = torch.tensor([[1000.0, 1.0, 1.0 + 2**-23, 0.0]], requires_grad=True)
    ContrastScore(lambda x: x, reduction="max")(logits)[0, 0].backward()
    assert logits.grad.tolist() == [[1.0, 0.0, -1.0, 0.0]]


def test_ties_share_the_gradient_of_every_column():
    logits = torch.tensor([[2.0, 2.0, 2.0, 1.0]])
    jacobian = torch.autograd.functional.jacobian(lambda z: ContrastScore(lambda x: x, reduction="max")(z)[0], logits)
    third, half = -1 / 3, -1 / 2
    expected = [[1, half, half, 0], [half, 1, half, 0], [half, half, 1, 0], [third, third, third, 1]]
    torch.testing.assert_close(jacobian.squeeze(1), torch.tensor(expected))


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


def test_plus_plus_is_finite_where_the_paper_divides_by_zero():
    """A channel that sums to -2 / g has a zero denominator in the paper's ratio."""
    activations = torch.tensor([[[[-4.0, 2.0]]]])
    gradients = torch.ones(1, 1, 1, 2)
    assert grad_cam_plus_plus_weights(activations, gradients).item() == pytest.approx(2 / (2 + 2.0))


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


@pytest.mark.parametrize("classes", [1000, 21_000])
def test_the_mean_of_many_is_exact_beside_a_dominant_class(classes):
    logits = torch.randn(1, classes, generator=torch.Generator().manual_seed(0))
    logits[0, 7] = 5000.0
    scores = ContrastScore(lambda x: x, reduction="mean")(logits)
    exact = ContrastScore(lambda x: x, reduction="mean")(logits.double())
    torch.testing.assert_close(scores.double(), exact, rtol=1e-5, atol=1e-5)
    z = logits[0].double()
    assert exact[0, 3].item() == pytest.approx((z[3] - (z.sum() - z[3]) / (classes - 1)).item(), rel=1e-12)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_top_rivals_of_21000_classes(reduction):
    logits = torch.randn(4, 21_000, generator=torch.Generator().manual_seed(0))
    scores = ContrastScore(lambda x: x, top_rivals(5), reduction)(logits)
    z = logits[2].double()
    for c in (*z.topk(7).indices.tolist(), 11):
        rivals = torch.cat([z[:c], z[c + 1 :]]).topk(5).values
        expected = {"logsumexp": rivals.logsumexp(0), "mean": rivals.mean(), "max": rivals.max()}[reduction]
        assert scores[2, c].item() == pytest.approx((z[c] - expected).item(), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_21000_classes_need_no_square_tensor(reduction):
    class Largest(TorchDispatchMode):
        elements = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                self.elements = max(self.elements, out.numel())
            return out

    logits = torch.randn(2, 21_000, generator=torch.Generator().manual_seed(0), requires_grad=True)
    with Largest() as largest:
        scores = ContrastScore(lambda x: x, reduction=reduction)(logits)
        scores[:, 5].sum().backward()
    assert largest.elements <= logits.numel()
    z = logits.detach().double()
    for c in (5, int(z[0].argmax())):
        rest = torch.cat([z[0, :c], z[0, c + 1 :]])
        expected = {"logsumexp": rest.logsumexp(0), "mean": rest.mean(), "max": rest.max()}[reduction]
        assert scores[0, c].item() == pytest.approx((z[0, c] - expected).item(), rel=1e-5)
