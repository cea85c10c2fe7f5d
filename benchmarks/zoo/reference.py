"""The reference implementation of maps: the whole graph recorded, the formulas written out once more."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from captum_diffcam.layers import SpatialLayer

Preset: TypeAlias = Literal["vit", "swin"]


def reference_maps(
    model: nn.Module, layer: SpatialLayer, layout: Preset | None, images: Tensor, targets: list[int], *, plus_plus: bool
) -> Tensor:
    """Return the maps of both images. Shapes: (N, 3, H, W) -> (N, 1, h, w)."""
    kept: list[Tensor] = []

    def keep(value: Tensor) -> Tensor:
        kept.append(value)
        return value.clone()  # what follows may work in place

    if layer.attribute_to_layer_input:
        handle = layer.layer.register_forward_pre_hook(lambda module, args: (keep(args[0]), *args[1:]))
    else:
        handle = layer.layer.register_forward_hook(lambda module, args, output: keep(output))
    with handle:
        logits = model(images.clone().requires_grad_())
    rows = torch.arange(len(images))
    is_target = torch.zeros_like(logits, dtype=torch.bool)
    is_target[rows, targets] = True
    log_odds = logits[rows, targets] - logits.masked_fill(is_target, -torch.inf).logsumexp(1)
    gradients = torch.autograd.grad(log_odds.sum(), kept[0])[0]
    activations = kept[0].detach()
    if layout == "vit":  # the patches, a square of them, behind class, distillation and register tokens
        side = math.isqrt(activations.shape[1])
        activations, gradients = (
            t[:, -side * side :].mT.reshape(len(t), -1, side, side) for t in (activations, gradients)
        )
    if layout == "swin":
        activations, gradients = (t.permute(0, 3, 1, 2) for t in (activations, gradients))
    if plus_plus:
        positive = gradients.clamp(min=0)
        mass = activations.clamp(min=0).sum((2, 3), keepdim=True)
        weights = (positive / (2 + positive * mass)).sum((2, 3), keepdim=True)
    else:
        weights = gradients.mean((2, 3), keepdim=True)
    return (weights * activations).sum(1, keepdim=True)
