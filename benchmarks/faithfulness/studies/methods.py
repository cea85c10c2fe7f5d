"""The methods of these studies. Each explains why an image has a class, which need not be the predicted one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from captum.attr import IntegratedGradients, LayerGradCam, LayerIntegratedGradients
from torch import Tensor

from benchmarks.common.contrast_sets import EVERY_OTHER, top
from benchmarks.common.names import DIFF, DIFF_PLUS_PLUS, GRAD_CAM, GRAD_CAM_PLUS_PLUS, REDUCTIONS, Reduction
from benchmarks.common.occlusion import occlusion_maps
from benchmarks.common.peers import PEERS, installed_peers
from benchmarks.common.probability import SCORES, Transformed
from benchmarks.faithfulness.finer_cams import REFERENCES, finer_cam
from benchmarks.faithfulness.methods import RANDOM
from benchmarks.faithfulness.studies.networks import Network
from captum_diffcam import ContrastScore, LayerDiffGradCam, LayerDiffGradCamPlusPlus, LayerDiffHiResCam

DEFAULT = f"{DIFF} logsumexp, {EVERY_OTHER.label}"
PLUS_PLUS = f"{DIFF_PLUS_PLUS} logsumexp, {EVERY_OTHER.label}"
HIRES = "DiffHiResCAM"
OTHERS_SHOWN = f"{DIFF} logsumexp, the mosaic's other classes"
TOP = f"{DIFF} logsumexp, {top(5).label}"
INPUT_IG, LAYER_IG = "integrated gradients", "integrated gradients at the layer, log-odds"
OCCLUSION = "occlusion"
FINER = {library: f"FinerCAM {library}, its own {REFERENCES}" for library in PEERS}
STEPS = 16
"""Steps of integrated gradients."""


class Question(NamedTuple):
    """What is explained. Shapes: images (N, 3, H, W), features (N, K, h, w), targets (N,)."""

    images: Tensor
    features: Tensor
    targets: Tensor
    others: Tensor | None = None
    """The other classes of a mosaic, (N, R)."""
    cells: tuple[int, int] | None = None
    """The grid of occlusion; by default that of the features."""


@dataclass(frozen=True)
class Method:
    """A method whose maps (N, h, w) are signed, or rectified as the library returns them."""

    name: str
    maps: Callable[[Question], Tensor]
    score: Callable[[Tensor], Tensor] | None = None
    """From logits to what the map explains, (N, C) -> (N, C). None: positions of the map have no unit."""
    slow: bool = False
    """Whether the whole classifier runs many times for one map."""
    is_integral: bool = False
    """Whether the map sums to the change of its score from the baseline, instead of a linear part of the score."""


def _logits(logits: Tensor) -> Tensor:
    return logits


def all_methods(network: Network, seed: int, *, peers: bool = True) -> list[Method]:
    """Return every method whose library is installed. ``seed`` is for random maps, which show the chance level."""
    tail, layer, whole = network.tail, network.tail.features, network.whole

    def grad_cam(name: str, function: Callable[[Tensor], Tensor]) -> Method:
        cam = LayerGradCam(Transformed(tail, function), layer)
        return Method(name, lambda q: _first(cam.attribute(q.features, q.targets)), function)

    def contrastive(family: str, cam: LayerDiffGradCam, reduction: Reduction, *, scaled: bool = True) -> Method:
        return Method(
            f"{family} {reduction}, {EVERY_OTHER.label}",
            lambda q: _first(cam.attribute(q.features, q.targets, reduction=reduction)),
            _scores(reduction) if scaled else None,
        )

    diff, plus = LayerDiffGradCam(tail, layer), LayerDiffGradCamPlusPlus(tail, layer)
    hires = LayerDiffHiResCam(tail, layer)
    generator = torch.Generator().manual_seed(seed)
    path: Any = LayerIntegratedGradients(ContrastScore(tail), layer)
    whole_path: Any = IntegratedGradients(whole)

    def of_others(q: Question) -> Tensor:
        return _first(diff.attribute(q.features, q.targets, contrast=q.others))

    def random(q: Question) -> Tensor:
        return torch.rand(len(q.features), *q.features.shape[2:], generator=generator).to(q.features)

    def layer_path(q: Question) -> Tensor:
        start = torch.zeros_like(q.features)
        attributions: Tensor = path.attribute(q.features, start, q.targets, n_steps=STEPS)
        return attributions.sum(dim=1).detach()

    def input_path(q: Question) -> Tensor:
        # One image at a time, to save memory.
        parts = [
            whole_path.attribute(image[None], baseline(image[None]), int(target), n_steps=STEPS, internal_batch_size=4)
            for image, target in zip(q.images, q.targets, strict=True)
        ]
        attributions = torch.cat(parts)
        return attributions.sum(dim=1).detach()

    def occlusion(q: Question) -> Tensor:
        return occlusion_maps(whole, q.images, q.targets, q.cells or q.features.shape[2:])

    return [
        grad_cam(GRAD_CAM, _logits),
        *(grad_cam(name, function) for name, function in SCORES.items()),
        *(contrastive(DIFF, diff, reduction) for reduction in REDUCTIONS),
        Method(TOP, lambda q: _first(diff.attribute(q.features, q.targets, contrast=top(5).argument))),
        Method(OTHERS_SHOWN, of_others),
        *(contrastive(HIRES, hires, reduction) for reduction in REDUCTIONS),
        Method(GRAD_CAM_PLUS_PLUS, lambda q: _first(plus.attribute(q.features, q.targets, contrast=[]))),
        contrastive(DIFF_PLUS_PLUS, plus, "logsumexp"),
        *(_peers(network) if peers else []),
        Method(LAYER_IG, layer_path, _scores("logsumexp"), is_integral=True),
        Method(INPUT_IG, input_path, _logits, slow=True, is_integral=True),
        Method(OCCLUSION, occlusion, slow=True),
        Method(RANDOM, random),
    ]


def baseline(images: Tensor) -> Tensor:
    """Return the images of one colour, the mean of each, where the paths of integrated gradients start."""
    return images.mean(dim=(2, 3), keepdim=True).expand_as(images)


def _first(maps: Tensor) -> Tensor:
    return maps.detach()[:, 0]


def _scores(reduction: Reduction) -> Callable[[Tensor], Tensor]:
    score: Callable[[Tensor], Tensor] = ContrastScore(_logits, None, reduction)
    return score


def _peers(network: Network) -> list[Method]:
    """Return the methods of other libraries."""
    tail, libraries = network.tail, installed_peers()

    def finer(library: str) -> Callable[[Question], Tensor]:
        def maps(q: Question) -> Tensor:
            with torch.no_grad():
                logits = tail(q.features)
            distance = (logits - logits.gather(1, q.targets[:, None])).abs()
            distance = distance.scatter(1, q.targets[:, None], torch.inf)
            nearest = distance.topk(min(REFERENCES, logits.shape[1] - 1), dim=1, largest=False).indices
            return finer_cam(library, tail, tail.features, _leaf(q.features), q.targets, nearest)

        return maps

    methods = [Method(FINER[library], finer(library)) for library in libraries]
    if "pytorch-grad-cam" in libraries:
        methods += [
            Method(f"{name} pytorch-grad-cam", _pytorch_grad_cam(network, name))
            for name in ("HiResCAM", "LayerCAM", "ShapleyCAM")
        ]
    return methods


def _pytorch_grad_cam(network: Network, name: str) -> Callable[[Question], Tensor]:
    def maps(q: Question) -> Tensor:
        import pytorch_grad_cam
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputReST, ClassifierOutputTarget

        # ReST is what the authors of ShapleyCAM use it with.
        kind: Any = ClassifierOutputReST if name == "ShapleyCAM" else ClassifierOutputTarget
        make: Any = getattr(pytorch_grad_cam, name)
        tail = network.tail
        with make(tail, [tail.features]) as cam, torch.enable_grad():
            made = torch.from_numpy(cam(_leaf(q.features), [kind(target) for target in q.targets.tolist()]))
        # This library leaves a gradient in every parameter.
        tail.zero_grad(set_to_none=True)
        return made.to(q.features.device)

    return maps


def _leaf(features: Tensor) -> Tensor:
    """Return features that require a gradient: the other libraries expect that a layer's output does."""
    return features.detach().clone().requires_grad_()
