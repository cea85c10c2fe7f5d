"""Classes that the model rules out with a logit of -inf: as if they were not there, or an error that says why not."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import replicas
import torch
from nets import Net, conv_net, images
from torch import Tensor, nn

from captum_diffcam import (
    ContrastScore,
    GuidedDiffGradCam,
    LayerDiffGradCam,
    LayerDiffGradCamPlusPlus,
    LayerDiffHiResCam,
    top_rivals,
)
from captum_diffcam.contrast import contrast_mask

METHODS = {LayerDiffGradCam: "mean", LayerDiffGradCamPlusPlus: "plus plus", LayerDiffHiResCam: "each position"}
OUT = [[3], [3, 4], [1]]
"""Which classes of six are ruled out, by example."""
TARGETS = [2, 0, 5]
INF = float("inf")


class RulingOut(nn.Module):
    """The head, with some of its logits at -inf, by one of the ways in which models do that."""

    def __init__(self, head: nn.Module, way: str) -> None:
        super().__init__()
        self.head, self.way = head, way

    def forward(self, a: Tensor) -> Tensor:
        z = self.head(a)
        out = torch.zeros_like(z, dtype=torch.bool)
        for row, classes in zip(out, OUT, strict=True):
            row[classes] = True
        if self.way == "filled":
            return z.masked_fill(out, -INF)
        if self.way == "added":
            return z + torch.zeros_like(z).masked_fill(out, -INF)
        return torch.where(out, -INF, z)


IDS = ["every other class", "a list", "top rivals", "a callable"]


@pytest.fixture(params=["filled", "added", "chosen"])
def model(request, net) -> Net:
    return Net(net.features, RulingOut(net.head, request.param)).double()


def remaining(contrast: list[int]) -> list[list[int]]:
    """The contrast set of each example, less its target and what is ruled out there."""
    pairs = zip(TARGETS, OUT, strict=True)
    return [[c for c in contrast if c != target and c not in out] for target, out in pairs]


@pytest.mark.parametrize("reduction", ["logsumexp", "max"])
@pytest.mark.parametrize("method", METHODS)
class TestMaps:
    @pytest.mark.parametrize("contrast", [None, [[1, 3, 4]], [[1, 3], [1, 3, 4, 5], [1, 4]]], ids=str)
    def test_as_if_the_class_were_not_there(self, net, model, x, method, reduction, contrast):
        sets = remaining(list(range(6)) if contrast is None else [1, 3, 4])
        if contrast is not None and len(contrast) > 1:
            sets = [[c for c in s if c not in out] for s, out in zip(contrast, OUT, strict=True)]
        expected = replicas.cam(net, x, TARGETS, sets, reduction, METHODS[method])
        maps = method(model, model.features).attribute(
            x.double(), target=TARGETS, contrast=contrast, reduction=reduction
        )
        np.testing.assert_allclose(maps.flatten(1).numpy(), expected, rtol=1e-9, atol=1e-12)

    def test_they_have_no_place_among_the_top_rivals(self, net, model, x, method, reduction):
        logits = net.double()(x.double()).detach()
        sets = remaining(list(range(6)))
        sets = [sorted(s, key=lambda c: -float(z[c]))[:2] for s, z in zip(sets, logits, strict=True)]
        expected = replicas.cam(net, x, TARGETS, sets, reduction, METHODS[method])
        kwargs = {"target": TARGETS, "contrast": top_rivals(2), "reduction": reduction}
        maps = method(model, model.features).attribute(x.double(), **kwargs)
        np.testing.assert_allclose(maps.flatten(1).numpy(), expected, rtol=1e-9, atol=1e-12)


def test_gradients_to_the_weights_are_finite(model, x):
    maps = LayerDiffGradCam(model, model.features).attribute(x.double(), TARGETS, grad_kwargs={"create_graph": True})
    for gradient in torch.autograd.grad(maps.square().sum(), list(model.parameters()), materialize_grads=True):
        assert gradient.isfinite().all()


def test_guided(model, x):
    left_out = [sorted({0, 1, 2, 3, 4, 5} - {t, *out}) for t, out in zip(TARGETS, OUT, strict=True)]
    guided = GuidedDiffGradCam(model, model.features)
    expected = guided.attribute(x.double(), TARGETS, contrast=left_out)
    torch.testing.assert_close(guided.attribute(x.double(), TARGETS), expected)


class TestRivals:
    def test_they_are_no_rivals(self, net, model, x):
        result = LayerDiffGradCam(model, model.features).attribute_rivals(x.double(), TARGETS, None)
        assert result.rivals.shape == (3, 4)
        logits = net.double()(x.double()).detach()
        for n, rivals in enumerate(remaining(list(range(6)))):
            order = sorted(rivals, key=lambda c: -float(logits[n, c]))
            assert result.rivals[n].tolist() == order + [-1] * (4 - len(order))
            torch.testing.assert_close(result.weights[n, : len(order)], logits[n, order].softmax(0))
            assert result.weights[n, len(order) :].tolist() == [0] * (4 - len(order))
            for k, rival in enumerate(order):
                one = [[rival] if i == n else [] for i in range(3)]
                expected = replicas.cam(net, x, TARGETS, one, "logsumexp", "mean")[n]
                np.testing.assert_allclose(result.maps[n, k].flatten().numpy(), expected, rtol=1e-9, atol=1e-12)
            assert not result.maps[n, len(order) :].any()

    def test_all_of_them(self, model, x):
        result = LayerDiffGradCam(model, model.features).attribute_rivals(x.double(), TARGETS, [[3], [3, 4], [1]])
        assert result.rivals.shape == result.weights.shape == (3, 0)
        assert result.maps.shape == (3, 0, 1, 7, 7)

    def test_fewer_than_k(self):
        """They come last, and never the target instead."""
        logits = torch.tensor([[1.0, -INF, -INF, 0.5], [-INF, -INF, 2.0, -INF]])
        target = torch.tensor([0, 2])
        rivals = contrast_mask(top_rivals(2), logits, target)
        assert rivals.sum(1).tolist() == [2, 2]
        assert rivals[0, 3]
        assert not rivals.gather(1, target[:, None]).any()


class TestContrastScore:
    @pytest.mark.parametrize("reduction", ["logsumexp", "max"])
    @pytest.mark.parametrize("contrast", [None, [0, 2, 4], top_rivals(2), lambda z, t: ~one_hot(z, t)], ids=IDS)
    def test_scores(self, reduction, contrast):
        """Of the classes that remain the scores are those that they have among themselves; of the others -inf."""
        few = torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        kept = [0, 1, 4, 5]
        logits = torch.full((4, 6), -INF, dtype=torch.float64).index_copy(1, torch.tensor(kept), few)
        scores = ContrastScore(lambda x: x, contrast, reduction)(logits)
        assert (scores[:, [2, 3]] == -INF).all()
        for n, z in enumerate(few.tolist()):
            for i, c in enumerate(kept):
                rivals = [j for j in range(4) if j != i]
                if isinstance(contrast, list):
                    rivals = [j for j in rivals if kept[j] in contrast]
                elif contrast == top_rivals(2):
                    rivals = sorted(rivals, key=lambda j: -z[j])[:2]
                assert scores[n, c].item() == pytest.approx(replicas.score(z, i, rivals, reduction), rel=1e-12)

    @pytest.mark.parametrize("reduction", ["logsumexp", "max"])
    @pytest.mark.parametrize("contrast", [None, [0, 1, 2, 4], top_rivals(2), lambda z, t: ~one_hot(z, t)], ids=IDS)
    def test_gradients(self, reduction, contrast):
        z = torch.tensor([[0.3, -INF, 1.1, -0.4, -INF], [-INF, 0.2, 5.0, -0.7, -INF]], dtype=torch.float64)
        finite = z.isfinite()

        def remaining_scores(values):
            scores = ContrastScore(lambda x: x, contrast, reduction)(z.masked_scatter(finite, values))
            return scores[finite]

        assert torch.autograd.gradcheck(remaining_scores, z[finite].requires_grad_())
        z.requires_grad_()
        ContrastScore(lambda x: x, contrast, reduction)(z)[finite].sum().backward()
        assert z.grad.isfinite().all()
        assert (z.grad[~finite] == 0).all()

    def test_without_a_rival_the_odds_are_infinite(self):
        """One example has two classes left and one example one; in a set, a class may be the only one left."""
        z = torch.tensor([[2.0, 1.0, -INF]], requires_grad=True)
        scores = ContrastScore(lambda x: x, [0, 2])(z)
        assert scores.tolist() == [[INF, -1.0, -INF]]
        scores[0, 0].backward()
        assert z.grad.tolist() == [[0.0, 0.0, 0.0]]

    def test_a_class_without_odds_has_none_against_others_like_it(self):
        """Each class against the next one."""
        z = torch.tensor([[2.0, 1.0, -INF, -INF]])
        scores = ContrastScore(lambda x: x, lambda z, t: one_hot(z, (t + 1) % 4))(z)
        assert scores.tolist() == [[1.0, INF, -INF, -INF]]

    def test_mean_of_a_set_without_them(self):
        z = torch.tensor([[2.0, 1.0, 0.5, -INF]])
        torch.testing.assert_close(
            ContrastScore(lambda x: x, [1, 2], "mean")(z)[:, :3], ContrastScore(lambda x: x, [1, 2], "mean")(z[:, :3])
        )


def one_hot(logits: Tensor, target: Tensor) -> Tensor:
    return torch.zeros_like(logits, dtype=torch.bool).scatter(1, target[:, None], True)


class TestErrors:
    @pytest.mark.parametrize("contrast", [None, [1, 3], top_rivals(5)], ids=str)
    def test_the_mean(self, model, x, contrast):
        message = "`reduction` must .* -inf"
        with pytest.raises(ValueError, match=message):
            LayerDiffGradCam(model, model.features).attribute(x.double(), 2, contrast=contrast, reduction="mean")
        with pytest.raises(ValueError, match=message):
            ContrastScore(model, contrast, "mean")(x.double())

    def test_the_mean_of_others(self, net, model, x):
        """It is not the model that is refused."""
        maps = LayerDiffGradCam(model, model.features).attribute(x.double(), 2, contrast=[0, 5], reduction="mean")
        expected = replicas.cam(net, x, [2, 2, 2], [[0, 5]] * 3, "mean", "mean")
        np.testing.assert_allclose(maps.flatten(1).numpy(), expected, rtol=1e-9, atol=1e-12)

    @pytest.mark.parametrize("explain", ["attribute", "attribute_rivals"])
    def test_the_target(self, model, x, explain):
        message = "`target` must .* class 4 of example 1"
        with pytest.raises(ValueError, match=message):
            getattr(LayerDiffGradCam(model, model.features), explain)(x.double(), target=[4, 4, 4])

    @pytest.mark.parametrize("reduction", ["logsumexp", "max"])
    def test_a_set_of_them_alone(self, model, x, reduction):
        message = "`contrast` must .* example 1 "
        with pytest.raises(ValueError, match=message):
            LayerDiffGradCam(model, model.features).attribute(
                x.double(), 0, contrast=[[1], [3, 4], [2]], reduction=reduction
            )
        logits = torch.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, -INF]])
        with pytest.raises(ValueError, match="`contrast` must"):
            ContrastScore(lambda x: x, 2, reduction)(logits)
        with pytest.raises(ValueError, match="`contrast` must"):
            ContrastScore(lambda x: x, None, reduction)(torch.tensor([[1.0, -INF, -INF]]))

    @pytest.mark.parametrize("value", [INF, float("nan")])
    def test_other_values_are_refused_beside_it(self, value):
        with pytest.raises(ValueError, match=f"`forward_func` must .* got {value}"):
            ContrastScore(lambda x: x)(torch.tensor([[1.0, -INF, value]]))


def test_nothing_changes_without_them(x):
    """-1e30, which some models write for -inf, is a logit like any other."""
    net = conv_net().double()
    nearly = copy.deepcopy(net)
    with torch.no_grad():
        nearly.head[-1].bias[3] = -1e30
    maps = LayerDiffGradCam(nearly, nearly.features).attribute(images().double(), target=1)
    expected = LayerDiffGradCam(net, net.features).attribute(images().double(), target=1, contrast=[0, 2, 4, 5])
    torch.testing.assert_close(maps, expected)
