"""What a run leaves as it was: the caller's model, inputs, random numbers and modes, and no memory."""

from __future__ import annotations

import copy
import gc

import pytest
import torch
from nets import Net, reference
from torch import nn
from torch.nn.utils import parametrize

from captum_diffcam import LayerDiffGradCam


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
            pytest.param({"target": 1, "contrast": lambda logits, target: 1 / 0}, id="an error of the callable"),
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

    @pytest.mark.filterwarnings("ignore:.*in train mode")
    @pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad])
    def test_random_numbers_are_as_before(self, net, x, mode):
        """Also for a model that draws some, and where recording is switched off before the layer."""

        class Noisy(Net):
            def forward(self, x):
                with mode():
                    a = self.features(x)
                return self.head(a)

        noisy = Noisy(net.features, nn.Sequential(nn.Dropout(), net.head)).train()
        before = torch.get_rng_state()
        first = reference(noisy, x)
        assert torch.get_rng_state().equal(before)
        assert reference(noisy, x).equal(first)
        noisy(x)
        assert not torch.get_rng_state().equal(before)

    def test_maps_carry_no_graph(self, net, x):
        maps = reference(net, x)
        assert not maps.requires_grad
        assert maps.numpy().shape == (3, 1, 7, 7)

    def test_nothing_behind_many_calls(self, net, x):
        """No hook stays, no tensor stays alive."""
        cam = LayerDiffGradCam(net, net.features)

        def alive():
            gc.collect()
            return sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects())

        cam.attribute(x, target=1)
        before = alive()
        for _ in range(200):
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


def test_autocast_goes_on_training(net, x):
    """Weights that autocast had cast without a graph would get no gradient from what follows in the block."""
    with torch.autocast("cpu", torch.bfloat16):
        reference(net, x)
        assert torch.is_autocast_cache_enabled()
        net(x).float().logsumexp(1).sum().backward()
    assert all(p.grad is not None for p in net.parameters())


class _ReadsEarlier(nn.Module):
    """A layer whose tensor is read before its hook fires, so that the model has to run twice."""

    def __init__(self, layer, before) -> None:
        super().__init__()
        self.layer, self.before, self.after = layer, before, nn.Conv2d(3, 5, 3)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def forward(self, x, *more):
        e = self.before(x, *more)
        return self.pool(self.after(e)) + self.pool(self.after(self.layer(e)).sin())


@pytest.mark.parametrize("more", [(), (torch.ones(()),)], ids=["input", "additional"])
def test_inputs_that_the_model_changes_in_place(x, more):
    """The model gets copies, in both runs where it has to run twice."""
    model = _ReadsEarlier(nn.Identity(), lambda x, *more: x + more[0].mul_(2) if more else x.mul_(2)).eval()
    plain = _ReadsEarlier(model.layer, lambda x, *more: x + 2 * more[0] if more else 2 * x).eval()
    plain.load_state_dict(model.state_dict())
    before = x.clone()
    for at_input in (True, False):
        maps = LayerDiffGradCam(model, model.layer).attribute(x, 1, more or None, attribute_to_layer_input=at_input)
        expected = LayerDiffGradCam(plain, plain.layer).attribute(x, 1, more or None, attribute_to_layer_input=at_input)
        torch.testing.assert_close(maps, expected)
    assert x.equal(before)
    assert all(value == 1 for value in more)


def test_a_model_that_keeps_something_from_run_to_run(x):
    calls = []
    model = _ReadsEarlier(nn.Identity(), lambda x: x * (calls.append(x) or len(calls))).eval()
    with pytest.warns(UserWarning, match="forward_func"):
        found = LayerDiffGradCam(model, model.layer).explain(x, 1, attribute_to_layer_input=True)
    assert len(calls) == 2
    calls.pop()
    torch.testing.assert_close(found.logits, model(x).detach())


def test_parametrizations_that_the_caller_caches(net, x):
    """A weight that a map without the whole graph had computed would be a constant to what follows."""
    parametrize.register_parametrization(net.features[0], "weight", nn.Softplus())
    with parametrize.cached():
        reference(net, x, target=1)
        net(x).logsumexp(1).sum().backward()
    assert net.features[0].parametrizations.weight.original.grad.any()


@pytest.mark.parametrize("around", [True, False])
def test_backward_hooks_are_given_the_gradients_of_inputs(net, x, around):
    module, given = net if around else net.features, []
    expected = reference(net, x, target=1)
    with module.register_full_backward_hook(lambda module, inputs, outputs: given.append(inputs)):
        torch.testing.assert_close(reference(net, x, target=1), expected)
    assert all(gradient is not None for (gradient,) in given)
