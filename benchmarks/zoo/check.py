"""Whether the maps of one model agree with those of the reference implementation."""

from __future__ import annotations

import warnings
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.models import SwinTransformer

from benchmarks.common.layers import choose_layer
from benchmarks.common.options import UsageError
from benchmarks.zoo.choosing import FIXED_SIZE, torchvision_model
from benchmarks.zoo.reference import Preset, reference_maps
from benchmarks.zoo.timm_models import PREFIX, build
from captum_diffcam import LayerDiffGradCam, LayerDiffGradCamPlusPlus
from captum_diffcam.layers import SpatialLayer

TOLERANCE = 1e-3
"""Of the largest value of a map, in float32."""


def check(name: str, seed: int = 0) -> dict[str, Any]:
    """Compare both methods on one model with the reference implementation."""
    start = perf_counter()
    model, images = prepared_model(name, seed)
    targets = [3, 7]
    row: dict[str, Any] = {"model": name, "layer": "", "layout": None, "agrees": True, "warnings": []}
    try:
        layer, layout = late_layer(model, images[:1])
        row |= {"layer": layer.name, "layout": layout}
        _compare(row, model, layer, layout, images, targets)
    except (ValueError, UsageError) as reason:
        row["refused"] = str(reason)
    row["seconds"] = perf_counter() - start
    return row


def _compare(
    row: dict[str, Any],
    model: nn.Module,
    layer: SpatialLayer,
    layout: Preset | None,
    images: Tensor,
    targets: list[int],
) -> None:
    """Fill in the size of the maps, how far they are from the others, and what was warned of."""
    for method, attribution in (("DiffGradCAM", LayerDiffGradCam), ("DiffGradCAM++", LayerDiffGradCamPlusPlus)):
        cam = attribution(model, layer)
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            maps: Tensor = cam.attribute(
                images, target=targets, attribute_to_layer_input=layer.attribute_to_layer_input
            )
        row["warnings"] += [str(warning.message) for warning in warned]
        expected = reference_maps(model, layer, layout, images, targets, plus_plus=method.endswith("++"))
        scale = expected.abs().max()
        row["map"] = list(maps.shape[2:])
        row[method] = float((maps - expected).abs().max() / scale)
        row["agrees"] &= bool(torch.isfinite(maps).all() and scale > 0 and row[method] <= TOLERANCE)


def prepared_model(name: str, seed: int) -> tuple[nn.Module, Tensor]:
    """Return the model with random weights that tell classes and images apart, in eval mode, and two images."""
    torch.manual_seed(seed)
    model, size = _model(name)
    last = [module for module in model.modules() if isinstance(module, (nn.Linear, nn.Conv2d))][-1]
    nn.init.normal_(last.weight, std=0.1)
    _settle(model, size)
    return model, torch.rand(2, 3, size, size)


def _model(name: str) -> tuple[nn.Module, int]:
    """Return the model in eval mode, and the side of its images."""
    if name.startswith(PREFIX):
        model, (size, _) = build(name)
    else:
        model, size = torchvision_model(name), 224 if name.startswith(FIXED_SIZE) else 128
    return model, size


def _settle(model: nn.Module, size: int) -> None:
    """Fit batch normalisation to noise: with the statistics it begins with, activations vanish or explode."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    for norm in norms:
        norm.train().momentum = None  # a plain average
    with torch.no_grad():
        model(torch.rand(4, 3, size, size))
    model.eval()


def late_layer(model: nn.Module, images: Tensor) -> tuple[SpatialLayer, Preset | None]:
    """Return the layer to explain, as the help says, and its layout."""
    if isinstance(model, SwinTransformer):
        # The same map before it is turned to (N, channels, H, W), for the layout.
        return SpatialLayer(
            layer=model.features, attribute_to_layer_input=False, layout="swin", name="features"
        ), "swin"
    layer = choose_layer(model, images, tokens=True)
    return layer, layer.layout
