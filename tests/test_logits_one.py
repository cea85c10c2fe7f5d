"""Models with one logit: which class is explained, with which sign, and the same model with two logits."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam
from nets import Net, conv_net, images
from torch import Tensor, nn

from captum_diffcam import (
    CamMethod,
    ContrastScore,
    EquivariantPart,
    GuidedDiffGradCam,
    InputAttribution,
    LayerDiffGradCam,
    LayerDiffGradCamPlusPlus,
    attacks,
    audit,
    last_spatial_layer,
    predicted,
    top_rivals,
    two_logits,
)

X = images(4)


class Shaped(nn.Module):
    """The head of a one-logit model, with an output of another shape."""

    def __init__(self, head: nn.Module, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.head, self.shape = head, shape

    def forward(self, a: Tensor) -> Tensor:
        return self.head(a).reshape(-1, *self.shape)


def one_logit(shape: tuple[int, ...] = (1,)) -> Net:
    """Its logits of the four images are positive and negative."""
    net = conv_net(classes=1)
    with torch.no_grad():
        net.head[-1].bias -= net(X).flatten().sort().values[1:3].mean()
    return Net(net.features, Shaped(net.head, shape)).eval()


def of_the_logit(net: Net, method: type[LayerDiffGradCam] = LayerDiffGradCam, sign: float = 1.0) -> Tensor:
    """The map of the logit itself, times a sign, from its gradient."""
    a = net.features(X).detach().requires_grad_()
    (g,) = torch.autograd.grad(sign * net.head(a).sum(), a)
    if method is LayerDiffGradCam:
        weights = g.mean((2, 3), keepdim=True)
    else:
        weights = (g.relu() / (2 + g.relu() * a.relu().sum((2, 3), keepdim=True))).sum((2, 3), keepdim=True)
    return (weights * a).sum(1, keepdim=True).detach()


SHAPES = [(), (1,), (1, 1, 1)]
METHODS = [LayerDiffGradCam, LayerDiffGradCamPlusPlus]


class TestPredicted:
    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("contrast", [None, [], top_rivals(5)])
    @pytest.mark.parametrize("method", METHODS)
    def test_the_map_speaks_for_the_class_that_is_named(self, method, contrast, shape):
        net = one_logit(shape)
        z = net(X).detach().flatten()
        assert (z > 0).sum() == (z < 0).sum() == 2
        result = method(net, net.features).explain(X, contrast=contrast)
        assert result.target.tolist() == (z > 0).long().tolist()
        torch.testing.assert_close(result.score, z.abs())
        torch.testing.assert_close(result.logits, net(X).detach())
        expected = torch.where((z > 0)[:, None, None, None], of_the_logit(net, method), of_the_logit(net, method, -1))
        torch.testing.assert_close(result.maps, expected)

    def test_by_itself(self):
        assert predicted(torch.tensor([[0.3], [-0.2]])).tolist() == [1, 0]
        assert predicted(torch.tensor([0.3, -0.2, 0.0])).tolist() == [1, 0, 0]
        assert predicted(torch.tensor([[0.3], [-0.2]])).dtype == torch.int64
        assert predicted(torch.tensor([[0.3, -0.2]])).tolist() == [0]

    def test_other_callables_see_two_classes(self):
        net = one_logit()
        seen = []

        def largest(logits):
            seen.append(logits)
            return logits.argmax(dim=1)

        cam = LayerDiffGradCam(net, net.features)
        torch.testing.assert_close(cam.attribute(X, largest), cam.attribute(X, predicted))
        z = net(X).detach()
        torch.testing.assert_close(seen[0], torch.cat([0 * z, z], dim=1))

    def test_rivals(self):
        """The other class is the only rival."""
        net = one_logit()
        cam = LayerDiffGradCam(net, net.features)
        result = cam.attribute_rivals(X, predicted)
        assert result.rivals.flatten().tolist() == (1 - result.target).tolist()
        assert result.weights.tolist() == [[1.0]] * 4
        torch.testing.assert_close(result.maps[:, 0], cam.attribute(X, predicted))

    def test_through_other_methods(self):
        net = one_logit()
        cam = LayerDiffGradCam(net, net.features)
        z = net(X).detach().flatten()
        sign = z.sign()[:, None, None, None]
        of_image = InputAttribution(cam).attribute(X, predicted)
        torch.testing.assert_close(of_image, sign * InputAttribution(cam).attribute(X))
        guided = GuidedDiffGradCam(net, net.features).attribute(X, predicted)
        for n in range(4):
            named = two_logits(net)
            alone = GuidedDiffGradCam(named, net.features).attribute(X[n : n + 1], int(z[n] > 0))
            torch.testing.assert_close(guided[n : n + 1], alone)
        part = EquivariantPart(cam, shifts=1)
        torch.testing.assert_close(part.attribute(X, predicted), sign * part.attribute(X, 0))
        together = part.attribute(X, predicted, shifts_per_eval=4)
        torch.testing.assert_close(together, part.attribute(X, predicted))


class TestTheLogitItself:
    """Integers keep the meaning that they have in Captum."""

    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("target", [None, 0, [0, 0, 0, 0], torch.zeros(4, dtype=torch.int64), np.array([0]), (0,)])
    @pytest.mark.parametrize("method", METHODS)
    def test_is_class_one(self, method, target, shape):
        net = one_logit(shape)
        z = net(X).detach().flatten()
        for contrast in (None, []):
            result = method(net, net.features).explain(X, target, contrast=contrast)
            torch.testing.assert_close(result.maps, of_the_logit(net, method))
            assert result.target.tolist() == [1] * 4
            torch.testing.assert_close(result.score, z)

    def test_as_captum_has_it(self):
        net = one_logit()
        expected = LayerGradCam(net, net.features).attribute(X, 0)
        torch.testing.assert_close(LayerDiffGradCam(net, net.features).attribute(X, 0), expected.detach())

    @pytest.mark.parametrize("target", [1, [0, 1, 0, 1], -1, (1,), torch.tensor(1)])
    @pytest.mark.parametrize("shape", SHAPES)
    def test_there_is_no_other(self, shape, target):
        net = one_logit(shape)
        with pytest.raises(IndexError, match=r"`target`.*`predicted`.*two_logits"):
            LayerDiffGradCam(net, net.features).attribute(X, target)

    @pytest.mark.parametrize("choose", [lambda z: torch.full((4,), 2), lambda z: torch.full((4,), -1)])
    def test_callables_choose_between_two(self, choose):
        net = one_logit()
        with pytest.raises(IndexError, match=r"`target`.* 0 to 1"):
            LayerDiffGradCam(net, net.features).attribute(X, choose)

    def test_its_rival_is_class_zero(self):
        net = one_logit()
        cam = LayerDiffGradCam(net, net.features)
        torch.testing.assert_close(cam.attribute(X, 0, contrast=0), cam.attribute(X, 0))
        with pytest.raises(ValueError, match="`contrast` must"):
            cam.attribute(X, 0, contrast=1)

    def test_at_a_position(self):
        features = conv_net().features
        head = nn.Conv2d(5, 1, 7, padding=3)
        cam = LayerDiffGradCam(nn.Sequential(features, head), features)
        a = features(X).detach().requires_grad_()
        (g,) = torch.autograd.grad(head(a)[:, 0, 2, 3].sum(), a)
        expected = (g.mean((2, 3), keepdim=True) * a).sum(1, keepdim=True).detach()
        result = cam.explain(X, (0, 2, 3))
        torch.testing.assert_close(result.maps, expected)
        assert result.target.tolist() == [1] * 4

    def test_ruled_out(self):
        net = one_logit()
        for target in (None, predicted):
            with pytest.raises(ValueError, match="`target` must"):
                LayerDiffGradCam(lambda x: net(x) - torch.inf, net.features).attribute(X, target)

    def test_its_graph(self):
        net = one_logit()
        maps = LayerDiffGradCam(net, net.features).attribute(X, predicted, grad_kwargs={"create_graph": True})
        gradients = torch.autograd.grad(maps.square().sum(), list(net.features.parameters()))
        assert all(gradient.isfinite().all() and gradient.any() for gradient in gradients)


class TestTwoLogits:
    @pytest.mark.parametrize("shape", [(), (1,), (1, 1, 1), (1, 1)])
    def test_softmax_is_the_sigmoid(self, shape):
        net = one_logit(shape)
        output = two_logits(net)(X)
        z = net(X)
        assert output.shape == (4, 2, *shape[1:])
        torch.testing.assert_close(output.flatten(1).softmax(1)[:, 1], z.flatten().sigmoid())
        assert not output[:, 0].any()
        torch.testing.assert_close(output[:, 1].flatten(), z.flatten())

    def test_at_every_position(self):
        z = torch.randn(2, 1, 3, 4)
        output = two_logits(lambda x: x)(z)
        assert output.shape == (2, 2, 3, 4)
        torch.testing.assert_close(output[:, 1:], z)
        torch.testing.assert_close(output[:, 0], torch.zeros(2, 3, 4))

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("shape", SHAPES)
    def test_its_maps(self, method, shape):
        """Of class 1 that of the logit, of class 0 that of its negative."""
        net = one_logit(shape)
        cam = method(two_logits(net), net.features)
        torch.testing.assert_close(cam.attribute(X, cam_target(1, shape)), of_the_logit(net, method))
        torch.testing.assert_close(cam.attribute(X, cam_target(0, shape)), of_the_logit(net, method, -1))
        torch.testing.assert_close(cam.attribute(X, predicted), method(net, net.features).attribute(X, predicted))

    def test_it_is_a_module_around_the_model(self):
        net = one_logit()
        wrapped = two_logits(net)
        assert net.features in set(wrapped.modules())
        assert [id(p) for p in wrapped.parameters()] == [id(p) for p in net.parameters()]
        assert not wrapped.training
        assert wrapped.train().training
        assert all(module.training for module in net.modules())
        assert not any(module.training for module in wrapped.eval().modules())
        assert two_logits(net.train()).training
        net.eval()
        for copied in (copy.deepcopy(wrapped), pickle.loads(pickle.dumps(wrapped))):
            torch.testing.assert_close(copied(X), wrapped(X))

    def test_layers_can_be_found(self):
        net = one_logit()
        wrapped = two_logits(net)
        assert wrapped.get_submodule("model.features") is net.features
        assert last_spatial_layer(wrapped, X).layer is last_spatial_layer(net, X).layer

    def test_arguments_and_dtype_pass_through(self):
        net = one_logit()
        wrapped = two_logits(lambda x, factor, *, offset: factor * net(x) + offset)
        torch.testing.assert_close(wrapped(X, 2.0, offset=1.0)[:, 1:], 2 * net(X) + 1)
        assert two_logits(net.double())(X.double()).dtype == torch.float64
        assert two_logits(lambda x: x.half())(torch.ones(2, 1)).dtype == torch.float16
        assert two_logits(lambda x: x)(torch.empty(2, 1, device="meta")).shape == (2, 2)

    def test_scores(self):
        net = one_logit()
        z = net(X)
        torch.testing.assert_close(ContrastScore(two_logits(net))(X), torch.cat([-z, z], dim=1))
        torch.testing.assert_close(ContrastScore(net)(X), z)

    @pytest.mark.parametrize(
        ("model", "error"), [(3, TypeError), (lambda x: [x], TypeError), (lambda x: x, ValueError)]
    )
    def test_errors(self, model, error):
        with pytest.raises(error, match=r"`(model|forward_func)` must"):
            two_logits(model)(torch.zeros(2, 3))


def cam_target(index: int, shape: tuple[int, ...]) -> int | tuple[int, ...]:
    return (index, *[0] * (len(shape) - 1)) if len(shape) > 1 else index


class TestComparingClasses:
    """An audit or attack compares classes: of one logit it says how to get two."""

    def test_audit(self):
        net = one_logit()
        methods = [CamMethod(LayerDiffGradCam), CamMethod(LayerDiffGradCam, contrast=[])]
        with pytest.raises(ValueError, match=r"`model` must .*two_logits"):
            audit.audit(net, X.repeat(4, 1, 1, 1), layer=net.features, methods=methods)

    def test_fool(self):
        net = one_logit()
        with pytest.raises(ValueError, match=r"`model` must .*two_logits"):
            attacks.fool(net, net.features, [(X, torch.zeros(4, dtype=torch.int64))], steps=1)
