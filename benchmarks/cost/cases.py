"""One case to measure: a job, a model with random weights, one of its layers, and random images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torchvision
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn

from benchmarks.common.names import LITE0
from benchmarks.cost.jobs import INPUT, LAYERS, MAP, MODEL_LAYERS

LAYOUTS: dict[str, Literal["vit"]] = {"vit_b_16": "vit"}
"""Layouts of models whose layers hold tokens. Methods that take no layout compute another map, at a similar cost."""
PATCH = 16
"""Height and width of the patch behind one token."""


class Workload(NamedTuple):
    """What a method receives."""

    model: nn.Module
    layers: list[nn.Module]
    """One layer, or all layers of the job with the earliest first."""
    images: Tensor
    targets: list[int]
    layout: Literal["vit"] | None
    at_input: bool
    job: str


@dataclass(frozen=True)
class Case:
    """A job, a model, one of its layers, and the number and size of the images."""

    model: str
    layer: str = "late"
    batch: int = 8
    size: int = 224
    classes: int = 1000
    device: str = "cpu"
    seed: int = 0
    job: str = MAP

    @property
    def at_input(self) -> bool:
        """Whether the input of the layer is explained instead of its output."""
        return MODEL_LAYERS[self.model][self.layer].endswith(INPUT)

    def build(self) -> Workload:
        """Return the model with its layers, images and targets."""
        torch.manual_seed(self.seed)
        model: nn.Module
        if self.model == LITE0:
            model = EfficientNet.from_name(LITE0, num_classes=self.classes)
        else:
            model = torchvision.models.get_model(self.model, num_classes=self.classes)
        images = torch.rand(self.batch, 3, self.size, self.size, device=self.device)
        targets = [index % self.classes for index in range(self.batch)]
        places = list(MODEL_LAYERS[self.model]) if self.job == LAYERS else [self.layer]
        layers = [model.get_submodule(MODEL_LAYERS[self.model][place].removesuffix(INPUT)) for place in places]
        model = model.eval().to(self.device)
        return Workload(model, layers, images, targets, LAYOUTS.get(self.model), self.at_input, self.job)
