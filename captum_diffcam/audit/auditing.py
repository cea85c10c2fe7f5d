"""The audit: measure maps and occlusion of more and more images until there is a verdict about each method."""

from __future__ import annotations

import math
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import pairwise
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import Module
from tqdm import tqdm

from captum_diffcam._checks import as_count, as_index
from captum_diffcam.attribution import Layer, LayerDiffGradCam, LayerDiffHiResCam
from captum_diffcam.audit.occlusion import FILLS, Occlusions, random_window_occlusion
from captum_diffcam.audit.report import (
    LARGEST_CLASS,
    MIN_CLASS_IMAGES,
    MIN_CONFIDENCE,
    MIN_IMAGES,
    AuditReport,
    Evidence,
    decide,
)
from captum_diffcam.audit.statistics import Measurements, class_agreement, largest_shifts, measure
from captum_diffcam.contrast import contrast_mask
from captum_diffcam.equivariant import shift_images
from captum_diffcam.layers import last_spatial_layer
from captum_diffcam.logits import as_logits, check_several_classes, resolve_target
from captum_diffcam.methods import CamMethod, as_methods, in_eval_mode, layer_of_model, maps_of_methods
from captum_diffcam.metrics import pearson
from captum_diffcam.score import explained_score

DEFAULT_METHODS = (
    CamMethod(LayerDiffGradCam, contrast=[]),
    CamMethod(LayerDiffGradCam),
    CamMethod(LayerDiffGradCam, reduction="mean"),
)
"""The methods that :func:`audit` tests by default: Grad-CAM (an empty contrast set) and two contrastive maps. An attack
on one of them often leaves another intact."""

_TILINGS = 2
"""Tilings of each image. Each gives an occlusion map, and two show how reliable these are."""
INTERIM_ALPHA = 0.2
"""The share of the significance level that all interim looks spend together."""
_MIN_CELLS = 4
"""The smallest number of positions for which correlations are computed."""
_UNIFORM = 0.98
"""If the maps of HiResCAM correlate less with those of Grad-CAM, gradients differ between positions."""


