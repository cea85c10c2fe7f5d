"""What attribute() promises beside its formula: where it works, what it leaves, and how it refuses."""

from __future__ import annotations

import copy
import gc
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from captum.attr import LayerGradCam
from nets import Net, conv_net, images
from torch import nn

from captum_diffcam import LayerDiffGradCam, LayerDiffGradCamPlusPlus, top_rivals

METHODS = [LayerDiffGradCam, LayerDiffGradCamPlusPlus]


def reference(net, x, method=LayerDiffGradCam, **kwargs):
    """The map of the model by the plainest way: everything recorded, nothing special."""
    return method(net, net.features).attribute(x, **{"target": 1, **kwargs})


@pytest.mark.parametrize("method", METHODS)
class TestWhereItWorks:
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

    def test_on_an_empty_batch(self, method, net, x):
        assert reference(net, x[:0], method).shape == (0, 1, 7, 7)
        assert reference(net, x[:0], method, target=[], contrast=top_rivals(2)).shape == (0, 1, 7, 7)
        assert reference(net, x[:0], method, contrast=torch.zeros(0, 6, dtype=torch.bool)).shape == (0, 1, 7, 7)

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
        torch.testing.assert_close(maps, reference(lambda_of(net, 2.0), x, method))

    def test_with_a_layer_that_returns_its_input(self, method, net, x):
        model = Net(nn.Identity(), nn.Sequential(net.features, net.head))
        maps = reference(model, x, method)
        assert maps.shape == (3, 1, 9, 9)
        assert not x.requires_grad

    def test_with_data_parallel(self, method, net, x):
        parallel = nn.DataParallel(net)
        torch.testing.assert_close(method(parallel, net.features).attribute(x, target=1), reference(net, x, method))

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
        with pytest.warns(UserWarning, match="layer: ReLU runs more than once in one forward"):
            maps = method(model, relu).attribute(x, target=1)
        split = Net(model[:4], model[4])
        torch.testing.assert_close(maps, reference(split, x, method))


@pytest.mark.parametrize("method", METHODS)
def test_threads_do_not_see_each_other(method):
    """Both are inside the model at once, between the hooks' registration and the layer."""
    inside = threading.Barrier(2)

    class Meeting(Net):
        def forward(self, x):
            inside.wait(timeout=60)
            return super().forward(x)

    net, x = conv_net(), images(8)
    model = Meeting(net.features, net.head)
    with ThreadPoolExecutor(2) as threads:
        maps = list(threads.map(lambda half: reference(model, half, method), x.split(4)))
    torch.testing.assert_close(torch.cat(maps), reference(net, x, method))


def lambda_of(net, factor):
    """The same model, its logits multiplied."""

    class Scaled(Net):
        def forward(self, x):
            return factor * super().forward(x)

    return Scaled(net.features, net.head)


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


def test_threads_do_not_see_each_other_with_the_whole_graph(net, x):
    """One thread differentiates maps, the other runs the model without gradients, both at once."""
    inside = threading.Barrier(2)

    class Meeting(Net):
        def forward(self, x):
            inside.wait(timeout=60)
            return super().forward(x)

    model = Meeting(net.features, net.head)

    def plain(x):
        with torch.no_grad():
            output = model(x)
            return output.requires_grad, torch.is_grad_enabled()

    with ThreadPoolExecutor(2) as threads:
        maps = threads.submit(reference, model, x, grad_kwargs={"create_graph": True})
        beside = threads.submit(plain, x[:2])
        assert beside.result() == (False, False)
        torch.testing.assert_close(maps.result().detach(), reference(net, x))


def test_autocast_goes_on_training(net, x):
    """Weights that autocast had cast without a graph would get no gradient from what follows in the block."""
    with torch.autocast("cpu", torch.bfloat16):
        reference(net, x)
        assert torch.is_autocast_cache_enabled()
        net(x).float().logsumexp(1).sum().backward()
    assert all(p.grad is not None for p in net.parameters())


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


