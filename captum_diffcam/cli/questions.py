"""What is asked about each image, and the maps that answer it: all of them from one forward pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from captum_diffcam import (
    CalibratedMap,
    ContrastScore,
    LayerDiffGradCam,
    LayerDiffGradCamPlusPlus,
    LayerDiffHiResCam,
    SpatialLayer,
    last_spatial_layer,
    spatial_layers,
    top_rivals,
)
from captum_diffcam.cli.models import nearest
from captum_diffcam.cli.options import UsageError

RIVALS = 3
"""The strongest rivals, each of which gets a map of its own."""

_METHODS = {"diffgradcam": LayerDiffGradCam, "plusplus": LayerDiffGradCamPlusPlus, "hirescam": LayerDiffHiResCam}


class LogitsOf(nn.Module):
    """A model whose output is its logits alone, (N, C).

    Of what models return, the entry ``logits`` is taken, or the first of several. A single logit z per example stands
    for the two classes with the logits 0 and z.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Any:
        """Return the logits of the images."""
        output = self.model(images)
        if isinstance(output, Mapping):  # so are the outputs of transformers
            output = output.get("logits", next(iter(output.values())))
        elif isinstance(output, (list, tuple)):
            output = output[0]
        if isinstance(output, Tensor) and output.shape[1:].numel() == 1:
            output = output.reshape(len(output), 1)
            output = torch.cat([torch.zeros_like(output), output], dim=1)
        return output


