"""Everybody who makes a Grad-CAM of a batch, for the cost benchmark: Captum, two peers, ours, and no map at all."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Literal, NamedTuple, TypeAlias

import torch
import torchvision
from captum.attr import LayerAttribution, LayerGradCam
from torch import Tensor, nn

from captum_diffcam import LayerDiffGradCam, LayerDiffGradCamPlusPlus, vit_layout

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
    "vit_b_16": {
        place: f"encoder.layers.encoder_layer_{block}.ln_1"
        for place, block in (("early", 1), ("middle", 6), ("late", 11))
    },
}
"""The layers of each model: after about a tenth of it, after about half, and the last one."""

LAYOUTS: dict[str, Literal["vit"]] = {"vit_b_16": "vit"}
"""Of models whose layers are tokens. Contenders that cannot be told make their map of something else, at like cost."""


class Subject(NamedTuple):
    """What a contender gets."""

    model: nn.Module
    layer: nn.Module
    images: Tensor
    targets: list[int]
    layout: Literal["vit"] | None


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

    def build(self) -> Subject:
        """The model, its layer, images and targets."""
        torch.manual_seed(self.seed)
        model = torchvision.models.get_model(self.model, num_classes=self.classes).eval().to(self.device)
        images = torch.rand(self.batch, 3, self.size, self.size, device=self.device)
        targets = [index % self.classes for index in range(self.batch)]
        layer = model.get_submodule(LAYERS[self.model][self.layer])
        return Subject(model, layer, images, targets, LAYOUTS.get(self.model))


def available() -> list[str]:
    """The contenders that are installed, and can be imported: the peers' OpenCV needs libraries of a desktop."""
    found = [FORWARD, GRAD_CAM, DIFF, DIFF_PLUS_PLUS]
    for name, module in PEERS.items():
        with suppress(ImportError):
            import_module(module)
            found.append(name)
    return found


def action(name: str, subject: Subject) -> Action:
    """One map for each image, as the contender makes it."""
    model, layer, images, targets, layout = subject
    if name == FORWARD:
        return torch.no_grad()(lambda: model(images))
    if name == "pytorch-grad-cam":
        return lambda: _pytorch_grad_cam(subject)
    if name == "torchcam":
        return lambda: _torchcam(subject)
    if name == GRAD_CAM:
        attribution: LayerAttribution = LayerGradCam(model, layer)
    else:
        method = {DIFF: LayerDiffGradCam, DIFF_PLUS_PLUS: LayerDiffGradCamPlusPlus}[name]
        attribution = method(model, layer, layout=layout)
    return lambda: attribution.attribute(images, target=targets)


def _pytorch_grad_cam(subject: Subject) -> object:
    # Its maps come upsampled to the size of the input; there is no way to ask for less.
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model, layer, images, targets, layout = subject
    with GradCAM(model, [layer], reshape_transform=vit_layout() if layout else None) as cam:
        return cam(images, [ClassifierOutputTarget(target) for target in targets])


def _torchcam(subject: Subject) -> object:
    from torchcam.methods import GradCAM

    with GradCAM(subject.model, target_layer=subject.layer) as cam, torch.enable_grad():
        return cam(subject.targets, subject.model(subject.images))
