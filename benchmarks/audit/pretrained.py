"""Clean models that were not trained for this benchmark, and their images."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from benchmarks.common.cutouts import Material, compose
from benchmarks.common.images import load_image, packaged_photographs
from benchmarks.common.models import IMAGENET, load_classifier
from benchmarks.common.names import LITE0, MOBILENET
from benchmarks.common.options import SkippedError
from captum_diffcam import last_spatial_layer
from captum_diffcam.layers import SpatialLayer

FEATURES = {MOBILENET: "features", LITE0: "_bn1"}
"""The module that returns the features before global pooling."""
_PAGE_SIDE = 224
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def classifier(name: str) -> tuple[nn.Module, SpatialLayer, Any]:
    """Return a model with the weights of ImageNet, its last layer with positions, and the preprocessing."""
    loaded = load_classifier(name, None, torch.device("cpu"))
    return loaded.model, last_spatial_layer(loaded.model, torch.zeros(1, 3, 224, 224)), loaded.preprocess


def same_layer(copied: nn.Module, layer: SpatialLayer) -> SpatialLayer:
    """Return the layer of the same name in a copy of the model."""
    return layer._replace(layer=copied.get_submodule(layer.name.removesuffix(":input")))


def photographs(material: Material | None, preprocess: Any, count: int, seed: int) -> Tensor:
    """Return photographs of packages and of wallpapers, (N, 3, 224, 224)."""
    transform = IMAGENET.transforms(mean=preprocess.mean, std=preprocess.std)
    files = packaged_photographs() + (list(material.backgrounds) if material else [])
    images: list[Tensor] = []
    for index in torch.randperm(len(files), generator=torch.Generator().manual_seed(seed)).tolist():
        try:
            images.append(transform(load_image(files[index])))
        except SkippedError:
            continue
        if len(images) == count:
            break
    return torch.stack(images)


def scenes(material: Material, preprocess: Any, count: int, seed: int) -> Tensor:
    """Return objects that are cut out over photographs, (N, 3, 224, 224)."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (preprocess.mean, preprocess.std))
    return (compose(material, count, seed, objects=(1, 2)).images - mean) / std


def orientation_classifier(file: Path) -> tuple[nn.Module, nn.Module]:
    """Return PP-LCNet as a module that returns log-probabilities of four orientations, and its last layer."""
    from onnx2torch import convert

    network = convert(str(file)).eval()
    layer = dict(network.named_modules())["HardSwish/26"]
    return _LogOfProbabilities(network), layer


class _LogOfProbabilities(nn.Module):
    """A network whose softmax is part of it, as logits."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return log-probabilities. Shapes: (N, 3, H, W) -> (N, C)."""
        logits: Tensor = self.network(images).clamp(min=1e-30).log()
        return logits


def pages(count: int, seed: int) -> Tensor:
    """Return pages of random words in columns, each rotated by a random right angle, (N, 3, 224, 224)."""
    drawn = random.Random(seed)
    font_file = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSerif.ttf"
    images = []
    for _ in range(count):
        page = Image.new("RGB", (480, 480), (drawn.randint(225, 255),) * 3)
        pen, font = ImageDraw.Draw(page), ImageFont.truetype(str(font_file), drawn.randint(14, 20))
        for line in range(40, 440, drawn.randint(22, 30)):
            letters = "".join(drawn.choice("abcdefghilmnoprstuv     ") for _ in range(drawn.randint(25, 60)))
            pen.text((30, line), letters, fill=(drawn.randint(0, 60),) * 3, font=font)
        turned = page.rotate(90 * drawn.randrange(4)).resize((_PAGE_SIDE, _PAGE_SIDE), Image.Resampling.BILINEAR)
        images.append(torch.from_numpy(np.array(turned)).permute(2, 0, 1).float() / 255)
    mean, std = (torch.tensor(values)[:, None, None] for values in (_MEAN, _STD))
    return (torch.stack(images) - mean) / std
