"""Readers that calls in Python do not show: what TorchScript and ``torch.func`` run."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from captum_diffcam import LayerDiffGradCam

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # TorchScript is deprecated, and in use

    @torch.jit.script
    def scripted(a: Tensor) -> Tensor:
        return a.tanh() * 2

    @torch.jit.script
    def both(a: Tensor) -> tuple[Tensor, Tensor]:
        e = a * 2 + 1
        return e, e.tanh()

    traced = torch.jit.trace(lambda a: a.tanh() * 2, torch.ones(1, 4, 2, 2))


def helper(a):
    return library.scripted(a)


library = SimpleNamespace(scripted=scripted)


class Layer(nn.Module):
    """Returns what its convolution made, and keeps what a function makes of that."""

    def __init__(self, function) -> None:
        super().__init__()
        self.convolution, self.function = nn.Conv2d(3, 4, 3), function

    def forward(self, x):
        e = self.convolution(x)
        self.kept = self.function(e)
        return e


class ByName(Layer):
    def forward(self, x):
        e = self.convolution(x)
        self.kept = scripted(e)
        return e


class ByHelper(Layer):
    def forward(self, x):
        e = self.convolution(x)
        self.kept = helper(e)
        return e


class Both(Layer):
    def forward(self, x):
        e, self.kept = both(self.convolution(x))
        return e


class Model(nn.Module):
    def __init__(self, layer) -> None:
        super().__init__()
        self.layer, self.head = layer, nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 5))

    def forward(self, x):
        e = self.layer(x)
        return self.head(e) + self.head(self.layer.kept.square())


def by_hand(model, x):
    kept = []
    hook = model.layer.register_forward_hook(lambda module, args, output: kept.append(output))
    # Otherwise several operators of a scripted function are one to autograd.
    with hook, torch.jit.optimized_execution(False):
        z = model(x.clone().requires_grad_() * 1)
    (g,) = torch.autograd.grad((z[:, 1] - z[:, [0, 2, 3, 4]].logsumexp(1)).sum(), kept)
    return (g.mean((2, 3), keepdim=True) * kept[0].detach()).sum(1, keepdim=True)


@pytest.mark.parametrize(
    "layer",
    [
        Layer(torch.func.vmap(lambda a: a.tanh())),
        Layer(torch.func.grad(lambda a: (a**3).sum())),
        Layer(scripted),
        Layer(traced),
        Layer(lambda a: scripted(a)),
        ByName(None),
        ByHelper(None),
        Both(None),
    ],
    ids=["vmap", "grad", "scripted", "traced", "in a closure", "by name", "by a helper", "both"],
)
def test_the_map_is_that_of_the_full_graph(layer):
    torch.manual_seed(0)
    model, x = Model(layer), torch.rand(2, 3, 6, 6)
    for _ in range(3):  # TorchScript optimises what has run before
        maps = LayerDiffGradCam(model, layer).attribute(x, target=1)
        torch.testing.assert_close(maps, by_hand(model, x))
