"""The audit: measure maps and occlusion maps of more and more images until the evidence allows a verdict."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from numbers import Real
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import Module
from tqdm import tqdm

from captum_diffcam._checks import as_count, as_index
from captum_diffcam.attribution import Layer, LayerDiffGradCam
from captum_diffcam.audit.occlusion import FILLS, random_window_occlusion
from captum_diffcam.audit.report import MIN_IMAGES, AuditReport
from captum_diffcam.audit.statistics import Evidence, evaluate_method
from captum_diffcam.contrast import contrast_mask
from captum_diffcam.equivariant import shift_images
from captum_diffcam.layers import SpatialLayer
from captum_diffcam.logits import as_logits, check_several_classes, resolve_target
from captum_diffcam.methods import CamMethod, as_methods, in_eval_mode, layer_of_model
from captum_diffcam.score import explained_score

DEFAULT_METHODS = (
    CamMethod(LayerDiffGradCam, contrast=[]),
    CamMethod(LayerDiffGradCam),
    CamMethod(LayerDiffGradCam, reduction="mean"),
)
"""The methods that :func:`audit` tests by default: Grad-CAM (an empty contrast set) and two contrastive maps. An attack
on one of them often leaves another intact."""

_MIN_CELLS = 4
"""The smallest number of positions for which correlations are computed."""
_MAX_SHIFT = 2
"""The largest shift of an image, in cells."""


def audit(
    model: Module,
    layer: Layer,
    images: Tensor,
    *,
    target: int | Sequence[int] | Tensor | None = None,
    methods: CamMethod | Sequence[CamMethod] = DEFAULT_METHODS,
    alpha: float = 0.05,
    fills: Sequence[str] = FILLS,
    seed: int | None = None,
    device: torch.device | str | None = None,
    batch_size: int = 32,
) -> AuditReport:
    r"""Test whether the maps of a model are manipulated, without a clean model to compare with.

    Two tests are done for each of several methods. Neither asks how well a map agrees with occlusion, which differs
    from one clean model to the next.

    *Excess: does the map show what its own prediction depends on, or a pattern that all images share?* An occlusion map
    shows what a prediction depends on: how far the log-odds fall when random windows of the image are hidden. The
    excess of a method is how similar its maps are to each other, minus what the occlusion maps account for
    (:func:`~captum_diffcam.audit.statistics.excess`). It is near one for a hoax, and mostly about zero or below for a
    clean model.

    *Equivariance: does the map move with its image?* Each image is shifted by up to two cells. The map of a clean model
    moves with it more than it stays (:func:`~captum_diffcam.audit.statistics.equivariance`).

    The verdict is

    - ``"manipulated"`` if, for some method, the excess is shown to be above 0.3 or the equivariance below zero;
    - ``"no sign of manipulation"`` if, for every method, the excess is shown to be below 0.3, the equivariance above
      zero, and the agreement with the occlusion map of its own image higher than with those of other images;
    - ``"undecided"`` otherwise, with the reason.

    The evidence is tested after 8, 16, 32 and so on images and after all of them. If it is then still undecided, twice
    as many windows are hidden and it is tested a last time. The audit stops as soon as it can decide. The tests behind
    each of the two verdicts have an error of at most ``alpha``, corrected for tests, methods and interim looks
    (Bonferroni), if clean maps have an excess of at most 0.3 and move with their images. This limit was chosen on a few
    models and is not proven; some batches of other models exceeded it by chance. With eight images the excess is
    slightly underestimated.

    "No sign" does not rule out a manipulation that passes all tests. An attacker who knows the audit can train a model
    to pass it; see :doc:`/explanation/threat_model`. Untrained models are recognised only by their low confidence.

    Args:
        model: returns logits (N, C). It is run in eval mode and restored.
        layer: the layer to audit, usually the last one with positions: a module of the model, its name, or a
            :class:`SpatialLayer <captum_diffcam.layers.SpatialLayer>`, such as
            :func:`~captum_diffcam.last_spatial_layer` returns.
        images: ``(N, channels, *size)``, different images as the model expects them. At least 8; 32 are usually enough.
        target: the class to explain, one for all or one per image. None: the model's predictions.
        methods: the methods to audit, one or several. Include every method that you use. The default is Grad-CAM
            (``LayerDiffGradCam`` with ``contrast=[]``), and DiffGradCAM with ``logsumexp`` and ``mean``.
        alpha: the significance level of either verdict, between 0 and 0.5.
        fills: what windows are hidden behind: one or more of ``"mean"``, ``"blur"`` and ``"other"`` (other images).
        seed: of windows, fills and shifts. None: a random seed, so that an attacker cannot know it. The report has it.
        device: where to run the model. None: where it is. The model is moved back afterwards.
        batch_size: the number of images per forward pass, at least 1.

    Returns:
        AuditReport: the verdict and its evidence.

    Raises:
        TypeError, ValueError, IndexError: an argument is none of the above. The message names it.

    Source: the audit is ours. Occlusion is from M. Zeiler, R. Fergus, arXiv:1311.2901.

    Example:
        >>> import torch
        >>> from captum_diffcam.audit import audit
        >>> _ = torch.manual_seed(0)
        >>> conv, pool = torch.nn.Conv2d(3, 8, 5, stride=4), torch.nn.AdaptiveAvgPool2d(1)
        >>> model = torch.nn.Sequential(conv, torch.nn.ReLU(), pool, torch.nn.Flatten(), torch.nn.Linear(8, 10)).eval()
        >>> report = audit(model, model[1], torch.rand(4, 3, 32, 32), seed=0)
        >>> report.occlusion_maps.shape, report.verdict, report.manipulated
        (torch.Size([4, 7, 7]), 'undecided', False)
    """
    audited_layer = layer_of_model(model, layer)
    methods = as_methods(methods)
    _check(images, methods, alpha, fills, batch_size)
    seed = secrets.randbits(32) if seed is None else as_index("seed", seed, "None or an integer")
    images = images.detach().cpu()
    sizes = interim_sizes(len(images))
    with _on_device(model, device), in_eval_mode(model), torch.inference_mode(False):
        run = _BatchedRun(model, batch_size)
        logits = run(lambda batch: _logits(model, batch), images)
        if logits.ndim != 2:
            raise ValueError(f"`model` must return logits (N, C), got {tuple(logits.shape)} for {len(images)} images.")
        classes = _classes(logits, target)
        log_odds = explained_score(logits, classes, contrast_mask(None, logits, classes), "logsumexp").float()
        log_odds_of_guess = -math.log(max(logits.shape[1] - 1, 1))
        subject = _Subject(model, audited_layer, images, classes, log_odds)
        with tqdm(total=len(images), desc="audit", unit="image", leave=False) as bar:
            for data in _measurements(subject, methods, fills, sizes, torch.Generator().manual_seed(seed), run):
                count = len(data.shifts)
                bar.update(count - bar.n)
                report = AuditReport(
                    images=images[:count],
                    target=classes[:count],
                    occlusion_maps=data.occlusion_maps.mean(dim=0),
                    maps=data.maps,
                    evidence=_evidence(data, torch.Generator().manual_seed(seed)),
                    confidence=(log_odds[:count] - log_odds_of_guess).median().item(),
                    alpha=alpha,
                    interim_looks=len(sizes) + 1,
                    total_images=len(images),
                    forwards_per_image=run.forwards / len(images),
                    seed=seed,
                )
                # More windows do not help if there are too few images or the model is not confident.
                if report.verdict != "undecided" or (count == len(images) and not report.decidable):
                    break
    return report


def interim_sizes(count: int) -> list[int]:
    """Return the numbers of images after which the evidence is tested: 8, 16, 32 and so on, and all.

    Example:
        >>> from captum_diffcam.audit.auditing import interim_sizes
        >>> interim_sizes(32), interim_sizes(40), interim_sizes(5)
        ([8, 16, 32], [8, 16, 40], [5])
    """
    sizes = []
    size = MIN_IMAGES
    # No interim look at more than half of the images, because the last look follows soon.
    while size <= count // 2:
        sizes.append(size)
        size *= 2
    return [*sizes, count]


def _check(images: Any, methods: Sequence[CamMethod], alpha: Any, fills: Any, batch_size: Any) -> None:
    if not isinstance(images, Tensor) or images.ndim < 3 or not len(images):
        got = f"shape {tuple(images.shape)}" if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(f"`images` must be a tensor (N, channels, *size) with at least one image, got {got}.")
    if not images.is_floating_point():
        raise TypeError(f"`images` must be floating-point numbers as the model expects them, got {images.dtype}.")
    names = [str(method) for method in methods]
    if len(set(names)) < len(names):
        raise ValueError(f"`methods` must have different names, got {', '.join(names)}.")
    if not isinstance(alpha, Real) or not 0 < float(alpha) < 0.5:
        raise ValueError(f"`alpha` must be a number between 0 and 0.5, got {alpha!r}.")
    if isinstance(fills, str) or not fills or any(fill not in FILLS for fill in fills):
        raise ValueError(f"`fills` must be a list of {', '.join(map(repr, FILLS))}, at least one, got {fills!r}.")
    as_count("batch_size", batch_size)


class AuditData(NamedTuple):
    """What was measured of N images, on the CPU."""

    maps: dict[str, Tensor]
    """The maps of each method, ``(N, *positions)``."""
    shifted_maps: dict[str, Tensor]
    """The maps of the shifted images, ``(N, *positions)``."""
    shifts: list[tuple[int, ...]]
    """The shift of each image, in cells."""
    occlusion_maps: Tensor
    """Two of each image, ``(2, N, *positions)``."""

    def joined(self, other: AuditData) -> AuditData:
        """Return the data of both sets of images."""
        return AuditData(
            {name: torch.cat([maps, other.maps[name]]) for name, maps in self.maps.items()},
            {name: torch.cat([maps, other.shifted_maps[name]]) for name, maps in self.shifted_maps.items()},
            self.shifts + other.shifts,
            torch.cat([self.occlusion_maps, other.occlusion_maps], dim=1),
        )


class _Subject(NamedTuple):
    """What is audited: a model's maps and predictions on these images."""

    model: Module
    layer: Module | SpatialLayer
    images: Tensor
    classes: Tensor
    log_odds: Tensor