def audit(
    model: Module,
    images: Any,
    *,
    layer: Layer | None = None,
    target: int | Sequence[int] | Tensor | None = None,
    methods: CamMethod | Sequence[CamMethod] = DEFAULT_METHODS,
    class_names: Sequence[str] | None = None,
    alpha: float = 0.05,
    fills: Sequence[str] = FILLS,
    seed: int | None = None,
    device: torch.device | str | None = None,
    batch_size: int = 32,
) -> AuditReport:
    r"""Test whether the maps of a model show what its predictions depend on, for each of several methods.

    Random windows of each image are hidden, and the falls of the log-odds are compared with the maps:

    - *prediction*: does the map predict the measured falls, window by window? The *slope* says in which units;
    - *agreement* of maps and occlusion maps, corrected for the noise of the latter;
    - *registration*: does the map predict them better when it is shifted by up to two cells?
    - *excess*: what the maps of different images have in common and predictions do not depend on;
    - *deficit*: what predictions on different images depend on in common and maps do not show;
    - *equivariance*: if the image is shifted by up to two cells, does the map move with it?

    The verdict about a method's maps is

    - ``"supported"`` if its prediction is shown to be above 0.4, its agreement above 0.2 and no shift to gain more than
      0.12. Also, excess must be shown to be below 0.3, deficit below 0.5 and equivariance above -0.25. A prediction
      shown to be above 0.6 makes up for the last three. No shift may look better than none at a level of 0.3, and no
      class of at least four images may be shown to disagree;
    - ``"contradicted"`` if its agreement is shown to be below 0.4, and one more thing is shown: prediction below 0.25,
      a shift that gains more than 0.12, excess above 0.3, or equivariance below zero. The last does not count if most
      images are of one class;
    - ``"undecided"`` otherwise, also if the occlusion map does not agree with itself or the model is hardly more
      confident than a guess.

    A contradiction has many causes: a manipulated model, or a method that does not fit the architecture, such as
    Grad-CAM in front of a flattening. Support holds for images like these: :attr:`AuditReport.scope_text` names the
    classes. It does not rule out a manipulation that passes all tests; see :doc:`/explanation/threat_model`.

    The evidence is tested after 16, 32, 64 and so on images, which are drawn in random order, and after all of them,
    until each method has a verdict. With a probability of approximately ``alpha`` at most, any method's maps are
    supported that should not be; likewise for contradictions. Interim looks spend a fifth of ``alpha`` together, and
    the last look the rest. P-values are corrected for the number of methods (Hochberg). They are of Student's t-test
    with errors from the jackknife, which are exact for normally distributed values and many images only.

    Args:
        model: returns logits (N, C). It is run in eval mode and restored.
        images: different images as the model expects them, at least 16; 32 to 64 are usually enough. A tensor
            ``(N, channels, *size)`` or a NumPy array, a list of tensors ``(channels, *size)``, or a DataLoader of
            batches of images, or of tuples that begin with them.
        layer: the layer to audit: a module of the model, its name, or a
            :class:`SpatialLayer <captum_diffcam.layers.SpatialLayer>`. None: the last one with positions, as
            :func:`~captum_diffcam.last_spatial_layer` finds it.
        target: the class to explain, one for all or one per image. None: the model's predictions.
        methods: the methods to audit, one or several. The default is Grad-CAM (``LayerDiffGradCam`` with
            ``contrast=[]``), and DiffGradCAM with ``logsumexp`` and ``mean``.
        class_names: the names of the classes, for the report.
        alpha: the significance level of either verdict, between 0 and 0.5.
        fills: what windows are hidden behind: one or more of ``"mean"``, ``"blur"`` and ``"other"`` (other images).
        seed: of order, windows, fills and shifts. None: a random seed, so that an attacker cannot know it. The report
            has it. The caller's random state does not matter and is not changed.
        device: where to run the model. None: where it is. The model is moved back afterwards.
        batch_size: the number of images per forward pass, at least 1.

    Returns:
        AuditReport: the verdict about each method, and its evidence.

    Raises:
        TypeError, ValueError, IndexError: an argument is none of the above. The message names it.

    Source: the audit is ours. Occlusion is from M. Zeiler, R. Fergus, arXiv:1311.2901.

    Example:
        >>> import torch
        >>> from captum_diffcam.audit import audit
        >>> _ = torch.manual_seed(0)
        >>> conv, pool = torch.nn.Conv2d(3, 8, 5, stride=4), torch.nn.AdaptiveAvgPool2d(1)
        >>> model = torch.nn.Sequential(conv, torch.nn.ReLU(), pool, torch.nn.Flatten(), torch.nn.Linear(8, 10)).eval()
        >>> report = audit(model, torch.rand(16, 3, 32, 32), seed=0)
        >>> report.occlusion_maps.shape, report.verdict
        (torch.Size([16, 7, 7]), 'undecided')
    """
    if not isinstance(model, Module):
        raise TypeError(f"`model` must be a torch.nn.Module, got {type(model).__name__}. Without one, use audit_maps.")
    images = _as_images(images)
    audited_layer = None if layer is None else layer_of_model(model, layer)
    methods = as_methods(methods)
    names = [str(method) for method in methods]
    if len(set(names)) < len(names):
        raise ValueError(f"`methods` must have different names, got {', '.join(names)}.")
    settings = _Settings(target, class_names, alpha, fills, seed, batch_size).checked()
    with _on_device(model, device), in_eval_mode(model), torch.inference_mode(False):
        where = next((tensor for tensor in _tensors(model) if tensor.is_floating_point()), torch.empty(0))

        def to_model(batch: Tensor) -> Tensor:
            return batch.to(where.device, where.dtype)

        def predict(batch: Tensor) -> Tensor:
            with torch.no_grad():
                return as_logits(model(to_model(batch)))

        if audited_layer is None:
            audited_layer = last_spatial_layer(model, to_model(images[:1]))

        def maps_of(methods: Sequence[CamMethod], batch: Tensor, classes: Tensor) -> dict[str, Tensor]:
            maps = maps_of_methods(methods, model, audited_layer, to_model(batch), classes.to(where.device))
            return dict(zip(map(str, methods), maps, strict=True))

        report = _audit(predict, _Maps(partial(maps_of, methods)), images, settings, "layer")
        if any(result.verdict == "contradicted" for result in report.by_method.values()):
            few, classes = report.images[:MIN_IMAGES], report.target[:MIN_IMAGES]
            pair = maps_of([CamMethod(LayerDiffGradCam), CamMethod(LayerDiffHiResCam)], few, classes)
            report = replace(report, gradients_vary=pearson(*pair.values()).mean().item() < _UNIFORM)
    return report


