"""Small models for the tests, each as features and head, so that a replica can differentiate the head by itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from captum_diffcam import LayerDiffGradCam


class Net(nn.Module):
    """Features, then a head; the layer to explain is the features' last module."""

    def __init__(self, features: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.features = features
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def conv_net(dims: int = 2, *, classes: int = 6, channels: int = 5, signed: bool = False, seed: int = 0) -> Net:
    """A convolutional classifier over 1, 2 or 3 spatial dimensions, with a head that is not linear."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        conv = [nn.Conv1d, nn.Conv2d, nn.Conv3d][dims - 1]
        norm = [nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d][dims - 1]
        pool = [nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d][dims - 1]
        last = norm(channels) if signed else nn.ReLU()
        features = nn.Sequential(conv(3, channels, 3), last)
        head = nn.Sequential(
            nn.Tanh(),
            conv(channels, 7, 3),
            pool(2),
            nn.Flatten(),
            nn.Linear(7 * 2**dims, 16),
            nn.GELU(),
            nn.Linear(16, classes),
        )
        with torch.no_grad():
            head[-1].weight.mul_(6)
        return Net(features, head).eval()


def linear_net(*, classes: int = 6, seed: int = 0) -> Net:
    """A classifier whose layer has no positions."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, classes))
        return Net(nn.Sequential(nn.Linear(4, 8), nn.ReLU()), head).eval()


def images(examples: int = 3, dims: int = 2, size: int = 9, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(examples, 3, *[size] * dims, generator=generator)


def scaled(net: Net, factor: float, offset: float = 0.0) -> Net:
    """The same model, its logits multiplied and moved."""

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = net.head

        def forward(self, a: Tensor) -> Tensor:
            return factor * self.head(a) + offset

    return Net(net.features, Scaled())


class Spotter(nn.Module):
    """Class c is as likely as channel c is bright; the map of its one layer is the image itself."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.pool, self.linear = nn.AvgPool2d(4), nn.AdaptiveAvgPool2d(1), nn.Linear(3, 3)
        with torch.no_grad():
            self.linear.weight.copy_(40 * torch.eye(3))
            self.linear.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.pool(self.layer(x)).flatten(1))


def reference(net: Net, x: Tensor, method: type[LayerDiffGradCam] = LayerDiffGradCam, **kwargs: object) -> Tensor:
    """The map of a model whose features are the layer, nothing special about it."""
    return method(net, net.features).attribute(x, **{"target": 1, **kwargs})
