"""The methods that explain "this class rather than that one", and the score that each of their maps explains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from captum.attr import LayerGradCam
from torch import Tensor, nn

from benchmarks.common.contrast_sets import EVERY_OTHER, ContrastSet, top
from benchmarks.common.names import DIFF, DIFF_PLUS_PLUS, GRAD_CAM, GRAD_CAM_PLUS_PLUS, REDUCTIONS, Reduction
from benchmarks.common.peers import PEERS, installed_peers
from benchmarks.common.probability import SCORES, Transformed
from benchmarks.faithfulness.finer_cams import REFERENCES, finer_cam, finer_score
from captum_diffcam import ContrastScore, LayerDiffGradCam, LayerDiffGradCamPlusPlus

RANDOM = "random map"
PAIRWISE = f"{DIFF}, rival"
ODDS = f"{DIFF} logsumexp, {EVERY_OTHER.label}"
FINER = {library: f"FinerCAM {library}, rival" for library in PEERS}
SETS = (EVERY_OTHER, top(5))


class Question(NamedTuple):
    """Target and rival of each image, (N,), and the classes nearest to the target, (N, R)."""

    targets: Tensor
    rivals: Tensor
    nearest: Tensor

    @classmethod
    def of(cls, logits: Tensor, targets: Tensor, rivals: Tensor) -> Question:
        """Return the question with the classes whose logits are nearest to the target's. Shape: logits (N, C)."""
        distance = (logits - logits.gather(1, targets[:, None])).abs().scatter(1, targets[:, None], torch.inf)
        count = min(REFERENCES, logits.shape[1] - 1)
        return cls(targets, rivals, distance.topk(count, dim=1, largest=False).indices)

    def repeated(self, times: int) -> Question:
        """Return the question for images that were repeated in place."""
        return Question(*(classes.repeat_interleave(times, dim=0) for classes in self))


@dataclass(frozen=True)
class Explainer:
    """A method. Its maps are signed or rectified, as the library returns them: (N, h, w) for images (N, 3, H, W)."""

    name: str
    maps: Callable[[Tensor, Question], Tensor]
    score: Callable[[Tensor, Question], Tensor]
    """The explained score as a function of the logits: (N, C) -> (N,)."""
    heavy: bool = True
    """Whether the method is included in measures that run the model hundreds of times."""


def explainers(model: nn.Module, layer: nn.Module, seed: int) -> list[Explainer]:
    """Return all methods that are installed. ``seed`` is for random maps, which show the chance level."""
    grad_cam, diff, plus = (
        LayerGradCam(model, layer),
        LayerDiffGradCam(model, layer),
        LayerDiffGradCamPlusPlus(model, layer),
    )

    def contrastive(family: str, cam: LayerDiffGradCam) -> list[Explainer]:
        def maps(images: Tensor, question: Question) -> Tensor:
            maps_: Tensor = cam.attribute(images, question.targets, contrast=question.rivals[:, None])
            return maps_[:, 0]

        explainers = [Explainer(f"{family}, rival", maps, _margin)]
        for contrast in SETS:
            for reduction in REDUCTIONS if contrast is EVERY_OTHER else REDUCTIONS[:1]:
                explainers.append(_against(family, cam, contrast, reduction))
        return explainers

    def plain(images: Tensor, question: Question) -> Tensor:
        maps_: Tensor = grad_cam.attribute(images, question.targets)
        return maps_.detach()[:, 0]

    def plain_plus_plus(images: Tensor, question: Question) -> Tensor:
        # Captum has no Grad-CAM++; with an empty contrast set, LayerDiffGradCamPlusPlus is that.
        maps_: Tensor = plus.attribute(images, question.targets, contrast=[])
        return maps_[:, 0]

    generator = torch.Generator().manual_seed(seed)

    def chance(images: Tensor, question: Question) -> Tensor:
        return torch.rand(len(images), 7, 7, generator=generator).to(images.device)

    return [
        Explainer(GRAD_CAM, plain, _logit),
        *(_transformed(name, model, layer) for name in SCORES),
        *contrastive(DIFF, diff),
        Explainer(GRAD_CAM_PLUS_PLUS, plain_plus_plus, _logit),
        *contrastive(DIFF_PLUS_PLUS, plus),
        *(finer for library in installed_peers() for finer in _finer(library, model, layer)),
        Explainer(RANDOM, chance, _logit),
    ]


def _transformed(name: str, model: nn.Module, layer: nn.Module) -> Explainer:
    cam = LayerGradCam(Transformed(model, SCORES[name]), layer)

    def maps(images: Tensor, question: Question) -> Tensor:
        maps_: Tensor = cam.attribute(images, question.targets)
        return maps_.detach()[:, 0]

    return Explainer(name, maps, lambda logits, question: _logit(SCORES[name](logits), question))


def _against(family: str, cam: LayerDiffGradCam, contrast: ContrastSet, reduction: Reduction) -> Explainer:
    def maps(images: Tensor, question: Question) -> Tensor:
        maps_: Tensor = cam.attribute(
            images,
            question.targets,
            contrast=contrast.argument,
            reduction=reduction,
        )
        return maps_[:, 0]

    scores = ContrastScore(lambda logits: logits, contrast.argument, reduction)

    def score(logits: Tensor, question: Question) -> Tensor:
        values: Tensor = scores(logits)
        return values.gather(1, question.targets[:, None]).squeeze(1)

    # The rival of every prediction is the strongest other class, so the maximum would be measured twice.
    heavy = contrast is EVERY_OTHER and reduction != "max"
    return Explainer(f"{family} {reduction}, {contrast.label}", maps, score, heavy)


def _finer(library: str, model: nn.Module, layer: nn.Module) -> list[Explainer]:
    def explainer(name: str, references: Callable[[Question], Tensor]) -> Explainer:
        return Explainer(
            name,
            lambda images, question: finer_cam(library, model, layer, images, question.targets, references(question)),
            lambda logits, question: finer_score(library, logits, question.targets, references(question)),
        )

    return [
        explainer(FINER[library], lambda question: question.rivals[:, None]),
        explainer(f"FinerCAM {library}, its own {REFERENCES}", lambda question: question.nearest),
    ]


def _logit(logits: Tensor, question: Question) -> Tensor:
    return logits.gather(1, question.targets[:, None]).squeeze(1)


def _margin(logits: Tensor, question: Question) -> Tensor:
    return _logit(logits, question) - logits.gather(1, question.rivals[:, None]).squeeze(1)


def log_odds_and_margin(logits: Tensor, question: Question) -> Tensor:
    """Return log-odds and margin of the target. Shapes: (N, C) -> (N, 2)."""
    odds: Tensor = ContrastScore(lambda values: values)(logits)
    return torch.stack([odds.gather(1, question.targets[:, None]).squeeze(1), _margin(logits, question)], dim=1)
