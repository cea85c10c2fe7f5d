"""Whether the positions of contrastive HiResCAM sum to the score of one model, up to what is known beforehand."""

from __future__ import annotations

import warnings
from time import perf_counter
from typing import Any, Literal

import torch
from torch import Tensor, nn

from benchmarks.common.options import UsageError
from benchmarks.zoo.check import late_layer, prepared_model
from captum_diffcam import LayerDiffGradCam, LayerDiffHiResCam
from captum_diffcam.layers import SpatialLayer

TOLERANCE = 0.01
"""Of the size of the score."""
LINEAR = 1e-3
"""The layers behind count as linear if the logits stay this close to a straight line while the tensor shrinks to 0.

As a share of the line's length. ReLU and max pooling are linear in this sense, biases between two layers are not.
Models that read a class token beside the positions do not count, because the map has no place for it.
"""
METHODS = {"HiResCAM": LayerDiffHiResCam, "Grad-CAM": LayerDiffGradCam}
CONTRASTS: dict[str, tuple[list[int] | None, Literal["logsumexp", "mean"]]] = {
    "logsumexp": (None, "logsumexp"),
    "mean": (None, "mean"),
    "one rival": ([11], "logsumexp"),
}


def completeness(name: str, seed: int = 0) -> dict[str, Any]:
    """Return how far the map's sum and the known remainder are from the score, as a share of the score.

    The known remainder comes from forward passes alone: with the layer's tensor set to zero, the logits are what the
    layers behind add by themselves, for a linear layer its biases.
    """
    start = perf_counter()
    model, images = prepared_model(name, seed)
    for module in model.modules():
        # Many models begin with biases of zero, which no trained model has.
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.normal_(module.bias, std=0.1)
    targets = torch.tensor([3, 7])
    row: dict[str, Any] = {"model": name, "layer": "", "layout": None}
    try:
        layer, layout = late_layer(model, images[:1])
        row |= {"layer": layer.name, "layout": layout}
        row |= _measure(model, layer, images, targets)
    except (ValueError, UsageError) as reason:
        row["refused"] = str(reason)
    row["complete"] = "refused" in row or not row["linear"] or row["HiResCAM"] <= TOLERANCE
    row["seconds"] = perf_counter() - start
    return row


def _measure(model: nn.Module, layer: SpatialLayer, images: Tensor, targets: Tensor) -> dict[str, Any]:
    with torch.no_grad():
        full, half, zero = (_logits_with(model, layer, images, factor) for factor in (1.0, 0.5, 0.0))
    nonlinearity = float((half - (full + zero) / 2).abs().max() / (full - zero).abs().max())
    left_out = _left_out(model, layer, images)
    row: dict[str, Any] = {
        "nonlinearity": nonlinearity,
        "left_out": left_out,
        "linear": nonlinearity <= LINEAR and not left_out,
    }
    errors: dict[str, list[float]] = {method: [] for method in METHODS}
    for contrast, reduction in CONTRASTS.values():
        score, known = _score_and_remainder(full.double(), zero.double(), targets, contrast, reduction)
        for method, attribution in METHODS.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                maps: Tensor = attribution(model, layer).attribute(
                    images, targets, contrast=contrast, reduction=reduction
                )
            error = (maps.double().flatten(1).sum(dim=1) + known - score).abs() / score.abs()
            errors[method].append(float(error.max()))
    return row | {method: max(of_contrasts) for method, of_contrasts in errors.items()}


def _left_out(model: nn.Module, layer: SpatialLayer, images: Tensor) -> int:
    """Return how many numbers of the layer's tensor have no position in the map, such as those of a class token."""
    sizes: list[int] = []
    if layer.attribute_to_layer_input:
        handle = layer.layer.register_forward_pre_hook(lambda module, args: sizes.append(args[0][0].numel()))
    else:
        handle = layer.layer.register_forward_hook(lambda module, args, output: sizes.append(output[0].numel()))
    with handle, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        by_channel: Tensor = LayerDiffHiResCam(model, layer).attribute(images, 0, attr_dim_summation=False)
    return sizes[0] - by_channel[0].numel()


def _score_and_remainder(
    logits: Tensor, at_zero: Tensor, targets: Tensor, contrast: list[int] | None, reduction: str
) -> tuple[Tensor, Tensor]:
    """Return the score and what the sum of a complete map leaves out of it, both (N,), by their definitions."""
    scores, remainders = [], []
    for z, offset, target in zip(logits, at_zero, targets.tolist(), strict=True):
        rivals = [j for j in range(len(z)) if j != target] if contrast is None else contrast
        if reduction == "logsumexp":
            shares = z[rivals].softmax(0)
            entropy = float(-(shares * z[rivals].log_softmax(0)).sum())
        else:
            shares, entropy = torch.full_like(z[rivals], 1 / len(rivals)), 0.0
        scores.append(z[target] - shares @ z[rivals] - entropy)
        remainders.append(offset[target] - shares @ offset[rivals] - entropy)
    return torch.stack(scores), torch.stack(remainders)


def _logits_with(model: nn.Module, layer: SpatialLayer, images: Tensor, factor: float) -> Tensor:
    """Return the logits with the layer's tensor multiplied by a factor."""
    if layer.attribute_to_layer_input:
        handle = layer.layer.register_forward_pre_hook(lambda module, args: (factor * args[0], *args[1:]))
    else:
        handle = layer.layer.register_forward_hook(lambda module, args, output: factor * output)
    with handle:
        logits: Tensor = model(images)
    return logits
