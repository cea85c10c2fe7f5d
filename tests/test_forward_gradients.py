"""What is recorded: grad modes, inference mode, frozen weights, maps that are differentiable themselves."""

from __future__ import annotations

import pytest
import torch
from captum.attr import LayerGradCam
from nets import Net, conv_net, images, reference

from captum_diffcam import LayerDiffGradCam, LayerDiffGradCamPlusPlus

METHODS = [LayerDiffGradCam, LayerDiffGradCamPlusPlus]


@pytest.mark.parametrize("method", METHODS)
class TestGradModes:
    def test_under_no_grad(self, method, net, x):
        expected = reference(net, x, method)
        with torch.no_grad():
            torch.testing.assert_close(reference(net, x, method), expected)
            assert not torch.is_grad_enabled()
        assert torch.is_grad_enabled()

    def test_in_inference_mode(self, method, net, x):
        expected = reference(net, x, method)
        with torch.inference_mode():
            torch.testing.assert_close(reference(net, x, method), expected)
            assert torch.is_inference_mode_enabled()

    def test_on_inference_tensors(self, method, net, x):
        expected = reference(net, x, method)
        with torch.inference_mode():
            made_inside = images()
        torch.testing.assert_close(reference(net, made_inside, method), expected)
        target = {"target": 1, "grad_kwargs": {"create_graph": True}}
        torch.testing.assert_close(reference(net, made_inside, method, **target).detach(), expected)

    def test_on_a_model_made_in_inference_mode(self, method, net, x):
        expected = reference(net, x, method)
        with torch.inference_mode():
            model, inputs = conv_net(), images()
            assert all(p.is_inference() for p in model.parameters())
            torch.testing.assert_close(reference(model, inputs, method), expected)
        torch.testing.assert_close(reference(model, inputs, method), expected)

    def test_on_a_function_of_a_model_made_in_inference_mode(self, method, net, x):
        """Nobody can see the weights from outside: a lambda, and a layer that has none."""
        expected = method(net, net.features[1]).attribute(x, target=1)
        with torch.inference_mode():
            model = conv_net()
        cam = method(lambda x: model(x), model.features[1])
        torch.testing.assert_close(cam.attribute(x, target=1), expected)

    def test_with_frozen_parameters(self, method, net, x):
        expected = reference(net, x, method)
        net.requires_grad_(False)
        torch.testing.assert_close(reference(net, x, method), expected)
        assert not any(p.requires_grad for p in net.parameters())

    def test_with_inputs_that_require_grad(self, method, net, x):
        expected = reference(net, x, method)
        x.requires_grad_()
        maps = reference(net, x, method)
        torch.testing.assert_close(maps, expected)
        assert not maps.requires_grad
        assert x.grad is None

    @pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
    def test_with_a_backbone_that_runs_without_grad(self, method, net, x, mode):
        class Frozen(Net):
            def forward(self, x):
                with mode():
                    a = self.features(x)
                return self.head(a)

        torch.testing.assert_close(reference(Frozen(net.features, net.head), x, method), reference(net, x, method))

    def test_with_a_layer_inside_a_block_without_grad(self, method, net, x):
        """The block goes on behind the layer, and ends before the model does."""

        class Frozen(Net):
            def forward(self, x):
                with torch.no_grad():
                    a = self.head[0](self.features(x))
                return self.head[1:](a)

        torch.testing.assert_close(reference(Frozen(net.features, net.head), x, method), reference(net, x, method))


class TestCreateGraph:
    @pytest.mark.parametrize("method", METHODS)
    def test_the_map_is_differentiable_down_to_the_weights(self, method):
        """Central differences of the map's sum against autograd, for a weight before and one behind the layer."""
        net, x = conv_net(signed=True).double(), images().double()
        cam = method(net, net.features)

        def value():
            return cam.attribute(x, target=1, grad_kwargs={"create_graph": True}).square().sum()

        for weight in (net.features[0].weight, net.head[-1].weight):
            (gradient,) = torch.autograd.grad(value(), weight)
            entry = (1,) * weight.ndim
            with torch.no_grad():
                weight[entry] += 1e-5
                above = value().item()
                weight[entry] -= 2e-5
                below = value().item()
                weight[entry] += 1e-5
            assert gradient[entry].item() != 0
            assert gradient[entry].item() == pytest.approx((above - below) / 2e-5, rel=1e-4)

    def test_under_no_grad(self, net, x):
        with torch.no_grad():
            maps = reference(net, x, grad_kwargs={"create_graph": True})
        assert maps.requires_grad

    def test_down_to_the_inputs(self, net, x):
        x.requires_grad_()
        maps = reference(net, x, grad_kwargs={"create_graph": True})
        (gradient,) = torch.autograd.grad(maps.sum(), x)
        assert gradient.abs().max() > 0


@pytest.mark.parametrize("method", METHODS)
def test_nothing_before_the_layer_is_recorded(net, x, method):
    """The convolution saves its input for the backward pass under Captum, and for create_graph, but not here."""

    def saves_the_input(explain):
        saved = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: (saved.append(t.shape), t)[1], lambda t: t):
            explain()
        return x.shape in saved

    assert saves_the_input(lambda: LayerGradCam(net, net.features).attribute(x, target=1))
    assert saves_the_input(lambda: reference(net, x, method, grad_kwargs={"create_graph": True}))
    assert not saves_the_input(lambda: reference(net, x, method))
    assert not saves_the_input(lambda: method(net, net.features).attribute_rivals(x, 1))


def test_grad_outputs_are_one_for_each_example(net, x):
    factors = torch.linspace(-1, 2, len(x))
    maps = reference(net, x, grad_kwargs={"grad_outputs": tuple(factors)})
    torch.testing.assert_close(maps, factors.view(-1, 1, 1, 1) * reference(net, x))


class CudnnRecurrence(torch.autograd.Function):
    """Has no backward pass while cuDNN is on, like a recurrent layer in eval mode on a GPU."""

    @staticmethod
    def forward(ctx, x):
        ctx.on_cudnn = torch.backends.cudnn.enabled
        return 3 * x

    @staticmethod
    def backward(ctx, gradient):
        if ctx.on_cudnn:
            raise RuntimeError("cudnn RNN backward can only be called in training mode")
        return 3 * gradient


@pytest.mark.parametrize("enabled", [True, False])
def test_a_recurrent_layer_without_a_backward_pass_of_cudnn(net, x, enabled):
    """The model runs once more without cuDNN, and the switch is as before afterwards."""

    def through_cudnn(x):
        return CudnnRecurrence.apply(net(x))

    expected = LayerDiffGradCam(lambda x: 3 * net(x), net.features).attribute(x, 1)
    with torch.backends.cudnn.flags(enabled=enabled):
        maps = LayerDiffGradCam(through_cudnn, net.features).attribute(x, 1)
        assert torch.backends.cudnn.enabled is enabled
    torch.testing.assert_close(maps, expected)
