"""The FinerCAMs (arXiv:2501.11309) of two libraries, as they return them: rectified, and scaled by their own rules.

For a single rival, this is the only reference; otherwise references are the three classes whose logits are closest to
the target's. pytorch-grad-cam subtracts the whole reference (alpha 1) and torchcam six tenths of it (gamma 0.6), which
are their defaults.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

REFERENCES = 3
GAMMA = 0.6


def finer_cam(
    library: str, model: nn.Module, layer: nn.Module, images: Tensor, targets: Tensor, references: Tensor
) -> Tensor:
    """Return the library's maps. Shapes: images (N, 3, H, W), targets (N,), references (N, R) -> (N, h, w)."""
    make = {"pytorch-grad-cam": _pytorch_grad_cam, "torchcam": _torchcam}[library]
    return make(model, layer, images, targets.tolist(), references.tolist())


def finer_score(library: str, logits: Tensor, targets: Tensor, references: Tensor) -> Tensor:
    """Return the score that the library's map explains. Shapes: (N, C), (N,), (N, R) -> (N,)."""
    target, others = logits.gather(1, targets[:, None]).squeeze(1), logits.gather(1, references)
    if library == "torchcam":
        return target - GAMMA * others.mean(dim=1)
    return target - (others.softmax(dim=1) * others).sum(dim=1)


def _pytorch_grad_cam(
    model: nn.Module, layer: nn.Module, images: Tensor, targets: list[int], references: list[list[int]]
) -> Tensor:
    from pytorch_grad_cam import FinerCAM
    from pytorch_grad_cam.utils.model_targets import FinerWeightedTarget

    weighted = [FinerWeightedTarget(target, others, 1) for target, others in zip(targets, references, strict=True)]
    with FinerCAM(model, [layer]) as cam, torch.enable_grad():
        maps = torch.from_numpy(cam(images, weighted))
    # This library leaves a gradient in every parameter.
    model.zero_grad(set_to_none=True)
    return maps.to(images.device)


def _torchcam(
    model: nn.Module, layer: nn.Module, images: Tensor, targets: list[int], references: list[list[int]]
) -> Tensor:
    from torchcam.methods import FinerCAM

    with FinerCAM(model, layer, gamma=GAMMA) as cam, torch.enable_grad():
        (maps,) = cam(targets, model(images), comparison_idx=references, normalized=False)
    detached: Tensor = maps.detach()
    return detached
