"""The named tuples that attribution methods return."""

from __future__ import annotations

import pytest
import torch
from nets import Net, conv_net, images
from torch import nn

from captum_diffcam import (
    EquivariantPart,
    LayerDiffGradCam,
    LayerDiffGradCamPlusPlus,
    LayerDiffHiResCam,
    predicted,
    top_rivals,
)


def test_the_score_is_the_contrast_score(x):
    net = conv_net()
    logits = net(x).detach().double()
    own = logits[:, 1]
    others = logits[:, [0, 2, 3, 4, 5]]
    cam = LayerDiffGradCam(net, net.features)
    for contrast, reduction, expected in (
        (None, "logsumexp", own - others.logsumexp(dim=1)),
        ([2, 5], "mean", own - logits[:, [2, 5]].mean(dim=1)),
        ([2, 5], "max", own - logits[:, [2, 5]].amax(dim=1)),
        ([], "logsumexp", own),
    ):
        score = cam.explain(x, 1, contrast=contrast, reduction=reduction).score
        assert not score.requires_grad
        torch.testing.assert_close(score.double(), expected, atol=1e-5, rtol=1e-5)


def test_the_score_of_a_differentiable_map_has_no_graph(x):
    net = conv_net()
    explanation = LayerDiffGradCamPlusPlus(net, net.features).explain(x, grad_kwargs={"create_graph": True})
    assert explanation.maps.requires_grad
    assert not explanation.score.requires_grad


def test_the_contrast_mask_says_who_the_rivals_were(x):
    net = conv_net()
    cam = LayerDiffGradCam(net, net.features)
    everyone = cam.explain(x, [0, 1, 2])
    assert everyone.contrast_mask.tolist() == [[j != i for j in range(6)] for i in range(3)]
    strongest = cam.explain(x, contrast=top_rivals(2)).contrast_mask
    order = net(x).argsort(dim=1, descending=True)
    expected = torch.zeros(3, 6, dtype=torch.bool).scatter(1, order[:, 1:3], True)
    assert strongest.equal(expected)
    assert not cam.explain(x, 1, contrast=[]).contrast_mask.any()


def test_a_random_contrast_is_asked_once(x):
    calls = []

    def contrast(logits, target):
        calls.append(len(logits))
        return torch.zeros_like(logits, dtype=torch.bool).scatter(1, (target[:, None] + 1) % 6, True)

    net = conv_net()
    explanation = LayerDiffGradCam(net, net.features).explain(x, contrast=contrast)
    assert calls == [3]
    assert explanation.contrast_mask.long().argmax(dim=1).equal((explanation.target + 1) % 6)


def test_repr_is_compact(x):
    net = conv_net()
    cam = LayerDiffGradCam(net, net.features)
    explanation = cam.explain(x, [4, 1, 5])
    text = repr(explanation)
    assert text.startswith("Explanation(maps=(3, 1, 7, 7), target=[4, 1, 5], logits=(3, 6), score=[")
    assert f"{explanation.score[0].item():.3g}" in text
    assert "tensor" not in text
    both = LayerDiffGradCam(net, [net.features, net.head[1]]).explain(x)
    assert "maps=[(3, 1, 7, 7), (3, 1, 5, 5)]" in repr(both)
    rivals = cam.attribute_rivals(x, predicted, top_rivals(2))
    assert f"rivals={rivals.rivals.tolist()}" in repr(rivals)
    assert "tensor" not in repr(rivals)
    split = EquivariantPart(cam, shifts=1).decompose(x, 1)
    assert "tensor" not in repr(split)
    assert "static_share=[" in repr(split)
    many = cam.explain(x.repeat(40, 1, 1, 1))
    assert len(repr(many)) < 300


