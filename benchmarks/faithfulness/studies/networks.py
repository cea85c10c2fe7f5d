"""The classifiers of these studies, each cut into a stem and a tail of pooling or flattening and a linear layer.

All methods explain the tail's input, which is the usual layer: the last one with positions. The gradients of the logits
with respect to it are the same as in the whole model.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.transforms import Normalize

from benchmarks.common.models import Classifier, load_classifier
from benchmarks.common.names import MOBILENET
from benchmarks.common.small_nets import ARCHITECTURES, build, fit
from benchmarks.common.small_nets import Classifier as SmallClassifier
from benchmarks.common.staged import Tail

FLATTENED, VIT = "VGG-like, flattened", "ViT"
SMALL = (FLATTENED, VIT)
"""The classifiers that are trained here, on images of 56 x 56 pixels."""
SMALL_CLASSES = 10


@dataclass(frozen=True)
class Network:
    """A classifier in eval mode, in two parts. Images are (N, 3, H, W) with values from 0 to 1."""

    name: str
    stem: nn.Module
    """From images to feature maps (N, K, h, w)."""
    tail: Tail
    """From feature maps to logits (N, C). Its ``features`` is the explained layer, an identity."""

    @property
    def whole(self) -> nn.Sequential:
        """The classifier from images to logits."""
        return nn.Sequential(self.stem, self.tail)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.whole.parameters()).device

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Return the explained feature maps. Shapes: (N, 3, H, W) -> (N, K, h, w)."""
        maps: Tensor = self.stem(images.contiguous(memory_format=torch.channels_last))
        return maps.contiguous()


def real_network(name: str, device: torch.device) -> Network:
    """Return EfficientNet-Lite0 or MobileNetV2 with ImageNet's weights, which must be installed."""
    classifier = load_classifier(name, None, device)
    model: Any = classifier.model
    if name == MOBILENET:
        return _network(classifier, model.features, model.classifier[1])
    parts = [model._conv_stem, model._bn0, nn.ReLU6(), *model._blocks, model._conv_head, model._bn1, nn.ReLU6()]
    return _network(classifier, nn.Sequential(*parts), model._fc)


def _network(classifier: Classifier, features: nn.Module, head: nn.Module) -> Network:
    preprocess = classifier.preprocess
    stem = nn.Sequential(OrderedDict(normalize=_Normalized(preprocess.mean, preprocess.std), features=features))
    # A forward pass takes three quarters of the time with this layout on a CPU.
    stem.to(memory_format=torch.channels_last)
    tail = Tail(nn.Identity(), nn.AdaptiveAvgPool2d(1), head)
    return Network(classifier.name, stem.eval(), tail.eval())


class _Normalized(nn.Module):
    """Turn images from 0 to 1 into what a classifier expects."""

    def __init__(self, mean: Any, std: Any) -> None:
        super().__init__()
        self.transform = Normalize(mean, std)

    def forward(self, images: Tensor) -> Tensor:
        normal: Tensor = self.transform(images)
        return normal


class _Unshared(nn.Module):
    """Return the same values with a gradient that is no view, because pytorch-grad-cam detaches it in place."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps * 1


class _PatchMaps(nn.Module):
    """Drop the class token and arrange the others as maps. Shapes: (N, 1 + h * h, K) -> (N, K, h, h)."""

    def forward(self, tokens: Tensor) -> Tensor:
        patches = tokens[:, 1:].mT
        side = round(patches.shape[2] ** 0.5)
        return patches.reshape(*patches.shape[:2], side, side)


def small_network(name: str, weights: dict[str, Tensor] | None = None, seed: int = 0) -> SmallClassifier:
    """Return one of the classifiers that are trained here, untrained or with these weights.

    The ViT averages its patches and has a linear head. The head of the VGG-like one has a weight for each position.
    """
    if name == VIT:
        model = build("vit", SMALL_CLASSES, seed)
    else:
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            head = nn.Linear(64 * 7 * 7, SMALL_CLASSES)
            model = SmallClassifier(ARCHITECTURES["vgg"](16), nn.Identity(), head).eval()
    if weights is not None:
        model.load_state_dict(weights)
    return model


def train_small(
    name: str, images: Tensor, labels: Tensor, seed: int, *, quiet: bool, device: torch.device
) -> dict[str, Tensor]:
    """Return the weights of a small classifier after training. Shapes: images (N, 3, 56, 56), labels (N,)."""
    model = small_network(name, seed=seed).train().to(device)
    fit(model, images.to(device), labels.to(device), seed, quiet=quiet, classes=SMALL_CLASSES)
    return dict(model.state_dict())


def cut_small(name: str, model: SmallClassifier) -> Network:
    """Return a small classifier, cut before its pooling or flattening."""
    if name == VIT:
        stem = nn.Sequential(model.features, _PatchMaps())
        return Network(name, stem.eval(), Tail(nn.Identity(), nn.AdaptiveAvgPool2d(1), model.head).eval())
    return Network(name, model.features, Tail(nn.Identity(), _Unshared(), model.head).eval())
