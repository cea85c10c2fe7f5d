"""Everybody who makes a Grad-CAM of a batch, for the cost benchmark: Captum, two peers, ours, and no map at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TypeAlias

import torch
import torchvision
from captum.attr import LayerGradCam
from torch import Tensor, nn

from captum_diffcam import LayerDiffGradCam, LayerDiffGradCamPlusPlus

FORWARD, GRAD_CAM, DIFF, DIFF_PLUS_PLUS = "forward", "LayerGradCam", "DiffGradCAM", "DiffGradCAM++"
PEERS = {"pytorch-grad-cam": "pytorch_grad_cam", "torchcam": "torchcam"}
"""The libraries of the extra ``peers``, by the name of their module."""

Action: TypeAlias = Callable[[], object]

LAYERS = {
    "resnet50": {"early": "layer1", "middle": "layer3", "late": "layer4"},
    "densenet121": {"early": "features.denseblock1", "middle": "features.denseblock3", "late": "features"},
    "mobilenet_v3_small": {"early": "features.1", "middle": "features.6", "late": "features"},
    "efficientnet_b0": {"early": "features.1", "middle": "features.4", "late": "features"},
    "convnext_tiny": {"early": "features.1", "middle": "features.3", "late": "features"},
}
"""The layers of each model: after about a tenth of it, after about half, and the last one."""


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

    def build(self) -> tuple[nn.Module, nn.Module, Tensor, list[int]]:
        """The model, its layer, images and targets."""
        torch.manual_seed(self.seed)
        model = torchvision.models.get_model(self.model, num_classes=self.classes).eval().to(self.device)
        images = torch.rand(self.batch, 3, self.size, self.size, device=self.device)
        targets = [index % self.classes for index in range(self.batch)]
        return model, model.get_submodule(LAYERS[self.model][self.layer]), images, targets


def available() -> list[str]:
    """The contenders that are installed."""
    return [FORWARD, GRAD_CAM, DIFF, DIFF_PLUS_PLUS, *(name for name, module in PEERS.items() if find_spec(module))]


def action(name: str, model: nn.Module, layer: nn.Module, images: Tensor, targets: Sequence[int]) -> Action:
    """One map for each image, as the contender makes it."""
    if name == FORWARD:
        return torch.no_grad()(lambda: model(images))
    if name == "pytorch-grad-cam":
        return lambda: _pytorch_grad_cam(model, layer, images, targets)
    if name == "torchcam":
        return lambda: _torchcam(model, layer, images, targets)
    method = {GRAD_CAM: LayerGradCam, DIFF: LayerDiffGradCam, DIFF_PLUS_PLUS: LayerDiffGradCamPlusPlus}[name]
    attribution = method(model, layer)
    return lambda: attribution.attribute(images, target=list(targets))


def _pytorch_grad_cam(model: nn.Module, layer: nn.Module, images: Tensor, targets: Sequence[int]) -> object:
    # Its maps come upsampled to the size of the input; there is no way to ask for less.
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    with GradCAM(model=model, target_layers=[layer]) as cam:
        return cam(input_tensor=images, targets=[ClassifierOutputTarget(target) for target in targets])


def _torchcam(model: nn.Module, layer: nn.Module, images: Tensor, targets: Sequence[int]) -> object:
    from torchcam.methods import GradCAM

    with GradCAM(model, target_layer=layer) as cam, torch.enable_grad():
        return cam(list(targets), model(images))