def _measurements(
    subject: _Subject,
    methods: Sequence[CamMethod],
    fills: Sequence[str],
    sizes: Sequence[int],
    generator: torch.Generator,
    run: _BatchedRun,
) -> Iterator[AuditData]:
    """Yield the data of the first ``sizes[0]``, ``sizes[1]``, ... images, and last with twice as many windows."""
    model, layer, images, classes, log_odds = subject

    def maps(some_images: Tensor, target: Tensor) -> dict[str, Tensor]:
        return {str(method): run(partial(method.maps, model, layer), some_images, target) for method in methods}

    def occlusion_maps(part: slice, grid: Sequence[int]) -> Tensor:
        def score(occluded: Tensor, originals: Tensor) -> Tensor:
            return run(partial(_log_odds, model), occluded, classes[part][originals])

        pair = [
            random_window_occlusion(
                score,
                images[part],
                grid,
                generator,
                clean_scores=log_odds[part],
                other_images=images,
                fills=fills,
            )
            for _ in range(2)
        ]
        return torch.stack(pair)

    data: AuditData | None = None
    for start, stop in pairwise([0, *sizes]):
        part = slice(start, stop)
        new_maps = maps(images[part], classes[part])
        grid = _grid(new_maps, images)
        shifts = [_draw_shift(grid, generator) for _ in range(start, stop)]
        shifted = [shift_images(image[None], shift, grid) for image, shift in zip(images[part], shifts, strict=True)]
        new = AuditData(new_maps, maps(torch.cat(shifted), classes[part]), shifts, occlusion_maps(part, grid))
        data = new if data is None else data.joined(new)
        yield data
    if data is not None:
        more = occlusion_maps(slice(0, len(images)), grid)
        yield data._replace(occlusion_maps=(data.occlusion_maps + more) / 2)


