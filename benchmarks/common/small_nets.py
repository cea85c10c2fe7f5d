"""Small classifiers of images of 56 x 56 pixels, of three architectures, trained here in a minute or two.

Each is features, pooling and a linear head, and the features put out 7 x 7 positions: the layer to explain.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.common.glyph_classifier import fit


class Classifier(nn.Module):
    """Features, pooling and a head. Shapes: (N, 3, 56, 56) -> (N, C)."""

    def __init__(self, features: nn.Sequential, pooling: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.features, self.pooling, self.head = features, pooling, head

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.head(self.pooling(self.features(images)).flatten(1))
        return logits


class TwoSided(nn.Module):
    """One logit as two, -z/2 and z/2, whose softmax is the sigmoid: a model with a single output, as classes.

    Of (N, 1) the library explains the one logit, whichever way the decision goes; there is nothing to contrast it with.
    This form gives each decision a class. Plain Grad-CAM of class 1 is then that of z/2 and DiffGradCAM that of z: one
    logit *is* a difference, and every reduction gives the same map as Grad-CAM.
    """

    def forward(self, logit: Tensor) -> Tensor:
        """Logits of both classes. Shapes: (N, 1) -> (N, 2)."""
        return torch.cat([-logit, logit], dim=1) / 2


class _Residual(nn.Module):
    """Two convolutions beside a skip, which is a 1 x 1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_convolution(inputs, outputs, stride),
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
    """Patches of 8 x 8 pixels as tokens, a class token before them, and where each of them is."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 8, 8)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.places = nn.Parameter(0.02 * torch.randn(1, 50, width))

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).mT
        return torch.cat([self.class_token.expand(len(tokens), -1, -1), tokens], dim=1) + self.places


class _MeanToken(nn.Module):
    """The mean over patches, without the class token, as global pooling does. Shapes: (N, T, D) -> (N, D)."""

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens[:, 1:].mean(dim=1)


def _convolution(
    inputs: int, outputs: int, stride: int = 1, kernel: int = 3, padding: int | None = None
) -> list[nn.Module]:
    # Without in-place operations: maps are differentiated through.
    padding = kernel // 2 if padding is None else padding
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=padding, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]


def _plain(width: int) -> nn.Sequential:
    """The glyphs' classifier, narrower: five parts."""
    return nn.Sequential(
        nn.Sequential(*_convolution(3, width, 2, 5)),
        nn.Sequential(*_convolution(width, 2 * width, 2)),
        nn.Sequential(*_convolution(2 * width, 4 * width)),
        nn.MaxPool2d(2),
        nn.Sequential(*_convolution(4 * width, 4 * width)),
    )


def _residual(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Sequential(*_convolution(3, width, 2, 5)),
        _Residual(width, width, 1),
        _Residual(width, 2 * width, 2),
        _Residual(2 * width, 4 * width, 2),
    )


def _vgg(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Sequential(*_convolution(3, width), nn.MaxPool2d(2)),
        nn.Sequential(*_convolution(width, 2 * width), nn.MaxPool2d(2)),
        nn.Sequential(*_convolution(2 * width, 4 * width), *_convolution(4 * width, 4 * width), nn.MaxPool2d(2)),
        nn.Sequential(*_convolution(4 * width, 4 * width)),
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
    "vgg": _vgg,
    "vit": _vit,
}


def _one_cell(width: int) -> nn.Sequential:
    """A position sees the 8 x 8 pixels of its own cell and nothing else."""
    return nn.Sequential(
        nn.Sequential(*_convolution(3, 2 * width, 8, 8, padding=0)),
        nn.Sequential(*_convolution(2 * width, 4 * width, kernel=1)),
        nn.Sequential(*_convolution(4 * width, 4 * width, kernel=1)),
    )


def _everything(width: int) -> nn.Sequential:
    """The plain one with two more convolutions, of which the last sees all 7 x 7 positions from each."""
    wide = nn.Conv2d(4 * width, 4 * width, 3, padding=3, dilation=3, bias=False)
    return nn.Sequential(*_plain(width), nn.Sequential(wide, nn.BatchNorm2d(4 * width), nn.ReLU()))


FIELDS: dict[str, Callable[[int], nn.Sequential]] = {
    "one cell": _one_cell,
    "37 pixels": _plain,
    "whole image": _everything,
}
"""Nets that differ in how much of the image one position sees: 8, 37 and all 56 pixels."""
LAYOUTS = {"vit": "vit"}
"""The keyword ``layout`` of the attribution classes, where it is not the convolutional one."""


def build(architecture: str, classes: int, seed: int, width: int = 16, *, one_logit: bool = False) -> Classifier:
    """An untrained classifier. With ``one_logit`` its two classes are the two sides of a single number."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        tokens = architecture == "vit"
        head: nn.Module = nn.Linear(4 * width, 1 if one_logit else classes)
        if one_logit:
            head = nn.Sequential(head, TwoSided())
        pooling = _MeanToken() if tokens else nn.AdaptiveAvgPool2d(1)
        return Classifier({**ARCHITECTURES, **FIELDS}[architecture](width), pooling, head).eval()


def trained(
    architecture: str,
    classes: int,
    images: Tensor,
    labels: Tensor,
    seed: int,
    *,
    width: int = 16,
    one_logit: bool = False,
) -> Classifier:
    """A classifier of these images. Shapes: images (N, 3, 56, 56), labels (N,)."""
    model = build(architecture, classes, seed, width, one_logit=one_logit)
    fit(model.train(), images, labels, seed, classes=classes)
    return model.eval()
