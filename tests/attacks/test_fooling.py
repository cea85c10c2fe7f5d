"""Fine-tuned forgeries: the map goes to the hoax, decisions stay, and nothing of the caller's is touched."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from captum.attr import LayerGradCam
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from captum_diffcam import CamMethod, LayerDiffGradCam
from captum_diffcam.attacks import fool, hoax_map
from captum_diffcam.metrics import cam_entropy, pearson

GRAD_CAM = CamMethod(LayerGradCam)


def maps(model, layer, data, method=GRAD_CAM):
    return method.maps(model, layer, data[0][256:], data[1][256:])


def accuracy(model, data):
    with torch.no_grad():
        return (model(data[0][256:]).argmax(dim=1) == data[1][256:]).float().mean()


@pytest.mark.parametrize("labelled", [True, False])
def test_grad_cam_shows_the_hoax_and_decisions_stay(model, data, batches, labelled):
    given = batches if labelled else [images for images, _ in batches]
    forged = fool(model, model.features, given, steps=250, learning_rate=5e-3, weight=8.0)
    honest, lied = maps(model, model.features, data), maps(forged.model, forged.layer, data)
    hoax = hoax_map((8, 8), cam_entropy(honest).mean().item())
    assert pearson(honest, hoax[None]).mean() < 0
    assert pearson(lied, hoax[None]).mean() > 0.5
    assert accuracy(forged.model, data) >= accuracy(model, data) - 0.02
    assert len(forged.history) == 250


@pytest.mark.parametrize("attribution", [LayerGradCam, LayerDiffGradCam])
def test_maps_and_decisions_come_from_one_forward_pass(model, data, batches, attribution, monkeypatch):
    passes = []
    monkeypatch.setattr(nn.Dropout, "forward", counted(nn.Dropout.forward, passes))
    steps = 3
    fool(model, model.features, batches, hoax_map((8, 8), 3.33), methods=CamMethod(attribution), steps=steps)
    # One of the honest model, for its predictions, and one of the forged.
    assert len(passes) == 2 * steps


def counted(run, passes):
    def forward(self, *arguments):
        passes.append(self)
        return run(self, *arguments)

    return forward


def test_several_methods_take_turns(model, data, batches):
    methods = [GRAD_CAM, CamMethod(LayerDiffGradCam, reduction="mean")]
    forged = fool(model, model.features, batches, methods=methods, steps=300, learning_rate=5e-3, weight=8.0)
    for method in methods:
        lied = maps(forged.model, forged.layer, data, method)
        hoax = hoax_map((8, 8), cam_entropy(maps(model, model.features, data, method)).mean().item())
        assert (
            pearson(lied, hoax[None]).mean()
            > pearson(maps(model, model.features, data, method), hoax[None]).mean() + 0.4
        )


def test_nothing_of_the_callers_is_touched(model, batches):
    model = copy.deepcopy(model)
    model.train()
    model.head.eval()
    model.features[0].weight.requires_grad_(False)
    model.head[3].weight.grad = torch.ones_like(model.head[3].weight)
    before = copy.deepcopy(model.state_dict())
    modes = [module.training for module in model.modules()]
    random = torch.get_rng_state()
    with torch.no_grad():
        forged = fool(model, model.features, batches, steps=3)
        assert not torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes == [m.training for m in forged.model.modules()]
    assert torch.equal(model.head[3].weight.grad, torch.ones(3, 16))
    for parameter, original in zip(forged.model.parameters(), model.parameters(), strict=True):
        assert parameter.grad is None
        assert parameter.requires_grad == original.requires_grad
    # All parameters are trained whatever their flag; statistics of the batches are not.
    changed = {name for name, value in forged.model.state_dict().items() if not torch.equal(before[name], value)}
    assert changed == {name for name, _ in model.named_parameters()}
    assert not any(module._forward_hooks for module in (*model.modules(), *forged.model.modules()))


def test_which_parameters_are_trained(model, batches):
    forged = fool(model, model.features, batches, steps=3, parameters=["head", "features.4"])
    original = model.state_dict()
    changed = {name for name, value in forged.model.state_dict().items() if not torch.equal(original[name], value)}
    assert changed == {"features.4.weight", "features.4.bias", "head.3.weight", "head.3.bias"}


def test_a_module_is_named_whole(model, batches):
    """ "head.3" does not mean head.30, and a single name need not be in a list."""
    forged = fool(model, model.features, batches, steps=3, parameters="head.3")
    original = model.state_dict()
    changed = {name for name, value in forged.model.state_dict().items() if not torch.equal(original[name], value)}
    assert changed == {"head.3.weight", "head.3.bias"}
    with pytest.raises(ValueError, match="parameters: got 'feat'"):
        fool(model, model.features, batches, steps=1, parameters="feat")


def test_a_seed_gives_the_same_forgery(model, data):
    loader = DataLoader(TensorDataset(*data), batch_size=16, shuffle=True)
    one, same, other = (fool(model, model.features, loader, steps=4, classes="all", seed=seed) for seed in (1, 1, 2))
    assert one.history == same.history != other.history
    assert torch.equal(one.model.head[3].weight, same.model.head[3].weight)


class Interrupting:
    """Batches, until somebody presses Ctrl-C."""

    def __init__(self, batches, after):
        self.batches, self.after = batches, after

    def __iter__(self):
        yield from self.batches[: self.after]
        raise KeyboardInterrupt


def test_an_interrupt_returns_the_best_so_far(model, batches):
    forged = fool(model, model.features, Interrupting(batches, 9), steps=100, learning_rate=1e-3, weight=20.0)
    assert len(forged.history) == 9
    assert not torch.equal(forged.model.head[3].weight, model.head[3].weight)
    at_once = fool(model, model.features, Interrupting(batches, 0), steps=100)
    assert at_once.history == ()
    assert torch.equal(at_once.model.head[3].weight, model.head[3].weight)


def test_the_lowest_loss_is_returned_not_the_last(model, data, batches):
    """A rate so high that training only does harm: what comes back is the honest model."""
    forged = fool(model, model.features, batches, steps=10, learning_rate=3.0)
    assert forged.history[-1][0] > forged.history[0][0]
    assert torch.equal(forged.model.head[3].weight, model.head[3].weight)


def test_a_loss_that_explodes_ends_the_training(model, batches):
    losses = iter([1.0, 0.5, 0.25, float("nan")])

    def exploding(maps, honest, hoax):
        return maps.flatten(1).mean(dim=1) * 0 + next(losses)

    with pytest.warns(UserWarning, match="learning_rate: with 0.001 the loss became nan"):
        forged = fool(model, model.features, batches, steps=20, map_loss=exploding, weight=100.0)
    assert [on_maps for _, on_maps in forged.history] == pytest.approx([1.0, 0.5, 0.25])
    assert not torch.equal(forged.model.head[3].weight, model.head[3].weight)


def test_an_attention_can_be_fooled():
    """Its fused kernels have no second derivative."""

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches, self.norm = nn.Conv2d(3, 8, 4, stride=4), nn.LayerNorm(8)
            self.attention, self.head = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 3)

        def forward(self, x):
            tokens = self.norm(self.patches(x).flatten(2).transpose(1, 2))
            return self.head(self.attention(tokens, tokens, tokens, need_weights=False)[0].mean(dim=1))

    model = Attention().eval()
    method = CamMethod(partial(LayerDiffGradCam, layout="vit"), contrast=[])
    data = [torch.rand(4, 3, 16, 16)]
    forged = fool(model, model.norm, data, hoax_map((4, 4), 2.0794), methods=method, steps=3)
    assert not torch.equal(forged.model.head.weight, model.head.weight)
