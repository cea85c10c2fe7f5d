"""Every classifier of torchvision: does the map agree with one made the long way round?

Random weights, batch normalisation fitted to noise, and a head that is not zero. The layer: for a ViT the normalisation
before the last attention, for a Swin its last stage, for any other model the last feature map. The long way records the
whole graph and writes the formulas out once more. Writes zoo.json and zoo.csv.
"""

from __future__ import annotations

import argparse
import gc
import math
from time import perf_counter
from typing import Any, Literal, TypeAlias

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import SwinTransformer, VisionTransformer
from tqdm import tqdm

from benchmarks.layers import Layer, choose_layer
from benchmarks.options import UsageError
from benchmarks.reporting import environment, table, write_csv, write_json
from captum_diffcam import LayerDiffGradCam, LayerDiffGradCamPlusPlus

Preset: TypeAlias = Literal["vit", "swin"]

FIXED_SIZE = ("vit_", "maxvit")
"""Models that take images of 224 pixels alone; all others get smaller ones."""
HEADER = ("model", "layer", "map", "DiffGradCAM", "DiffGradCAM++")
TOLERANCE = 1e-3
"""Of the largest value of a map, in float32."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    names = torchvision.models.list_models(module=torchvision.models)
    parser.add_argument("--models", nargs="+", choices=names, default=names, metavar="NAME", help="(default all)")


def run(args: argparse.Namespace) -> None:
    record: dict[str, Any] = {"benchmark": "zoo", "complete": False, **environment(args), "models": []}
    try:
        for name in tqdm(args.models, unit="model", leave=False):
            record["models"].append(check(name, args.seed))
            gc.collect()
        record["complete"] = True
    finally:
        write_json(args.output / "zoo.json", record)
    rows = _rows(record["models"])
    write_csv(args.output / "zoo.csv", HEADER, rows)
    print(f"\n{table(HEADER, rows, limits=(18, 43, 5, 11, 13))}")
    print("Largest difference from the long way round, as a share of the map's largest value")
    failed = [row["model"] for row in record["models"] if not row["agrees"]]
    if failed:
        raise UsageError(f"{len(failed)} of {len(record['models'])} disagree: {', '.join(failed)}")


def _rows(models: list[dict[str, Any]]) -> list[list[str]]:
    return [
        [
            row["model"],
            f"{row['layer']} ({row['layout']})" if row["layout"] else row["layer"],
            "x".join(map(str, row["map"])),
            *(f"{row[method]:.0e}" for method in HEADER[3:]),
        ]
        for row in models
    ]


def check(name: str, seed: int = 0) -> dict[str, Any]:
    """Both methods on one model against the long way round."""
    start = perf_counter()
    torch.manual_seed(seed)
    extra = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    model = torchvision.models.get_model(name, weights=None, **extra).eval()
    last = [module for module in model.modules() if isinstance(module, (nn.Linear, nn.Conv2d))][-1]
    nn.init.normal_(last.weight, std=0.1)
    size = 224 if name.startswith(FIXED_SIZE) else 128
    _settle(model, size)
    images, targets = torch.rand(2, 3, size, size), [3, 7]
    layer, layout = late_layer(model, images[:1])
    row: dict[str, Any] = {"model": name, "layer": layer.name, "layout": layout, "agrees": True}
    for method, attribution in (("DiffGradCAM", LayerDiffGradCam), ("DiffGradCAM++", LayerDiffGradCamPlusPlus)):
        cam = attribution(model, layer.module, layout=layout)
        maps: Tensor = cam.attribute(images, target=targets, attribute_to_layer_input=layer.at_input)
        expected = _the_long_way(model, layer, layout, images, targets, plus_plus=method.endswith("++"))
        scale = expected.abs().max()
        row["map"] = list(maps.shape[2:])
        row[method] = float((maps - expected).abs().max() / scale)
        row["agrees"] &= bool(torch.isfinite(maps).all() and scale > 0 and row[method] <= TOLERANCE)
    row["seconds"] = perf_counter() - start
    return row


def _settle(model: nn.Module, size: int) -> None:
    """Fit batch normalisation to noise: with the statistics it begins with, activations vanish or explode."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.train().momentum = None  # a plain average
    with torch.no_grad():
        model(torch.rand(4, 3, size, size))
    model.eval()


def late_layer(model: nn.Module, images: Tensor) -> tuple[Layer, Preset | None]:
    """The layer to explain, by the rule above, and its layout."""
    if isinstance(model, VisionTransformer):
        *_, (name, block) = model.encoder.layers.named_children()
        return Layer(f"encoder.layers.{name}.ln_1", block.get_submodule("ln_1"), at_input=False), "vit"
    if isinstance(model, SwinTransformer):
        return Layer("features", model.features, at_input=False), "swin"
    return choose_layer(model, images), None


def _the_long_way(
    model: nn.Module, layer: Layer, layout: Preset | None, images: Tensor, targets: list[int], *, plus_plus: bool
) -> Tensor:
    kept: list[Tensor] = []

    def keep(value: Tensor) -> Tensor:
        kept.append(value)
        return value.clone()  # what follows may work in place

    if layer.at_input:
        handle = layer.module.register_forward_pre_hook(lambda module, args: (keep(args[0]), *args[1:]))
    else:
        handle = layer.module.register_forward_hook(lambda module, args, output: keep(output))
    with handle:
        logits = model(images.clone().requires_grad_())
    rows = torch.arange(len(images))
    is_target = torch.zeros_like(logits, dtype=torch.bool)
    is_target[rows, targets] = True
    log_odds = logits[rows, targets] - logits.masked_fill(is_target, -torch.inf).logsumexp(1)
    gradients = torch.autograd.grad(log_odds.sum(), kept[0])[0]
    activations = kept[0].detach()
    if layout == "vit":  # the patches behind the class token
        side = math.isqrt(activations.shape[1] - 1)
        activations, gradients = (t[:, 1:].mT.reshape(len(t), -1, side, side) for t in (activations, gradients))
    if layout == "swin":
        activations, gradients = (t.permute(0, 3, 1, 2) for t in (activations, gradients))
    if plus_plus:
        positive = gradients.clamp(min=0)
        mass = activations.clamp(min=0).sum((2, 3), keepdim=True)
        weights = (positive / (2 + positive * mass)).sum((2, 3), keepdim=True)
    else:
        weights = gradients.mean((2, 3), keepdim=True)
    return (weights * activations).sum(1, keepdim=True)