def audit_maps(
    predict: Callable[[Tensor], Any],
    maps: Any,
    images: Any,
    *,
    target: int | Sequence[int] | Tensor | None = None,
    class_names: Sequence[str] | None = None,
    alpha: float = 0.05,
    fills: Sequence[str] = FILLS,
    seed: int | None = None,
    batch_size: int = 32,
) -> AuditReport:
    """Test maps from anywhere as :func:`audit` does, without a PyTorch model: of an API, TorchScript or ONNX.

    Args:
        predict: takes images ``(N, channels, *size)`` and returns logits or log-probabilities (N, C), as a tensor or
            an array.
        maps: what to test: a function ``(images, target) -> maps``, or maps ``(N, *positions)`` of the given images, or
            a dict of these by name. Maps that are given as numbers have no equivariance, so they are supported only if
            their prediction is shown to be above 0.6.
        images: as for :func:`audit`. If they are a NumPy array, the functions get arrays, too.
        target: as for :func:`audit`.
        class_names: as for :func:`audit`.
        alpha: as for :func:`audit`.
        fills: as for :func:`audit`.
        seed: as for :func:`audit`.
        batch_size: as for :func:`audit`.

    Returns:
        AuditReport: as that of :func:`audit`.

    Raises:
        TypeError, ValueError, IndexError: an argument is none of the above. The message names it.

    Example:
        >>> import torch
        >>> from captum_diffcam.audit import audit_maps
        >>> def predict(images):
        ...     return torch.stack([images[..., :4].mean((1, 2, 3)), images[..., 4:].mean((1, 2, 3))], 1)
        >>> def maps(images, target):
        ...     return images.mean(1)
        >>> audit_maps(predict, maps, torch.rand(16, 3, 8, 8), seed=0).verdict
        'undecided'
    """
    arrays = isinstance(images, np.ndarray)
    images = _as_images(images)
    if not callable(predict):
        raise TypeError(f"`predict` must be a function of images that returns logits, got {type(predict).__name__}.")
    by_name = dict(maps) if isinstance(maps, Mapping) else {"maps": maps}
    if not by_name:
        raise ValueError("`maps` must be at least one function or tensor, got an empty dict.")
    functions = {name: its for name, its in by_name.items() if callable(its)}
    given = {name: torch.as_tensor(its) for name, its in by_name.items() if not callable(its)}
    for its_maps in given.values():
        if len(its_maps) != len(images):
            raise ValueError(f"`maps` must be one for each of {len(images)} images, got {len(its_maps)}.")

    def as_given(tensor: Tensor) -> Any:
        return tensor.numpy() if arrays else tensor

    def call(batch: Tensor) -> Tensor:
        return as_logits(torch.as_tensor(predict(as_given(batch))))

    def compute(batch: Tensor, classes: Tensor) -> dict[str, Tensor]:
        arguments = (as_given(batch), as_given(classes))
        return {name: torch.as_tensor(function(*arguments)) for name, function in functions.items()}

    settings = _Settings(target, class_names, alpha, fills, seed, batch_size).checked()
    with torch.no_grad():
        return _audit(call, _Maps(compute, given), images, settings, "maps")


class _Settings(NamedTuple):
    """The arguments that both functions share."""

    target: Any
    class_names: Sequence[str] | None
    alpha: float
    fills: Sequence[str]
    seed: int | None
    batch_size: int

    def checked(self) -> _Settings:
        """Return the settings with a seed, after checking them."""
        if not isinstance(self.alpha, Real) or not 0 < float(self.alpha) < 0.5:
            raise ValueError(f"`alpha` must be a number between 0 and 0.5, got {self.alpha!r}.")
        if isinstance(self.fills, str) or not self.fills or any(fill not in FILLS for fill in self.fills):
            raise ValueError(
                f"`fills` must be a list of {', '.join(map(repr, FILLS))}, at least one, got {self.fills!r}."
            )
        as_count("batch_size", self.batch_size)
        if isinstance(self.class_names, str):
            raise TypeError(f"`class_names` must be a list of names, got {self.class_names!r}.")
        if self.seed is None:
            return self._replace(seed=secrets.randbits(32))
        return self._replace(seed=as_index("seed", self.seed, "None or an integer"))


