"""What is measured: a job for a model with random weights, at one of its layers, and images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torchvision
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn

from benchmarks.common.names import LITE0
from benchmarks.cost.jobs import LAYERS as LAYERS_JOB
from benchmarks.cost.jobs import MAP
from benchmarks.cost.layers import INPUT, LAYERS

LAYOUTS: dict[str, Literal["vit"]] = {"vit_b_16": "vit"}
"""Of models whose layers are tokens. Methods that cannot be told make their map of something else, at like cost."""
PATCH = 16
"""Height and width of what a token of these stands for."""


class Workload(NamedTuple):
    """What a method gets."""

    model: nn.Module
    layers: list[nn.Module]
    """One, or all that the job asks for, the earliest first."""
    images: Tensor
    targets: list[int]
    layout: Literal["vit"] | None
    at_input: bool
    job: str


@dataclass(frozen=True)
class Case:
    """What is to be explained: random images, by a model with random weights, at one of its layers."""

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
        """Whether what goes into the layer is explained."""
        return LAYERS[self.model][self.layer].endswith(INPUT)

    def build(self) -> Workload:
        """The model, its layer, images and targets."""
        torch.manual_seed(self.seed)
        model: nn.Module
        if self.model == LITE0:
            model = EfficientNet.from_name(LITE0, num_classes=self.classes)
        else:
            model = torchvision.models.get_model(self.model, num_classes=self.classes)
        images = torch.rand(self.batch, 3, self.size, self.size, device=self.device)
        targets = [index % self.classes for index in range(self.batch)]
        places = list(LAYERS[self.model]) if self.job == LAYERS_JOB else [self.layer]
        layers = [model.get_submodule(LAYERS[self.model][place].removesuffix(INPUT)) for place in places]
        model = model.eval().to(self.device)
        return Workload(model, layers, images, targets, LAYOUTS.get(self.model), self.at_input, self.job)
