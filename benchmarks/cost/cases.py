"""What is measured: a model with random weights, one of its layers, and images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torchvision
from torch import Tensor, nn

from benchmarks.cost.layers import LAYERS

LAYOUTS: dict[str, Literal["vit"]] = {"vit_b_16": "vit"}
"""Of models whose layers are tokens. Methods that cannot be told make their map of something else, at like cost."""


class Workload(NamedTuple):
    """What a method gets."""

    model: nn.Module
    layer: nn.Module
    images: Tensor
    targets: list[int]
    layout: Literal["vit"] | None


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

    def build(self) -> Workload:
        """The model, its layer, images and targets."""
        torch.manual_seed(self.seed)
        model = torchvision.models.get_model(self.model, num_classes=self.classes).eval().to(self.device)
        images = torch.rand(self.batch, 3, self.size, self.size, device=self.device)
        targets = [index % self.classes for index in range(self.batch)]
        layer = model.get_submodule(LAYERS[self.model][self.layer])
        return Workload(model, layer, images, targets, LAYOUTS.get(self.model))