class TestWhatItLeaves:
    def test_the_callers_state(self, net, x):
        net.features[0].weight.requires_grad_(False)
        net.head[-1].weight.grad = torch.ones_like(net.head[-1].weight)
        net.head.train()
        before = self.state(net, x)
        for kwargs in ({"target": 1}, {"target": 1, "grad_kwargs": {"create_graph": True}}):
            reference(net, x, **kwargs)
            self.assert_same(self.state(net, x), before)

    @pytest.mark.parametrize(
        "kwargs",
        [
            {"target": 99},
            {"target": 1, "contrast": [1]},
            {"target": 1, "contrast": lambda logits, target: 1 / 0},
            {"target": 1, "reduction": "median"},
            {"target": 1, "additional_forward_args": "too many"},
            {"target": 1, "grad_kwargs": {"no_such_argument": 1}},
        ],
        ids=str,
    )
    def test_the_callers_state_after_an_error(self, net, x, kwargs):
        before = self.state(net, x)
        with torch.no_grad(), pytest.raises(Exception):  # noqa: B017, PT011 - whichever error it is
            reference(net, x, **kwargs)
        self.assert_same(self.state(net, x), before)

    def test_the_callers_state_after_an_error_in_the_model(self, net, x):
        class Failing(Net):
            def forward(self, x):
                self.features(x)
                raise KeyError("the model's own error")

        model = Failing(net.features, net.head)
        before = self.state(model, x)
        with pytest.raises(KeyError, match="the model's own error"):
            reference(model, x)
        self.assert_same(self.state(model, x), before)

    @pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad])
    def test_random_numbers_are_drawn_as_by_one_forward(self, net, x, mode):
        """Also where the model has to run again with the whole graph."""

        class Noisy(Net):
            def forward(self, x):
                with mode():
                    a = self.features(x)
                return self.head(a)

        noisy = Noisy(net.features, nn.Sequential(nn.Dropout(), net.head)).train()
        torch.manual_seed(0)
        noisy(x)
        after_forward = torch.get_rng_state()
        torch.manual_seed(0)
        reference(noisy, x)
        torch.testing.assert_close(torch.get_rng_state(), after_forward)

    def test_maps_carry_no_graph(self, net, x):
        maps = reference(net, x)
        assert not maps.requires_grad
        assert maps.numpy().shape == (3, 1, 7, 7)

    def test_nothing_behind_a_thousand_calls(self, net, x):
        """No hook stays, no tensor stays alive."""
        cam = LayerDiffGradCam(net, net.features)

        def alive():
            gc.collect()
            return sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects())

        cam.attribute(x, target=1)
        before = alive()
        for _ in range(1000):
            cam.attribute(x[:1], target=1)
        assert alive() <= before
        assert all(not m._forward_hooks and not m._forward_pre_hooks for m in net.modules())

    @staticmethod
    def state(net, x):
        return {
            "weights": copy.deepcopy(net.state_dict()),
            "requires_grad": [t.requires_grad for t in (*net.parameters(), x)],
            "grad": [t.grad if t.grad is None else t.grad.clone() for t in (*net.parameters(), x)],
            "training": [m.training for m in net.modules()],
            "hooks": [
                (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks)) for m in net.modules()
            ],
            "modes": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
            "random": torch.get_rng_state(),
            "x": x.detach().clone(),
        }

    @staticmethod
    def assert_same(after, before):
        torch.testing.assert_close(after, before, rtol=0, atol=0, allow_subclasses=False)


