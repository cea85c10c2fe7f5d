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


def _ratio_by_autograd(activations, head, target, reduction):
    """Equation 19 of the source for every cell of one channel, with the true derivatives of Y = exp(D)."""
    ratios = []
    for cell in range(activations.shape[1]):
        step = torch.zeros((), dtype=torch.float64, requires_grad=True)
        moved = activations.clone()
        moved[0, cell] = moved[0, cell] + step
        logits = head @ moved.mean(dim=1)
        rivals = torch.cat([logits[:target], logits[target + 1 :]])
        reduced = {"logsumexp": rivals.logsumexp(0), "mean": rivals.mean(), "max": rivals.max()}[reduction]
        derivative, orders = (logits[target] - reduced).exp(), []
        for _ in range(3):
            (derivative,) = torch.autograd.grad(derivative, step, create_graph=True)
            orders.append(derivative.item())
        first, second, third = orders
        ratios.append((second / (2 * second + activations[0].sum().item() * third), first))
    return ratios


@pytest.mark.parametrize(("reduction", "exact"), [("mean", True), ("max", True), ("logsumexp", False)])
def test_plus_plus_has_the_papers_derivatives_where_the_score_is_linear(reduction, exact):
    """And of logsumexp those of its tangent: the rivals' shares taken as constant."""
    generator = torch.Generator().manual_seed(1)
    activations = torch.rand(3, 4, generator=generator, dtype=torch.float64)
    head = 8 * torch.randn(5, 3, generator=generator, dtype=torch.float64)
    logits = head @ activations.mean(dim=1)
    target = int((head[:, 0] - logits / 100).argmax())
    rivals = [j for j in range(5) if j != target]
    shares = {
        "logsumexp": logits[rivals].softmax(0),
        "mean": torch.full((4,), 0.25, dtype=torch.float64),
        "max": torch.nn.functional.one_hot(logits[rivals].argmax(), 4).double(),
    }[reduction]
    gradient = (head[target, 0] - shares @ head[rivals, 0]) / 4
    assert gradient > 0
    gradients = gradient.expand(1, 1, 1, 4)
    weight = grad_cam_plus_plus_weights(activations[0].reshape(1, 1, 1, 4), gradients).item()
    score = logits[target] - (logits[rivals].logsumexp(0) if reduction == "logsumexp" else shares @ logits[rivals])
    ratios = _ratio_by_autograd(activations, head, target, reduction)
    true = sum(ratio * max(first, 0) for ratio, first in ratios) / score.exp().item()
    assert (weight == pytest.approx(true, rel=1e-6)) == exact
    # The closed form on the page about the weights of DiffGradCAM++.
    spread = head[rivals, 0] / 4 - shares @ head[rivals, 0] / 4
    variance, third = (shares @ spread**2, shares @ spread**3) if reduction == "logsumexp" else (0.0, 0.0)
    second = gradient**2 - variance
    skew = gradient**3 - 3 * gradient * variance - third
    ratio = second / (2 * second + activations[0].sum() * skew)
    assert (4 * ratio * gradient).item() == pytest.approx(true, rel=1e-6)