def interim_sizes(count: int) -> list[int]:
    """Return the numbers of images after which the evidence is tested: 16, 32, 64 and so on, and all.

    Example:
        >>> from captum_diffcam.audit.auditing import interim_sizes
        >>> interim_sizes(64), interim_sizes(40), interim_sizes(16)
        ([16, 32, 64], [16, 40], [16])
    """
    sizes = []
    size = MIN_IMAGES
    # No interim look at more than half of the images, because the last look follows soon.
    while size <= count // 2:
        sizes.append(size)
        size *= 2
    return [*sizes, count]


def shares_of_alpha(looks: int) -> list[float]:
    """Return the share of the significance level that each look spends: most of it the last one.

    Example:
        >>> from captum_diffcam.audit.auditing import shares_of_alpha
        >>> shares_of_alpha(1), shares_of_alpha(2), shares_of_alpha(3)
        ([1.0], [0.2, 0.8], [0.1, 0.1, 0.8])
    """
    if looks == 1:
        return [1.0]
    return [INTERIM_ALPHA / (looks - 1)] * (looks - 1) + [1 - INTERIM_ALPHA]


class _Part(NamedTuple):
    """What was measured of some images."""

    classes: Tensor
    log_odds: Tensor
    guess: float
    """The log-odds of a guess."""
    occlusions: Occlusions
    maps: dict[str, Tensor]
    shifted_maps: dict[str, Tensor]
    """Of the methods that can explain any image."""
    shifts: list[tuple[int, ...]]


class _Maps(NamedTuple):
    """Where the maps of each method come from."""

    compute: Callable[[Tensor, Tensor], Mapping[str, Tensor]]
    """``(images, classes) -> maps``, for the methods that can explain any image."""
    given: Mapping[str, Tensor] = {}
    """The maps of other methods for all images of the caller."""


def _audit(
    predict: Callable[[Tensor], Tensor], maps: _Maps, images: Tensor, settings: _Settings, source: str
) -> AuditReport:
    assert settings.seed is not None
    generator = torch.Generator().manual_seed(settings.seed)
    order = torch.randperm(len(images), generator=generator)
    shuffled = images[order]
    sizes = interim_sizes(len(images))
    shares = shares_of_alpha(len(sizes))
    parts: list[_Part] = []
    predictions: list[tuple[int, float]] = []

    def timed(batch: Tensor) -> Tensor:
        began = time.perf_counter()
        logits = predict(batch).detach().cpu()
        predictions.append((len(batch), time.perf_counter() - began))
        return logits

    start = time.perf_counter()
    with tqdm(total=len(images), desc="audit", unit="image", leave=False) as bar:
        for (first, last), share in zip(pairwise([0, *sizes]), shares, strict=True):
            parts.append(
                _measure(timed, maps, shuffled, order[first:last], slice(first, last), settings, source, generator)
            )
            classes, log_odds = (torch.cat([getattr(part, name) for part in parts]) for name in ("classes", "log_odds"))
            confident = (log_odds - parts[0].guess).median().item() >= MIN_CONFIDENCE
            several = Counter(classes.tolist()).most_common(1)[0][1] <= LARGEST_CLASS * last
            data = {name: _joined(parts, name) for name in parts[0].maps}
            evidence = {name: _evidence(its, classes, several, confident) for name, its in data.items()}
            results = decide(evidence, settings.alpha, share)
            bar.update(last - bar.n)
            if all(result.verdict != "undecided" for result in results.values()):
                break
    seconds = time.perf_counter() - start
    predicted, spent = (sum(numbers) for numbers in zip(*predictions, strict=True))
    return AuditReport(
        by_method=results,
        images=shuffled[:last],
        indices=order[:last],
        target=classes,
        occlusion_maps=next(iter(data.values())).occlusions.maps().mean(dim=1),
        maps={name: its.maps for name, its in data.items()},
        alpha=settings.alpha,
        interim_looks=len(sizes),
        total_images=len(images),
        forward_passes=seconds / max(spent, 1e-9) * predicted / last,
        seed=settings.seed,
        class_names=settings.class_names,
    )


