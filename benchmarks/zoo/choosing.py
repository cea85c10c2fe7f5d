"""Whether the library finds the layer of one model that the table by hand expects, at each size of the input."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from fnmatch import fnmatchcase
from time import perf_counter
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from benchmarks.zoo.expected_layers import Grid, expected_layer
from benchmarks.zoo.huggingface_models import ARCHITECTURES
from benchmarks.zoo.huggingface_models import PREFIX as HUGGINGFACE
from benchmarks.zoo.timm_models import PREFIX as TIMM
from benchmarks.zoo.timm_models import build
from captum_diffcam import LayerDiffGradCam, last_spatial_layer

FIXED_SIZE = ("vit_", "maxvit")
"""Models of torchvision that take images of 224 pixels alone."""
SIZES = ((128, 128), (128, 192))
"""Of images, where the model takes any size."""


def choose(name: str, seed: int = 0) -> list[dict[str, Any]]:
    """Return, for each size of the input, the layer that was found, its grid, and how both fit what is expected."""
    rows = []
    for model, shape, inputs in _models(name, seed):
        start = perf_counter()
        row: dict[str, Any] = {"model": name, "input": list(shape), "layer": "", "layout": None, "grid": []}
        try:
            layer = last_spatial_layer(model, inputs)
        except ValueError as reason:
            row["refused"] = str(reason)
        else:
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                maps = LayerDiffGradCam(model, layer).attribute(inputs, 1)
            row |= {"layer": layer.name, "layout": layer.layout, "grid": list(maps.shape[2:])}
            row["warnings"] = [str(warning.message) for warning in warned]
        rows.append({**row, **_judge(row), "seconds": perf_counter() - start})
    return rows


def _judge(row: dict[str, Any]) -> dict[str, Any]:
    """Return what is expected of a row, and whether it is so: right, refused or wrong."""
    expected = expected_layer(row["model"])
    if expected is None:
        return {"expected": "not in the table", "result": "wrong"}
    grid = expected.grid(tuple(row["input"]))
    text = f"{expected.layer} {'x'.join(map(str, grid))}" if grid else expected.layer
    if "refused" in row:
        return {"expected": text, "result": "refused"}
    right = fnmatchcase(row["layer"], expected.layer) and tuple(row["grid"]) == grid and not row["warnings"]
    return {"expected": text, "result": "right" if right else "wrong"}


def _models(name: str, seed: int) -> Iterator[tuple[nn.Module, Grid, Tensor]]:
    """Yield the model in eval mode, the shape of its input without the examples, and an input."""
    torch.manual_seed(seed)
    if name.startswith(HUGGINGFACE):
        architecture = ARCHITECTURES[name.removeprefix(HUGGINGFACE)]
        model = architecture.build()
        for shape in architecture.shapes:
            yield model, shape, architecture.inputs(shape)
        return
    for size in SIZES:
        if name.startswith(TIMM):
            model, own = build(name, size)
        else:
            model, own = torchvision_model(name), (224, 224) if name.startswith(FIXED_SIZE) else size
        if own[0] == own[1] and size != SIZES[0]:
            continue  # takes square images alone
        last = [module for module in model.modules() if isinstance(module, (nn.Linear, nn.Conv2d))][-1]
        nn.init.normal_(last.weight, std=0.1)
        yield model, (3, *own), torch.rand(1, 3, *own)


def torchvision_model(name: str) -> nn.Module:
    """Return the model with random weights in eval mode."""
    extra = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    model: nn.Module = torchvision.models.get_model(name, weights=None, **extra)
    return model.eval()
