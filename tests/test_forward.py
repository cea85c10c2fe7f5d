"""The map of a run that is cut at the layer is that of the whole graph, whatever the model does around the layer."""

from __future__ import annotations

import copy

import pytest
import torch
from nets import Net, reference, scaled
from torch import nn

from captum_diffcam import LayerDiffGradCam, LayerDiffGradCamPlusPlus

METHODS = [LayerDiffGradCam, LayerDiffGradCamPlusPlus]


@pytest.mark.parametrize("method", METHODS)
class TestModels:
    def test_with_work_in_place_behind_the_layer(self, method, net, x):
        """The usual Conv-BN-ReLU: the ReLU overwrites what the layer returned."""
        in_place = Net(net.features[0], nn.Sequential(nn.ReLU(inplace=True), net.head))
        outside = Net(net.features[0], nn.Sequential(nn.ReLU(), net.head))
        torch.testing.assert_close(reference(in_place, x, method), reference(outside, x, method))

    def test_with_a_layer_that_works_in_place(self, method, net, x):
        in_place = Net(nn.Sequential(net.features[0], nn.ReLU(inplace=True)), net.head)
        torch.testing.assert_close(
            method(in_place, in_place.features[1]).attribute(x, target=1, attribute_to_layer_input=True),
            method(net, net.features[1]).attribute(x, target=1, attribute_to_layer_input=True),
        )

    def test_with_a_forward_that_needs_its_own_graph(self, method, net, x):
        """A tensor hook before the layer, as attention roll-outs set them."""

        class Instrumented(Net):
            def forward(self, x):
                a = self.features[0](x)
                a.register_hook(lambda gradient: None)
                return self.head(self.features[1](a))

        model = Instrumented(net.features, net.head)
        maps = method(model, net.features[1]).attribute(x, target=1)
        torch.testing.assert_close(maps, method(net, net.features[1]).attribute(x, target=1))

    def test_with_an_output_that_the_model_puts_aside(self, method, net, x):
        """Feature hooks keep what the layer returned; the head reads that, or both."""
        aside = []
        net.features.register_forward_hook(lambda module, args, output: aside.append(output))

        class FromAside(Net):
            def forward(self, x):
                aside.clear()
                a = self.features(x)
                return self.head(aside[0]) + self.both * self.head(a)

        model = FromAside(net.features, net.head)
        for both in (0.0, 1.0):
            model.both = both
            maps = reference(model, x, method)
            create_graph = reference(model, x, method, grad_kwargs={"create_graph": True})
            torch.testing.assert_close(maps, create_graph.detach())
        torch.testing.assert_close(maps, reference(scaled(net, 2.0), x, method))

    def test_with_a_layer_that_returns_its_input(self, method, net, x):
        model = Net(nn.Identity(), nn.Sequential(net.features, net.head))
        maps = reference(model, x, method)
        assert maps.shape == (3, 1, 9, 9)
        assert not x.requires_grad

    def test_with_keyword_inputs_of_the_layer(self, method, net, x):
        class Keywords(Net):
            def forward(self, x):
                return self.head(self.features[1](input=self.features[0](x)))

        model = Keywords(net.features, net.head)
        maps = method(model, net.features[1]).attribute(x, target=1, attribute_to_layer_input=True)
        expected = method(net, net.features[1]).attribute(x, target=1, attribute_to_layer_input=True)
        torch.testing.assert_close(maps, expected)

    def test_with_a_layer_that_returns_more_than_tensors(self, method, net, x):
        class Verbose(nn.Module):
            def forward(self, a):
                return {"maps": a.relu(), "name": "relu", "index": torch.arange(3), "none": None}

        class Model(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.verbose = Verbose()

            def forward(self, x):
                return net.head(self.verbose(net.features[0](x))["maps"])

        model = Model()
        torch.testing.assert_close(method(model, model.verbose).attribute(x, target=1), reference(net, x, method))

    def test_a_shared_layer_is_explained_at_its_last_run(self, method, net, x):
        relu = nn.ReLU()
        model = nn.Sequential(net.features[0], relu, nn.Conv2d(5, 5, 1), relu, net.head).eval()
        with pytest.warns(UserWarning, match="layer"):
            maps = method(model, relu).attribute(x, target=1)
        split = Net(model[:4], model[4])
        torch.testing.assert_close(maps, reference(split, x, method))


class Residual(nn.Module):
    """The layer's input is read before the layer, by it, and after it."""

    def __init__(self, net) -> None:
        super().__init__()
        self.net, self.before, self.conv = net, nn.Conv2d(5, 5, 1), nn.Conv2d(5, 5, 3, padding=1)

    def forward(self, x):
        a = self.net.features(x)
        gate = self.before(a).sigmoid()
        return self.net.head(gate * self.conv(a) + a)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_an_input_that_is_read_elsewhere_too(method, net, x, frozen):
    """The gradient to what goes into the convolution counts the gate and the skip connection, as in Captum."""
    torch.manual_seed(0)
    model = Residual(net)
    a = net.features(x).detach().requires_grad_()
    z = net.head(model.before(a).sigmoid() * model.conv(a) + a)
    g = torch.autograd.grad((z[:, 1] - z[:, 4]).sum(), a)[0]
    a = a.detach()
    if method is LayerDiffGradCam:
        weights = g.mean((2, 3), keepdim=True)
    else:
        weights = (g.relu() / (2 + g.relu() * a.relu().sum((2, 3), keepdim=True))).sum((2, 3), keepdim=True)
    model.requires_grad_(not frozen)
    maps = method(model, model.conv).attribute(x, target=1, contrast=4, attribute_to_layer_input=True)
    torch.testing.assert_close(maps, (weights * a).sum(1, keepdim=True))


def test_a_layer_of_another_copy(net, x):
    with pytest.raises(ValueError, match="layer"):
        LayerDiffGradCam(copy.deepcopy(net), net.features).attribute(x, target=1)


def test_a_layer_that_never_runs(net, x):
    net.extra = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="layer"):
        LayerDiffGradCam(net, net.extra).attribute(x, target=1)


def test_a_layer_that_does_not_matter(net, x):
    class Aside(Net):
        def forward(self, x):
            self.aside(x)
            return super().forward(x)

    model = Aside(net.features, net.head)
    model.aside = nn.Conv2d(3, 2, 3)
    cam = LayerDiffGradCam(model, model.aside)
    with pytest.raises(ValueError, match="layer"):
        cam.attribute(x, target=1)
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="layer"):
        cam.attribute(x, target=1)
    maps = cam.attribute(x, target=1, grad_kwargs={"materialize_grads": True})
    assert maps.tolist() == torch.zeros(3, 1, 7, 7).tolist()


def test_a_layer_without_tensors(x):
    class Words(nn.Module):
        def forward(self, x):
            return "words"

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = Words()

        def forward(self, x):
            self.words(x)
            return x.flatten(1)

    model = Model()
    with pytest.raises(TypeError, match="layer"):
        LayerDiffGradCam(model, model.words).attribute(x, target=1)
