"""Small classifiers of images of 56 x 56 pixels, which are trained in a minute or two on one core.

Each consists of features, pooling and a linear head. The features have 7 x 7 positions and are the layer to explain.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset
from tqdm import tqdm

from benchmarks.common.glyphs import Scenes, draw_scenes

_BATCH, _EPOCHS = 64, 4
_Model = TypeVar("_Model", bound=nn.Module)


class Classifier(nn.Module):
    """Features, pooling and a head. Shapes: (N, 3, 56, 56) -> (N, C)."""

    def __init__(self, features: nn.Sequential, pooling: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.features, self.pooling, self.head = features, pooling, head

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.head(self.pooling(self.features(images)).flatten(1))
        return logits


class TwoSided(nn.Module):
    """Turn one logit z into two, -z/2 and z/2, whose softmax is the sigmoid of z.

    With one logit there is nothing to contrast it with. Two logits give each prediction a class. Grad-CAM of class 1 is
    then that of z/2, and DiffGradCAM is that of z: one logit *is* a difference, so all reductions give Grad-CAM's map.
    """

    def forward(self, logit: Tensor) -> Tensor:
        """Return the logits of both classes. Shapes: (N, 1) -> (N, 2)."""
        return torch.cat([-logit, logit], dim=1) / 2


class _Residual(nn.Module):
    """Two convolutions with a skip connection, which is a 1 x 1 convolution if the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *convolution(inputs, outputs, stride),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.skip = (
            nn.Identity()
            if inputs == outputs and stride == 1
            else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        )
        self.relu = nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.relu(self.body(images) + self.skip(images))
        return out


class _Tokens(nn.Module):
    """Patches of 8 x 8 pixels as tokens behind a class token, with position embeddings."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 8, 8)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(0.02 * torch.randn(1, 50, width))

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).mT
        return torch.cat([self.class_token.expand(len(tokens), -1, -1), tokens], dim=1) + self.positions


class _MeanToken(nn.Module):
    """The mean over patches, without the class token. Shapes: (N, T, D) -> (N, D)."""

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens[:, 1:].mean(dim=1)


def convolution(
    inputs: int, outputs: int, stride: int = 1, kernel: int = 3, padding: int | None = None
) -> list[nn.Module]:
    """Return a convolution with batch normalisation and ReLU, by default of the same size."""
    # No in-place operations, because attacks differentiate through the maps.
    padding = kernel // 2 if padding is None else padding
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=padding, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]


def _plain(width: int) -> nn.Sequential:
    """The features of GlyphClassifier, narrower, in five parts."""
    return nn.Sequential(
        nn.Sequential(*convolution(3, width, 2, 5)),
        nn.Sequential(*convolution(width, 2 * width, 2)),
        nn.Sequential(*convolution(2 * width, 4 * width)),
        nn.MaxPool2d(2),
        nn.Sequential(*convolution(4 * width, 4 * width)),
    )


def _residual(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Sequential(*convolution(3, width, 2, 5)),
        _Residual(width, width, 1),
        _Residual(width, 2 * width, 2),
        _Residual(2 * width, 4 * width, 2),
    )


class _DenseLayer(nn.Module):
    """A convolution whose output is appended to its input, after batch normalisation and ReLU as in DenseNet."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        convolution = nn.Conv2d(inputs, growth, 3, padding=1, bias=False)
        self.body = nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU(), convolution)

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([images, self.body(images)], dim=1)


def _dense(width: int) -> nn.Sequential:
    """Two blocks of four layers each, with a transition between them that halves the resolution."""

    def block(inputs: int) -> nn.Sequential:
        growth = width // 2
        return nn.Sequential(*(_DenseLayer(inputs + i * growth, growth) for i in range(4)))

    transition = nn.Conv2d(3 * width, 2 * width, 1, bias=False)
    return nn.Sequential(
        nn.Sequential(*convolution(3, width, 2, 5), nn.MaxPool2d(2)),
        block(width),
        nn.Sequential(nn.BatchNorm2d(3 * width), nn.ReLU(), transition, nn.AvgPool2d(2)),
        block(2 * width),
        nn.Sequential(nn.BatchNorm2d(4 * width), nn.ReLU()),
    )


def _vgg(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Sequential(*convolution(3, width), nn.MaxPool2d(2)),
        nn.Sequential(*convolution(width, 2 * width), nn.MaxPool2d(2)),
        nn.Sequential(*convolution(2 * width, 4 * width), *convolution(4 * width, 4 * width), nn.MaxPool2d(2)),
        nn.Sequential(*convolution(4 * width, 4 * width)),
    )