@dataclass(frozen=True)
class Question:
    """A contrast set, as ``--contrast`` names it."""

    text: str
    """What the class is explained against, in words."""
    classes: tuple[int, ...] = ()
    """Classes that are named."""
    top: int = 0
    """How many of the strongest rivals."""
    plain: bool = False
    """Whether the contrast set is empty."""

    def mask(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the contrast mask. Shapes: logits (N, C), target (N,) -> (N, C)."""
        if self.plain:
            return torch.zeros_like(logits, dtype=torch.bool)
        if self.top:
            return top_rivals(self.top)(logits, target)
        others = torch.ones_like(logits, dtype=torch.bool).scatter(1, target[:, None], False)
        if not self.classes:
            return others
        named = torch.zeros_like(others)
        named[:, list(self.classes)] = True
        named &= others
        return torch.where(named.any(dim=1, keepdim=True), named, others)

    def text_for(self, target: int) -> str:
        """Return what this class is explained against: a class that is named alone is not explained against itself."""
        return f"{ALL.text}, because {self.text} is the class itself" if self.classes == (target,) else self.text


ALL = Question("all other classes")


def find_layer(model: LogitsOf, images: Tensor, name: str | None) -> SpatialLayer:
    """Return the layer of this name with its layout, or the last one with positions.

    Raises:
        UsageError: No layer of the model has the name.
    """
    if name is None:
        return _without_wrapper(last_spatial_layer(model, images))
    layers = {layer.name: layer for layer in map(_without_wrapper, spatial_layers(model, images))}
    if name in layers:
        return layers[name]
    modules = dict(model.model.named_modules())
    if name and name in modules:
        # One that runs several times, or whose positions are not laid out in a known way: the library will say so.
        return SpatialLayer(modules[name], False, None, name)
    raise UsageError(
        f"`--layer` must name a layer of the model, got {name!r}{nearest(name, [*layers, *modules])} The last layers "
        f"with positions are {', '.join(list(layers)[-6:])}."
    )


def _without_wrapper(layer: SpatialLayer) -> SpatialLayer:
    return layer._replace(name=layer.name.removeprefix("model."))


def parse_question(text: str, classes: Sequence[str]) -> Question:
    """Return the contrast set that ``--contrast`` names.

    Raises:
        UsageError: There is no such class.
    """
    word = text.strip().lower()
    if word == "all":
        return ALL
    if word == "none":
        return Question("nothing (plain Grad-CAM)", plain=True)
    if word.startswith("top") and word[3:].isascii() and word[3:].isdigit() and int(word[3:]):
        top = int(word[3:])
        return Question("the strongest rival" if top == 1 else f"the {top} strongest rivals", top=top)
    try:
        numbers = [parse_class("--contrast", text, classes)]
    except UsageError:
        # Names may contain commas themselves.
        numbers = [parse_class("--contrast", part, classes) for part in text.split(",")]
    return Question(" and ".join(classes[number] for number in numbers), classes=tuple(numbers))


def parse_class(option: str, text: str, classes: Sequence[str]) -> int:
    """Return the class with this number or name; of a name with synonyms, "tabby, tabby cat", each will do.

    Raises:
        UsageError: There is no such class, or there are several.
    """
    text = text.strip()
    if text.isascii() and text.isdigit():
        if int(text) >= len(classes):
            raise UsageError(f"`{option}` must be a class from 0 to {len(classes) - 1}, or a name, got {text}.")
        return int(text)
    names = [name.lower() for name in classes]
    matches = [number for number, name in enumerate(names) if name == text.lower()]
    if not matches:
        matches = [
            number for number, name in enumerate(names) if text.lower() in (part.strip() for part in name.split(","))
        ]
    if len(matches) > 1:
        raise UsageError(f"`{option}` must be a number, because the name {text!r} stands for the classes {matches}.")
    if not matches:
        raise UsageError(
            f"`{option}` must be the number or the name of one of {len(classes)} classes, got {text!r}"
            f"{nearest(text, classes)}"
        )
    return matches[0]


class Answers(NamedTuple):
    """The maps of N images and what belongs to them, on the CPU."""

    maps: Tensor
    """(N, Q, h, w), one for each question."""
    scores: Tensor
    """(N, Q), the contrast scores in nats."""
    rival_maps: Tensor
    """(N, R, h, w), against each of the strongest rivals by itself."""
    rival_scores: Tensor
    """(N, R)"""
    rivals: Tensor
    """(N, R), the strongest first."""
    target: Tensor
    """(N,), the classes that are explained."""
    probabilities: Tensor
    """(N, C), the softmax of the logits."""
    calibrated_maps: Tensor
    """(N, Q, h, w), those of the questions after correction by occlusions; (N, 0, h, w) if that was not asked for."""
    falls: Tensor
    """(N, Q, K), how far each score falls when each of K windows is hidden, or (N, 0, 0)."""
    residuals: Tensor
    """(N, Q, K), the falls minus what the maps predict of them, or (N, 0, 0)."""


class Explainer:
    """Answer all questions about a batch of images.

    Args:
        model: A model that returns logits (N, C).
        n_classes: How many classes it has.
        layer: The layer to explain.
        questions: The contrast sets.
        target: The class to explain. None is the class that the model predicts.
        reduction: How several rivals count.
        method: Which class activation map.
        calibrate: Whether the map of each question is also corrected by occlusions.
    """

    def __init__(
        self,
        model: LogitsOf,
        n_classes: int,
        layer: SpatialLayer,
        questions: Sequence[Question],
        target: int | None,
        reduction: Literal["logsumexp", "mean", "max"],
        method: str,
        calibrate: bool = False,
    ) -> None:
        self.model = model
        self.n_classes = n_classes
        self.n_rivals = min(RIVALS, n_classes - 1)
        kinds = [False] + [True] * (len(questions) + self.n_rivals) + [False] * n_classes
        self.is_score = torch.tensor(kinds)
        self.questions = questions
        self.target = target
        self.reduction = reduction
        self.cam = _METHODS[method](self._score_columns, layer)
        # Its target must stay that of the whole image while windows are hidden, which the columns do not allow.
        self.calibrated = CalibratedMap(_METHODS[method](model, layer)) if calibrate else None

    def _targets(self, logits: Tensor) -> Tensor:
        return logits.argmax(dim=1) if self.target is None else torch.full_like(logits[:, 0], self.target).long()

    def _rivals(self, logits: Tensor, target: Tensor) -> Tensor:
        others = logits.detach().scatter(1, target[:, None], -torch.inf)
        return others.topk(self.n_rivals, dim=1).indices

    def _score_columns(self, images: Tensor) -> Tensor:
        """Return the contrast score of each question and rival, with their signs changed, behind a column of zeros.

        The map of column 0 against another column is then the map of that column's score. So ``attribute_rivals``
        returns all these maps from one forward pass. The logits come along as the last C columns.
        """
        logits = self.model(images)
        target = self._targets(logits)
        own = logits.gather(1, target[:, None])
        margins = own - logits.gather(1, self._rivals(logits, target))
        by_class = [
            ContrastScore(nn.Identity(), question.mask(logits.detach(), target), self.reduction)(logits)
            for question in self.questions
        ]
        scores = torch.cat([*(scores.gather(1, target[:, None]) for scores in by_class), margins], dim=1)
        return torch.cat([torch.zeros_like(own), -scores, logits.detach()], dim=1)

    def __call__(self, images: Tensor) -> Answers:
        """Return the maps of the images, (N, channels, H, W), and what belongs to them."""
        n_questions = len(self.questions)
        ranked = self.cam.attribute_rivals(images, 0, self.is_score)
        _, all_scores, logits = ranked.logits.split_with_sizes([1, int(self.is_score.sum()), self.n_classes], dim=1)
        # The columns come in the order of their values; a column that is ruled out is missing, and its map stays zero.
        maps = torch.zeros_like(ranked.maps[:, :, 0])
        example, place = (ranked.rivals > 0).nonzero(as_tuple=True)
        maps[example, ranked.rivals[example, place] - 1] = ranked.maps[example, place, 0]
        scores = -all_scores
        target = self._targets(logits)
        calibrated_maps, falls, residuals = self._calibrate(images, logits, target, maps[:, :0])
        return Answers(
            maps[:, :n_questions].cpu(),
            scores[:, :n_questions].cpu(),
            maps[:, n_questions:].cpu(),
            scores[:, n_questions:].cpu(),
            self._rivals(logits, target).cpu(),
            target.cpu(),
            logits.softmax(dim=1).cpu(),
            calibrated_maps.cpu(),
            falls.cpu(),
            residuals.cpu(),
        )

    def _calibrate(
        self, images: Tensor, logits: Tensor, target: Tensor, no_maps: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the calibrated map of each question, the falls and the residuals, as :class:`Answers` has them."""
        if self.calibrated is None:
            no_falls = no_maps.flatten(2)[:, :, :0]
            return no_maps, no_falls, no_falls
        results = [
            self.calibrated.calibrate(
                images,
                target,
                contrast=question.mask(logits, target),
                reduction=self.reduction,
                windows_per_eval=1,  # so that no forward pass has more images than --batch-size says
            )
            for question in self.questions
        ]
        return (
            torch.cat([result.maps for result in results], dim=1),
            torch.stack([result.falls for result in results], dim=1),
            torch.stack([result.residual for result in results], dim=1),
        )