class TestErrors:
    @pytest.mark.parametrize(
        ("kwargs", "error", "message"),
        [
            ({"target": 6}, IndexError, "target: class 6 is out of range; allowed are 0 to 5"),
            ({"target": -1}, IndexError, "target: class -1 is out of range"),
            ({"target": [0, 1, 7]}, IndexError, "target: class 7 is out of range"),
            ({"target": torch.tensor([0, -2, 1])}, IndexError, "target: class -2 is out of range"),
            ({"target": [0, 1]}, ValueError, "target: got 2 targets; the batch has 3"),
            ({"target": torch.tensor([0, 1])}, ValueError, "target: got 2 targets; the batch has 3"),
            ({"target": torch.zeros(3, 2, dtype=torch.int64)}, ValueError, r"target: got a tensor of shape \(3, 2\)"),
            ({"target": None}, ValueError, r"target: got None; the output of forward_func, of shape \(3, 6\)"),
            ({"target": (1, 2)}, ValueError, r"target: got \(1, 2\); an output of shape \(N, 6\) takes a class"),
            ({"target": ()}, ValueError, r"target: got \(\)"),
            ({"target": 1.0}, TypeError, "target: got 1.0 of type float"),
            ({"target": True}, TypeError, "target: got True of type bool"),
            ({"target": "1"}, TypeError, "target: got '1' of type str"),
            ({"target": torch.tensor([0.0, 1, 2])}, TypeError, "target: got 0.0 of type float"),
            ({"target": [0, [1], 2]}, TypeError, r"target: got \[1\] of type list"),
            ({"target": 1, "contrast": 6}, IndexError, "contrast: class 6 is out of range; allowed are 0 to 5"),
            ({"target": 1, "contrast": [0, 1]}, ValueError, "contrast: the target class 1 of example 0"),
            ({"target": 1, "contrast": [[0]] * 2}, ValueError, "contrast: got sets for 2 examples; the batch has 3"),
            ({"target": 1, "contrast": 0.5}, TypeError, "contrast: got 0.5 of type float"),
            (
                {"target": 1, "reduction": "sum"},
                ValueError,
                "reduction: got 'sum'; allowed are 'logsumexp', 'mean', 'max'",
            ),
            ({"target": 1, "reduction": None}, ValueError, "reduction: got None"),
        ],
        ids=str,
    )
    def test_arguments(self, net, x, kwargs, error, message):
        with pytest.raises(error, match=f"^{message}"):
            LayerDiffGradCam(net, net.features).attribute(x, **kwargs)

    @pytest.mark.parametrize(
        ("grad_kwargs", "message"),
        [("x", "grad_kwargs: got str; allowed is a dict"), ({"nope": 1}, "grad_kwargs: got 'nope'; allowed are")],
    )
    def test_grad_kwargs(self, net, x, grad_kwargs, message):
        with pytest.raises(TypeError, match=message):
            reference(net, x, grad_kwargs=grad_kwargs)

    @pytest.mark.parametrize("inputs", [(), (1, 2)])
    def test_tuples_of_inputs(self, net, inputs):
        with pytest.raises(TypeError, match=r"inputs: got \(.*\); allowed is a tensor or a tuple of tensors"):
            reference(net, inputs)

    @pytest.mark.parametrize(
        ("output", "error", "message"),
        [
            (lambda z: z.argmax(1), TypeError, "forward_func: returned a tensor of torch.int64"),
            (lambda z: z.to(torch.complex64), TypeError, "forward_func: returned a tensor of torch.complex64"),
            (lambda z: z.sum(), ValueError, r"forward_func: returned shape \(\)"),
            (lambda z: z[:, :0], ValueError, r"forward_func: returned shape \(3, 0\)"),
            (lambda z: z[0], ValueError, r"target: got 1; an output of shape \(N,\) has no classes"),
        ],
    )
    def test_outputs_that_are_no_logits(self, net, x, output, error, message):
        with pytest.raises(error, match=message):
            LayerDiffGradCam(lambda x: output(net(x)), net.features).attribute(x, target=1)

    def test_sets_of_the_wrong_length_that_could_be_repeats(self, net, x):
        """Two sets for four examples are two repeats of each, but then each two have one target."""
        x = images(4)
        cam = LayerDiffGradCam(net, net.features)
        cam.attribute(x, target=[0, 0, 1, 1], contrast=[[4], [5]])
        with pytest.raises(ValueError, match="contrast: got sets for 2 examples; the batch has 4"):
            cam.attribute(x, target=[0, 1, 2, 3], contrast=[[4], [5]])

    @pytest.mark.parametrize("inputs", [[[1.0]], "x", None, 3.0])
    def test_inputs(self, net, inputs):
        with pytest.raises(TypeError, match=f"inputs: got {type(inputs).__name__}"):
            LayerDiffGradCam(net, net.features).attribute(inputs, target=1)

    @pytest.mark.parametrize(
        ("target", "message"), [((1, 9, 0), "position 9 along dimension 2"), ((1, 0, -1), "position -1")]
    )
    def test_positions(self, net, x, target, message):
        with pytest.raises(IndexError, match=f"target: {message}"):
            LayerDiffGradCam(lambda x: net.features(x), net.features[0]).attribute(x, target=target)

    def test_a_segmentation_needs_a_position(self, net, x):
        with pytest.raises(ValueError, match=r"target: got 1; .* takes a class and 2 position\(s\), as a tuple"):
            LayerDiffGradCam(net.features, net.features[0]).attribute(x, target=1)

    def test_a_layer_of_another_copy(self, net, x):
        with pytest.raises(
            ValueError, match="layer: Sequential did not run in forward_func and is not one of its modules"
        ):
            LayerDiffGradCam(copy.deepcopy(net), net.features).attribute(x, target=1)

    def test_a_layer_that_never_runs(self, net, x):
        net.extra = nn.Linear(2, 2)
        with pytest.raises(ValueError, match=r"layer: Linear did not run in forward_func$"):
            LayerDiffGradCam(net, net.extra).attribute(x, target=1)

    def test_a_layer_that_does_not_matter(self, net, x):
        class Aside(Net):
            def forward(self, x):
                self.aside(x)
                return super().forward(x)

        model = Aside(net.features, net.head)
        model.aside = nn.Conv2d(3, 2, 3)
        cam = LayerDiffGradCam(model, model.aside)
        with pytest.raises(ValueError, match="layer: the score does not depend on all of the layer's tensors"):
            cam.attribute(x, target=1)
        model.requires_grad_(False)
        with pytest.raises(ValueError, match="layer: the score does not depend on all of the layer's tensors"):
            cam.attribute(x, target=1)
        maps = cam.attribute(x, target=1, grad_kwargs={"materialize_grads": True})
        assert maps.tolist() == torch.zeros(3, 1, 7, 7).tolist()

    def test_a_layer_without_tensors(self, x):
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
        with pytest.raises(TypeError, match="layer: Words has no floating-point tensor at its output"):
            LayerDiffGradCam(model, model.words).attribute(x, target=1)

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
    def test_logits_that_are_not_finite(self, net, x, value):
        with torch.no_grad():
            net.head[-1].bias[3] = value
        with pytest.raises(ValueError, match=f"forward_func: returned the logit {value}; allowed are finite ones"):
            LayerDiffGradCam(net, net.features).attribute(x, target=1)

    @pytest.mark.parametrize("output", [{"out": 1}, (1, 2), None])
    def test_outputs_that_are_no_tensor(self, net, x, output):
        with pytest.raises(
            TypeError, match=f"forward_func: returned {type(output).__name__}; allowed is a tensor of logits"
        ):
            LayerDiffGradCam(lambda x: net(x) is None or output, net.features).attribute(x, target=1)

    def test_constructor(self, net):
        with pytest.raises(TypeError, match=r"layer: got str; allowed is a torch\.nn\.Module"):
            LayerDiffGradCam(net, "features")
        with pytest.raises(TypeError, match="forward_func: got int; allowed is a model or another callable"):
            LayerDiffGradCam(3, net.features)


def test_a_weighting_rule_of_ones_own(net, x):
    """Layer Grad-CAM with a maximum in place of the mean: a subclass names the rule."""

    class LayerMaxCam(LayerDiffGradCam):
        channel_weights = staticmethod(lambda activations, gradients: gradients.amax((2, 3), keepdim=True))

    maps = LayerMaxCam(net, net.features).attribute(x, target=1, contrast=[])
    a = net.features(x).detach().requires_grad_()
    gradient = torch.autograd.grad(net.head(a)[:, 1].sum(), a)[0]
    torch.testing.assert_close(maps, (gradient.amax((2, 3), keepdim=True) * a).sum(1, keepdim=True).detach())


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