def _measure(
    predict: Callable[[Tensor], Tensor],
    maps: _Maps,
    shuffled: Tensor,
    numbers: Tensor,
    part: slice,
    settings: _Settings,
    source: str,
    generator: torch.Generator,
) -> _Part:
    """Return the measurements of a part of the images, whose numbers in the caller's order are ``numbers``."""
    images = shuffled[part]

    def predicted(batch: Tensor) -> Tensor:
        return torch.cat([predict(split) for split in torch.split(batch, settings.batch_size)])

    def explained(batch: Tensor) -> dict[str, Tensor]:
        splits = zip(*(torch.split(tensor, settings.batch_size) for tensor in (batch, classes)), strict=True)
        computed = [maps.compute(*split) for split in splits]
        return {name: as_maps([part[name] for part in computed], len(batch)) for name in computed[0]}

    logits = predicted(images)
    if logits.ndim != 2:
        raise ValueError(f"`model` must return logits (N, C), got {tuple(logits.shape)} for {len(images)} images.")
    check_several_classes(logits)
    if settings.class_names is not None and len(settings.class_names) != logits.shape[1]:
        raise ValueError(
            f"`class_names` must have a name for each of {logits.shape[1]} classes, got {len(settings.class_names)}."
        )
    classes = _classes(logits, settings.target, numbers, len(shuffled))
    log_odds = _log_odds(logits, classes)
    its_maps = {**explained(images), **{name: as_maps([its[numbers]], len(images)) for name, its in maps.given.items()}}
    grid = _grid(its_maps, images, source)
    shifts = [_draw_shift(grid, generator) for _ in images]
    shifted = torch.cat([shift_images(image[None], by, grid) for image, by in zip(images, shifts, strict=True)])

    def score(occluded: Tensor, originals: Tensor) -> Tensor:
        return _log_odds(predicted(occluded), classes[originals])

    occlusions = random_window_occlusion(
        score,
        images,
        grid,
        generator,
        tilings=_TILINGS,
        clean_scores=log_odds,
        other_images=shuffled,
        fills=settings.fills,
    )
    guess = -math.log(max(logits.shape[1] - 1, 1))
    return _Part(classes, log_odds, guess, occlusions, its_maps, explained(shifted), shifts)


def _joined(parts: Sequence[_Part], name: str) -> Measurements:
    """Return the measurements of all parts for one method."""
    return Measurements(
        torch.cat([part.maps[name] for part in parts]),
        torch.cat([part.shifted_maps[name] for part in parts]) if name in parts[0].shifted_maps else None,
        [by for part in parts for by in part.shifts],
        Occlusions(*(torch.cat(tensors) for tensors in zip(*(part.occlusions for part in parts), strict=True))),
    )


def _evidence(data: Measurements, classes: Tensor, several: bool, confident: bool) -> Evidence:
    finite = data.maps.isfinite().all() and (data.shifted_maps is None or data.shifted_maps.isfinite().all())
    measures = measure(data) if finite else None
    by_class = {}
    if measures is not None:
        of_images = measures.agreement_of_images
        counts = Counter(classes.tolist())
        by_class = {
            number: class_agreement(of_images[classes == number])
            for number, count in sorted(counts.items())
            if count >= MIN_CLASS_IMAGES
        }
    return Evidence(measures, by_class, several, confident)