def _evidence(data: AuditData, generator: torch.Generator) -> dict[str, Evidence]:
    return {
        name: evaluate_method(maps, data.shifted_maps[name], data.occlusion_maps, data.shifts, generator)
        for name, maps in data.maps.items()
    }


def _grid(maps: dict[str, Tensor], images: Tensor) -> tuple[int, ...]:
    """Return the positions of the maps after checking that they are the same for all methods and fit the images."""
    grids = {name: tuple(its_maps.shape[1:]) for name, its_maps in maps.items()}
    grid = next(iter(grids.values()))
    if len(set(grids.values())) > 1:
        raise ValueError(f"`methods` must have the same positions, got {grids}.")
    if math.prod(grid) < _MIN_CELLS:
        raise ValueError(
            f"`layer` must have at least {_MIN_CELLS} positions, got {math.prod(grid)}. Choose an earlier layer."
        )
    if len(grid) != images.ndim - 2:
        raise ValueError(
            f"`layer` must have as many dimensions as the images, whose size is {tuple(images.shape[2:])}, got "
            f"positions {grid}. Set a layout, or choose another layer."
        )
    return grid


def _draw_shift(grid: Sequence[int], generator: torch.Generator) -> tuple[int, ...]:
    """Return a random shift of up to two cells and less than half of the grid, the largest along some dimension."""
    largest = [min(_MAX_SHIFT, (cells - 1) // 2) for cells in grid]
    while True:
        shift = tuple(int(torch.randint(-n, n + 1, (1,), generator=generator)) for n in largest)
        if max(map(abs, shift)) == max(largest):
            return shift


def _classes(logits: Tensor, target: Any) -> Tensor:
    if target is None:
        target = logits.argmax(dim=1)
    elif isinstance(target, Sequence):
        target = list(target)
    return resolve_target(logits, target)[1]


def _logits(model: Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        logits = as_logits(model(images))
    check_several_classes(logits)
    return logits


def _log_odds(model: Module, images: Tensor, classes: Tensor) -> Tensor:
    logits = _logits(model, images)
    return explained_score(logits, classes, contrast_mask(None, logits, classes), "logsumexp")


class _BatchedRun:
    """Runs functions on batches, with inputs in the precision and on the device of the model; counts the examples."""

    def __init__(self, model: Module, batch_size: int) -> None:
        floating = (tensor for tensor in _tensors(model) if tensor.is_floating_point())
        like = next(floating, torch.empty(0))
        self.device, self.dtype, self.batch_size = like.device, like.dtype, batch_size
        self.forwards = 0

    def __call__(self, function: Callable[..., Tensor], images: Tensor, *others: Tensor) -> Tensor:
        """Return ``function(images, *others)`` on the CPU. Dimension 0 is that of examples."""
        results = []
        for batch, *its_others in zip(
            *(torch.split(tensor, self.batch_size) for tensor in (images, *others)), strict=True
        ):
            result = function(batch.to(self.device, self.dtype), *(other.to(self.device) for other in its_others))
            results.append(result.cpu())
        self.forwards += len(images)
        return torch.cat(results)


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
