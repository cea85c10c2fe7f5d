"""Everybody who makes a Grad-CAM of a batch: Captum, two peers, ours, and no map at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from captum.attr import LayerAttribution, LayerGradCam

from benchmarks.common.names import DIFF, DIFF_PLUS_PLUS, GRAD_CAM
from benchmarks.common.peers import installed_peers
from benchmarks.cost.cases import Workload
from captum_diffcam import LayerDiffGradCam, LayerDiffGradCamPlusPlus, vit_layout

FORWARD = "forward"
Action: TypeAlias = Callable[[], object]


def available() -> list[str]:
    """The names of those that can be measured here."""
    return [FORWARD, GRAD_CAM, DIFF, DIFF_PLUS_PLUS, *installed_peers()]


def action(name: str, workload: Workload) -> Action:
    """One map for each image, as the method makes it."""
    model, layer, images, targets, layout = workload
    if name == FORWARD:
        return torch.no_grad()(lambda: model(images))
    if name == "pytorch-grad-cam":
        return lambda: _pytorch_grad_cam(workload)
    if name == "torchcam":
        return lambda: _torchcam(workload)
    if name == GRAD_CAM:
        attribution: LayerAttribution = LayerGradCam(model, layer)
    else:
        method = {DIFF: LayerDiffGradCam, DIFF_PLUS_PLUS: LayerDiffGradCamPlusPlus}[name]
        attribution = method(model, layer, layout=layout)
    return lambda: attribution.attribute(images, target=targets)


def _pytorch_grad_cam(workload: Workload) -> object:
    # Its maps come upsampled to the size of the input; there is no way to ask for less.
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model, layer, images, targets, layout = workload
    with GradCAM(model, [layer], reshape_transform=vit_layout() if layout else None) as cam:
        return cam(images, [ClassifierOutputTarget(target) for target in targets])


def _torchcam(workload: Workload) -> object:
    from torchcam.methods import GradCAM

    with GradCAM(workload.model, target_layer=workload.layer) as cam, torch.enable_grad():
        return cam(workload.targets, workload.model(workload.images))