def _as_images(images: Any) -> Tensor:
    """Return the images as one tensor on the CPU, after checking it."""
    if isinstance(images, (Tensor, np.ndarray)):
        tensor = torch.as_tensor(images).detach().cpu()
    elif isinstance(images, (str, bytes, Mapping)) or not hasattr(images, "__iter__"):
        raise TypeError(f"`images` must be a tensor, a list of tensors or a DataLoader, got {type(images).__name__}.")
    else:
        loaded = []
        for item in images:
            batch = item[0] if isinstance(item, (tuple, list)) and len(item) else item
            if not isinstance(batch, Tensor):
                raise TypeError(f"`images` must hold tensors, got {type(batch).__name__}. Preprocess them first.")
            loaded.append(batch.detach().cpu())
        # A list has single images, a DataLoader batches of them.
        if loaded and isinstance(images, (list, tuple)):
            loaded = [image[None] for image in loaded]
        if len({batch.shape[1:] for batch in loaded}) > 1:
            raise ValueError("`images` must have the same shape, got several. Resize them first.")
        tensor = torch.cat(loaded) if loaded else torch.empty(0, 1, 1)
    if tensor.ndim < 3:
        raise ValueError(f"`images` must have shape (N, channels, *size), got {tuple(tensor.shape)}.")
    if not tensor.is_floating_point():
        raise TypeError(f"`images` must be floating-point numbers as the model expects them, got {tensor.dtype}.")
    if len(tensor) < MIN_IMAGES:
        raise ValueError(f"`images` must be at least {MIN_IMAGES}, got {len(tensor)}. 32 to 64 are usually enough.")
    return tensor


def as_maps(parts: Sequence[Tensor], count: int) -> Tensor:
    """Return maps ``(N, *positions)`` in float32 on the CPU, without a channel dimension of one."""
    tensor = torch.cat([part.detach().cpu() for part in parts]).float()
    if tensor.ndim == 4 and tensor.shape[1] == 1:
        tensor = tensor[:, 0]
    if tensor.ndim < 2 or len(tensor) != count:
        raise ValueError(f"`maps` must be one (N, *positions) for each of {count} images, got {tuple(tensor.shape)}.")
    return tensor


def _grid(maps: Mapping[str, Tensor], images: Tensor, source: str) -> tuple[int, ...]:
    """Return the positions of the maps after checking that they are the same for all methods and fit the images."""
    grids = {name: tuple(its_maps.shape[1:]) for name, its_maps in maps.items()}
    grid = next(iter(grids.values()))
    if len(set(grids.values())) > 1:
        raise ValueError(f"`methods` must have the same positions, got {grids}.")
    if math.prod(grid) < _MIN_CELLS:
        raise ValueError(
            f"`{source}` must have at least {_MIN_CELLS} positions, got {math.prod(grid)}. Choose an earlier layer."
        )
    if len(grid) != images.ndim - 2:
        raise ValueError(
            f"`{source}` must have as many dimensions as the images, whose size is {tuple(images.shape[2:])}, got "
            f"positions {grid}. Set a layout, or choose another layer."
        )
    return grid


def _draw_shift(grid: Sequence[int], generator: torch.Generator) -> tuple[int, ...]:
    """Return a random shift of up to two cells and less than half of the grid, the largest along some dimension."""
    largest = largest_shifts(grid)
    while True:
        shift = tuple(int(torch.randint(-n, n + 1, (1,), generator=generator)) for n in largest)
        if max(map(abs, shift)) == max(largest):
            return shift


def _classes(logits: Tensor, target: Any, numbers: Tensor, total: int) -> Tensor:
    """Return the class to explain of each image, whose numbers in the caller's order are given."""
    if target is None:
        target = logits.argmax(dim=1)
    elif isinstance(target, (Sequence, Tensor)) and not (isinstance(target, Tensor) and target.ndim == 0):
        if len(target) != total:
            raise ValueError(f"`target` must be one class for each of {total} images, got {len(target)}.")
        target = torch.as_tensor(target).cpu()[numbers]
    return resolve_target(logits, target)[1]


def _log_odds(logits: Tensor, classes: Tensor) -> Tensor:
    return explained_score(logits, classes, contrast_mask(None, logits, classes), "logsumexp").float()


def _tensors(model: Module) -> Iterator[Tensor]:
    yield from model.parameters()
    yield from model.buffers()


@contextmanager
def _on_device(model: Module, device: torch.device | str | None) -> Iterator[None]:
    """Move the model to a device, and back afterwards."""
    home = next((tensor.device for tensor in _tensors(model)), None)
    moved = device is not None and home is not None and torch.device(device) != home
    try:
        if moved:
            model.to(device)
        yield
    finally:
        if moved:
            model.to(home)
