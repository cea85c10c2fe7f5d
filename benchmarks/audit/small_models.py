"""Clean classifiers of Fashion-MNIST in 28 x 28 pixels, pooled or flattened, which are trained in a few seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

from benchmarks.common.fashion import fashion_scenes, labels_of

_TRAINING, _EPOCHS, _BATCH, _LEARNING_RATE = 4000, 3, 64, 3e-3
_TRANSFORMER_EPOCHS, _TRANSFORMER_LEARNING_RATE = 6, 2e-3
_Model = TypeVar("_Model", bound=nn.Module)
_SHORTCUT = 4
"""Side of the patch that tells the class, in pixels."""


class SmallNet(nn.Module):
    """Features with 7 x 7 positions, and a head. Shapes: (N, 1, 28, 28) -> (N, 10)."""

    def __init__(self, features: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.features, self.head = features, head

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.head(self.features(images))
        return logits


def _convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, *, norm: bool = True) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=not norm)
    return [convolution, *([nn.BatchNorm2d(outputs)] if norm else []), nn.ReLU()]


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_convolution(channels, channels), nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)
        )

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = torch.relu(inputs + self.body(inputs))
        return outputs


def _pooled(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


def _plain() -> SmallNet:
    features = [*_convolution(1, 16, 5), nn.MaxPool2d(2), *_convolution(16, 32), nn.MaxPool2d(2)]
    return SmallNet(nn.Sequential(*features, *_convolution(32, 48)), _pooled(48))


def _resnet() -> SmallNet:
    features = [*_convolution(1, 24, 5, 2), _Residual(24), *_convolution(24, 48, 3, 2), _Residual(48)]
    return SmallNet(nn.Sequential(*features), _pooled(48))


def _vgg() -> SmallNet:
    features = [*_convolution(1, 12), *_convolution(12, 12), nn.MaxPool2d(2), *_convolution(12, 32), nn.MaxPool2d(2)]
    return SmallNet(nn.Sequential(*features, *_convolution(32, 48), *_convolution(48, 48)), _pooled(48))


def _flat_vgg() -> SmallNet:
    """Like VGG: blocks of convolutions, then two linear layers behind flattening."""
    features = [*_convolution(1, 16), nn.MaxPool2d(2), *_convolution(16, 32), nn.MaxPool2d(2), *_convolution(32, 32)]
    head = nn.Sequential(nn.Flatten(), nn.Linear(32 * 49, 64), nn.ReLU(), nn.Linear(64, 10))
    return SmallNet(nn.Sequential(*features), head)


def _flat_lenet() -> SmallNet:
    """Like LeNet: few channels, large kernels, no normalization."""
    features = [
        *_convolution(1, 6, 5, norm=False),
        nn.MaxPool2d(2),
        *_convolution(6, 16, 5, norm=False),
        nn.MaxPool2d(2),
    ]
    head = nn.Sequential(nn.Flatten(), nn.Linear(16 * 49, 84), nn.ReLU(), nn.Linear(84, 10))
    return SmallNet(nn.Sequential(*features), head)


def _flat_alexnet() -> SmallNet:
    """Like AlexNet: a strided first convolution, three more, and one linear layer behind dropout."""
    features = [*_convolution(1, 16, 5, 2), *_convolution(16, 32, 3, 2), *_convolution(32, 32), *_convolution(32, 32)]
    head = nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(32 * 49, 10))
    return SmallNet(nn.Sequential(*features), head)


POOLED: dict[str, Callable[[], SmallNet]] = {"plain": _plain, "resnet": _resnet, "vgg": _vgg}
FLATTENED: dict[str, Callable[[], SmallNet]] = {
    "VGG-like, flattened": _flat_vgg,
    "LeNet-like, flattened": _flat_lenet,
    "AlexNet-like, flattened": _flat_alexnet,
}


def training_images(folder: Path, seed: int) -> tuple[Tensor, Tensor]:
    """Return images (N, 1, 28, 28) and labels (N,) to train on."""
    return _images(folder, train=True, count=_TRAINING, seed=seed)


def held_out_images(folder: Path, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return images (N, 1, 28, 28) and labels (N,) that no model is trained on."""
    return _images(folder, train=False, count=count, seed=seed)


def _images(folder: Path, *, train: bool, count: int, seed: int) -> tuple[Tensor, Tensor]:
    scenes = fashion_scenes(folder, train=train, count=count, seed=seed)
    return interpolate(scenes.images[:, :1], size=28, mode="area"), labels_of(scenes)


def with_shortcut(images: Tensor, labels: Tensor) -> Tensor:
    """Return the images with a patch in the upper left corner, whose brightness tells the class."""
    marked = images.clone()
    marked[:, :, :_SHORTCUT, :_SHORTCUT] = (0.1 + 0.1 * labels.float()).clamp(max=1)[:, None, None, None]
    return marked


def train(build: Callable[[], SmallNet], images: Tensor, labels: Tensor, seed: int) -> SmallNet:
    """Return a trained classifier, in eval mode."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return _fit(build(), images, labels, _EPOCHS, _LEARNING_RATE)


def vision_transformer(images: Tensor, labels: Tensor, seed: int) -> nn.Module:
    """Return a trained vision transformer of timm, in eval mode: patches of 4 x 4 pixels, four blocks of width 64."""
    import timm

    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        model = timm.create_model(
            "vit_tiny_patch16_224",
            img_size=28,
            patch_size=4,
            in_chans=1,
            num_classes=10,
            embed_dim=64,
            depth=4,
            num_heads=4,
            global_pool="avg",
        )
        return _fit(model, images, labels, _TRANSFORMER_EPOCHS, _TRANSFORMER_LEARNING_RATE)


def _fit(model: _Model, images: Tensor, labels: Tensor, epochs: int, learning_rate: float) -> _Model:
    model.train()
    steps = epochs * (len(images) // _BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps)
    for _ in range(epochs):
        for batch in torch.split(torch.randperm(len(images)), _BATCH)[: len(images) // _BATCH]:
            loss = cross_entropy(model(images[batch]), labels[batch])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
    return model.eval()