def linear_behind(*layers):
    """A model with these layers between its features, (N, 5, 7, 7), and a linear layer with large biases."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        channels = nn.Sequential(*layers)(torch.zeros(1, 5, 7, 7)).shape[1]
        linear = nn.Linear(channels, 6)
        nn.init.normal_(linear.weight, std=2.0)
        nn.init.normal_(linear.bias, std=3.0)
    return Net(conv_net(signed=True).features, nn.Sequential(*layers, linear)).eval()


POOLING = {
    "global average": (nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    "several averages": (nn.AdaptiveAvgPool2d(3), nn.Flatten()),
    "flattening": (nn.Flatten(),),
    "global maximum": (nn.AdaptiveMaxPool2d(1), nn.Flatten()),
    "dropout": (nn.AvgPool2d(3), nn.Flatten(), nn.Dropout(0.5)),
}


def expected_remainder(logits, biases, target, rivals, reduction):
    """The biases' part of the score, and less under logsumexp the entropy of the rivals' shares, in float64."""
    if not rivals:
        return biases[target]
    z = logits[rivals]
    if reduction == "logsumexp":
        shares = z.softmax(0)
        entropy = -(shares * shares.log()).sum()
    else:
        shares = torch.full_like(z, 1 / len(rivals)) if reduction == "mean" else (z == z.max()).double()
        entropy = 0.0
    return biases[target] - shares @ biases[rivals] - entropy


@pytest.mark.parametrize("contrast", [None, 4, [1, 4], []], ids=str)
@pytest.mark.parametrize("reduction", ["logsumexp", "mean", "max"])
@pytest.mark.parametrize("behind", POOLING)
def test_behind_pooling_and_a_linear_layer_the_remainder_is_known(behind, reduction, contrast):
    net, x = linear_behind(*POOLING[behind]), images()
    targets = [2, 0, 5]
    explanation = LayerDiffHiResCam(net, net.features).explain(x, targets, contrast=contrast, reduction=reduction)
    biases, logits = net.head[-1].bias.detach().double(), net(x).detach().double()
    for n, target in enumerate(targets):
        members = range(6) if contrast is None else [contrast] if contrast == 4 else contrast
        rivals = [j for j in members if j != target]
        expected = expected_remainder(logits[n], biases, target, rivals, reduction)
        assert explanation.remainder[n].item() == pytest.approx(float(expected), abs=2e-5)
        total = explanation.maps[n].sum().item()
        assert total == pytest.approx(explanation.score[n].item() - float(expected), abs=1e-4)


@pytest.mark.parametrize("contrast", [None, [1, 4], []], ids=str)
@pytest.mark.parametrize("reduction", ["logsumexp", "mean", "max"])
def test_behind_global_average_pooling_hires_is_diff_grad_cam(reduction, contrast):
    net, x = linear_behind(nn.AdaptiveAvgPool2d(1), nn.Flatten()), images()
    maps = [
        method(net, net.features).attribute(x, [2, 0, 5], contrast=contrast, reduction=reduction)
        for method in (LayerDiffHiResCam, LayerDiffGradCam)
    ]
    torch.testing.assert_close(maps[0], maps[1])
    flat = linear_behind(nn.Flatten())
    differ = [method(flat, flat.features).attribute(x, [2, 0, 5]) for method in (LayerDiffHiResCam, LayerDiffGradCam)]
    assert (differ[0] - differ[1]).abs().max() > 0.1


class TestRemainder:
    """What the sum of the map runs over."""

    net = linear_behind(nn.Flatten())
    nn.init.ones_(net.features[1].bias)

    def remainder(self, x, method=LayerDiffHiResCam, layer=None, **kwargs):
        return method(self.net, self.net.features if layer is None else layer).explain(x, 1, **kwargs).remainder

    def test_channels(self, x):
        assert self.remainder(x, attr_dim_summation=False).shape == (3,)
        torch.testing.assert_close(self.remainder(x, attr_dim_summation=False), self.remainder(x), atol=1e-5, rtol=0)

    def test_a_list_of_layers(self, x):
        """Each of them explains the whole score."""
        layers = [self.net.features[0], self.net.features]
        remainders = self.remainder(x, layer=layers)
        assert isinstance(remainders, list)
        for single, remainder in zip(layers, remainders, strict=True):
            torch.testing.assert_close(remainder, self.remainder(x, layer=single))
        # Batch normalisation adds a constant, too.
        assert (remainders[0] - remainders[1]).abs().max() > 1e-3

    def test_relu_leaves_the_negative_part(self, x):
        explanation = LayerDiffHiResCam(self.net, self.net.features).explain(x, 1)
        negative = explanation.maps.clamp(max=0).flatten(1).sum(dim=1)
        assert (negative < -0.1).all()
        expected = explanation.remainder + negative
        torch.testing.assert_close(self.remainder(x, relu_attributions=True), expected, atol=1e-5, rtol=1e-5)

    def test_it_is_score_minus_map_for_other_methods_too(self, x):
        explanation = LayerDiffGradCam(self.net, self.net.features).explain(x, 1)
        expected = explanation.score - explanation.maps.sum(dim=(1, 2, 3))
        torch.testing.assert_close(explanation.remainder, expected)

    def test_no_graph(self, x):
        assert not self.remainder(x, grad_kwargs={"create_graph": True}).requires_grad

    def test_an_empty_batch(self, x):
        assert self.remainder(x[:0]).shape == (0,)

    def test_a_layer_that_returns_several_tensors(self, x):
        """The score is made of all of them."""

        class Halves(nn.Module):
            def forward(self, a):
                return a[:, :2], a[:, 2:]

        class Joined(nn.Module):
            def __init__(self, net):
                super().__init__()
                self.features, self.halves, self.head = net.features, Halves(), net.head

            def forward(self, x):
                return self.head(torch.cat(self.halves(self.features(x)), dim=1))

        joined = Joined(self.net).eval()
        cam = LayerDiffHiResCam(joined, joined.halves)
        explanation = cam.explain(x, 1)
        assert isinstance(explanation.maps, tuple)
        torch.testing.assert_close(explanation.remainder, self.remainder(x), atol=1e-5, rtol=1e-5)
        first = LayerDiffHiResCam(joined, joined.halves, tensor_index=0).explain(x, 1)
        torch.testing.assert_close(first.remainder, first.score - explanation.maps[0].sum(dim=(1, 2, 3)))
        both = LayerDiffHiResCam(joined, [joined.features, joined.halves]).explain(x, 1)
        torch.testing.assert_close(both.remainder[1], explanation.remainder)