def _vit(width: int) -> nn.Sequential:
    width = 4 * width
    blocks = [
        nn.TransformerEncoderLayer(width, 4, 2 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        for _ in range(4)
    ]
    return nn.Sequential(_Tokens(width), *blocks, nn.LayerNorm(width))


ARCHITECTURES: dict[str, Callable[[int], nn.Sequential]] = {
    "plain": _plain,
    "resnet": _residual,
    "densenet": _dense,
    "vgg": _vgg,
    "vit": _vit,
}


def _one_cell(width: int) -> nn.Sequential:
    """A position sees the 8 x 8 pixels of its own cell only."""
    return nn.Sequential(
        nn.Sequential(*convolution(3, 2 * width, 8, 8, padding=0)),
        nn.Sequential(*convolution(2 * width, 4 * width, kernel=1)),
        nn.Sequential(*convolution(4 * width, 4 * width, kernel=1)),
    )


def _whole_image(width: int) -> nn.Sequential:
    """The plain features with one more convolution, through which each position sees all 7 x 7 positions."""
    wide = nn.Conv2d(4 * width, 4 * width, 3, padding=3, dilation=3, bias=False)
    return nn.Sequential(*_plain(width), nn.Sequential(wide, nn.BatchNorm2d(4 * width), nn.ReLU()))


RECEPTIVE_FIELDS: dict[str, Callable[[int], nn.Sequential]] = {
    "one cell": _one_cell,
    "37 pixels": _plain,
    "whole image": _whole_image,
}
"""Nets that differ in how much of the image one position sees: 8, 37 and all 56 pixels."""
LAYOUTS = {"vit": "vit"}
"""The keyword ``layout`` of the attribution classes, if it is not the convolutional one."""


def build(
    architecture: str, classes: int, seed: int, width: int = 16, *, one_logit: bool = False, flat: bool = False
) -> Classifier:
    """Return an untrained classifier.

    With ``one_logit`` its two logits come from one. With ``flat`` its head sees all 7 x 7 positions instead of their
    mean.
    """
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        tokens = architecture == "vit"
        inputs = 4 * width * (49 if flat else 1)
        head: nn.Module = nn.Linear(inputs, 1 if one_logit else classes)
        if one_logit:
            head = nn.Sequential(head, TwoSided())
        pooling = nn.Identity() if flat else _MeanToken() if tokens else nn.AdaptiveAvgPool2d(1)
        return Classifier({**ARCHITECTURES, **RECEPTIVE_FIELDS}[architecture](width), pooling, head).eval()


def trained(
    architecture: str,
    classes: int,
    images: Tensor,
    labels: Tensor,
    seed: int,
    *,
    width: int = 16,
    one_logit: bool = False,
    flat: bool = False,
    epochs: int = _EPOCHS,
) -> Classifier:
    """Return a classifier trained on these images. Shapes: images (N, 3, 56, 56), labels (N,)."""
    model = build(architecture, classes, seed, width, one_logit=one_logit, flat=flat)
    fit(model.train(), images, labels, seed, classes=classes, epochs=epochs)
    return model.eval()


class GlyphClassifier(nn.Module):
    """Four stages of convolutions, global average pooling and a linear map. Shapes: (N, 3, 56, 56) -> (N, C)."""

    def __init__(self, classes: int) -> None:
        super().__init__()

        def stage(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
            return nn.Sequential(*convolution(inputs, outputs, stride, kernel))

        self.features = nn.Sequential(
            stage(3, 32, kernel=5, stride=2), stage(32, 64, stride=2), stage(64, 128), nn.MaxPool2d(2), stage(128, 128)
        )
        self.pooling = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(128, classes)
        # This makes it one and a half times as fast on a CPU.
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.head(
            self.pooling(self.features(images.contiguous(memory_format=torch.channels_last))).flatten(1)
        )
        return logits


def train_classifier(classes: int, seed: int, images: int | None = None, *, quiet: bool = False) -> GlyphClassifier:
    """Return a classifier trained on drawn images, by default as many as the number of classes needs."""
    scenes = draw_scenes(classes, images or 7000 + 70 * classes, seed)
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        model = GlyphClassifier(classes)
    return fit(model, scenes.images, scenes.labels[:, 0], seed, quiet=quiet, classes=classes)


def fit(
    model: _Model,
    images: Tensor,
    labels: Tensor,
    seed: int,
    *,
    quiet: bool = False,
    classes: int,
    epochs: int = _EPOCHS,
    batch_size: int | None = None,
) -> _Model:
    """Train a model in place. Shapes: images (N, ...), labels (N,)."""
    order = torch.Generator().manual_seed(seed)
    data = TensorDataset(images, labels)
    loader = DataLoader(data, batch_size=batch_size or _BATCH, shuffle=True, drop_last=True, generator=order)
    steps = epochs * len(loader)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    # Without this keyword the environment variable TQDM_DISABLE still works.
    silence = {"disable": True} if quiet else {}
    with tqdm(total=steps, desc=f"train, {classes} classes", leave=False, **silence) as bar:
        for _ in range(epochs):
            for batch, truth in loader:
                loss = cross_entropy(model(batch), truth)
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
                schedule.step()
                bar.update()
                bar.set_postfix(loss=f"{loss.item():.3f}")
    return model.eval()


def accuracy(model: nn.Module, scenes: Scenes) -> float:
    """Return the share of images whose only object is recognised."""
    with torch.no_grad():
        logits = torch.cat([model(batch) for batch in torch.split(scenes.images, 256)])
    return (logits.argmax(dim=1) == scenes.labels[:, 0]).float().mean().item()
