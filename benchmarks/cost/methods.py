"""The methods that are measured: a bare forward pass, Captum, two other libraries and this one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from captum.attr import LayerGradCam
from torch import nn

from benchmarks.common.names import DIFF, DIFF_PLUS_PLUS, GRAD_CAM
from benchmarks.common.peers import installed_peers
from benchmarks.cost.cases import PATCH, Workload
from benchmarks.cost.jobs import EARLIEST, FORWARD, LAYERS, MAP, RIVALS, STRONGEST, is_measured
from captum_diffcam import LayerDiffGradCam, LayerDiffGradCamPlusPlus, predicted, top_rivals, vit_layout

Action: TypeAlias = Callable[[], object]


def available(job: str, *, at_input: bool = False) -> list[str]:
    """Return the names of the methods that can do the job on this machine."""
    methods = [FORWARD, GRAD_CAM, DIFF, DIFF_PLUS_PLUS, EARLIEST, *installed_peers()]
    return [method for method in methods if is_measured(method, job, at_input=at_input)]


def action(name: str, workload: Workload) -> Action:
    """Return a function without arguments that does the workload's job; its maps have the method's own form."""
    if name == FORWARD:
        return torch.no_grad()(lambda: workload.model(workload.images))
    if name == "pytorch-grad-cam":
        return lambda: _pytorch_grad_cam(workload)
    if name == "torchcam":
        return lambda: _torchcam(workload)
    if name == GRAD_CAM:
        return _captum(workload)
    return _ours(name, workload)


def _ours(name: str, workload: Workload) -> Action:
    method = LayerDiffGradCamPlusPlus if name == DIFF_PLUS_PLUS else LayerDiffGradCam
    layers: Any = workload.layers if workload.job == LAYERS and name != EARLIEST else workload.layers[0]
    cam = method(workload.model, layers, layout=workload.layout)
    side: dict[str, Any] = {"attribute_to_layer_input": workload.at_input}
    if workload.job == MAP:
        return lambda: cam.attribute(workload.images, workload.targets, **side)
    if workload.job == RIVALS:
        return lambda: cam.attribute_rivals(workload.images, predicted, top_rivals(STRONGEST), **side)
    return lambda: cam.explain(workload.images, **side)


def _captum(workload: Workload) -> Action:
    """LayerGradCam must be told the class, so it needs a forward pass to classify and a run for each map."""
    cams = [LayerGradCam(workload.model, layer) for layer in workload.layers]

    def run(targets: Sequence[int]) -> list[object]:
        return [
            cam.attribute(workload.images, list(targets), attribute_to_layer_input=workload.at_input) for cam in cams
        ]

    if workload.job == MAP:
        return lambda: run(workload.targets)[0]
    return lambda: [
        run(classes) for classes in _classes(torch.no_grad()(workload.model)(workload.images), workload.job)
    ]


def _classes(logits: torch.Tensor, job: str) -> list[list[int]]:
    """Return the predicted class of every image, followed by its rivals in the job with rivals."""
    wanted = 1 + STRONGEST if job == RIVALS else 1
    return logits.topk(wanted, dim=1).indices.T.tolist()


def _pytorch_grad_cam(workload: Workload) -> object:
    # This library always upsamples its maps to the size of the input, and averages the maps of several layers.
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    targets = [ClassifierOutputTarget(c) for c in workload.targets] if workload.job == MAP else None
    # The grid is given, because this library does not pass on the size of the images.
    height, width = (side // PATCH for side in workload.images.shape[2:])
    reshape = vit_layout(grid=(height, width)) if workload.layout else None
    with GradCAM(workload.model, workload.layers, reshape_transform=reshape) as cam:
        return cam(workload.images, targets)


def _torchcam(workload: Workload) -> object:
    from torchcam.methods import GradCAM

    layers: list[nn.Module | str] = list(workload.layers)
    with GradCAM(workload.model, target_layer=layers) as cam, torch.enable_grad():
        logits = workload.model(workload.images)
        if workload.job == MAP:
            return cam(workload.targets, logits)
        return [cam(classes, logits, retain_graph=workload.job == RIVALS) for classes in _classes(logits, workload.job)]
