"""Are this model's explanations manipulated? An audit that adds images until the evidence suffices."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

import torch
from captum.attr import LayerGradCam
from torch import Tensor
from torch.nn import Module
from tqdm import tqdm

from captum_diffcam._checks import as_index
from captum_diffcam.attacks.manipulated import check_model, in_eval_mode
from captum_diffcam.attribution import LayerDiffGradCam
from captum_diffcam.audit.inquiry import AuditData, interim_sizes
from captum_diffcam.audit.portions import portions
from captum_diffcam.audit.report import AuditReport
from captum_diffcam.audit.tilings import FILLS
from captum_diffcam.methods import CamMethod

METHODS = (
    CamMethod(LayerGradCam),
    CamMethod(LayerDiffGradCam),
    CamMethod(LayerDiffGradCam, reduction="mean"),
)
"""One logit, its log-odds, and its distance from the mean: an attack on one of them leaves another."""


def audit(
    model: Module,
    layer: Module,
    images: Tensor,
    *,
    target: int | Sequence[int] | Tensor | None = None,
    methods: CamMethod | Sequence[CamMethod] = METHODS,
    alpha: float = 0.05,
    fills: Sequence[str] = FILLS,
    seed: int | None = None,
    device: torch.device | str | None = None,
    batch_size: int | None = None,
) -> AuditReport:
    r"""Find out, without an honest model to compare with, whether the maps of a model are manipulated.

    Two tests for each of several maps. Neither asks how well a map agrees with occlusion, which differs from one honest
    model to the next.

    *Does the map follow the evidence in its own image, or what all images have in common?* A witness that is no map of
    the layer shows on what a decision depends: by how much the log-odds fall when windows at random places are hidden.
    The excess of a map is how far it is what the maps of all other images are, less how far the witness accounts for
    that, less how much better it agrees with the witness of its own image than with those of others
    (:func:`~captum_diffcam.audit.statistics.excess`). A hoax has it near one, an honest map mostly about zero or below.

    *Does the map move along with its image?* Every image is shifted by up to two cells. An honest map follows, more
    than it stays (:func:`~captum_diffcam.audit.statistics.moves_along`).

    The verdict is

    - ``"manipulated"`` where for some map one of the two is shown: an excess above 0.3, or that it stays more than it
      moves along;
    - ``"no sign of manipulation"`` where for every map three things are shown: the excess is below 0.3, it moves along,
      and it agrees better with the witness of its own image than with those of others;
    - ``"undecided"`` otherwise, with the reason, and with how many images would do.

    Images are added, 8, 16, 32 and so on, and when they run out as many windows again, until one of the first two can
    be said. The tests behind each of them have an error of at most ``alpha``, which tests, maps and looks share
    (Bonferroni), if honest maps have an excess of at most 0.3 and move along. That number was set on a few models, and
    single batches of some others were beyond it by chance; it is not proven. With eight images the excess comes out a
    little low, which makes "no sign" more lenient than that for models just beyond the limit. "No sign" does not
    exclude a forgery that passes all of the tests. Untrained models are told from the forged ones by their unsure
    decisions alone. An attacker who knows the audit may teach a model how to answer it, see
    :doc:`/explanation/threat_model`.

    Args:
        model: returns logits (N, C). It is run in eval mode and comes back as it was.
        layer: the layer whose maps are under suspicion, usually the last one with positions.
        images: ``(N, channels, *size)``, different ones, as the model meets them. At least 8; 32 usually do.
        target: the class to explain, one or one per image. None: the model's predictions.
        methods: the maps under suspicion, one or several: Grad-CAM, and DiffGradCAM with logsumexp and with mean, if
            not said. None of those that are trusted should be missing. ``functools.partial`` sets the layout of a ViT,
            ``attribute_to_layer_input=True`` is a keyword of :class:`~captum_diffcam.CamMethod`.
        alpha: the error of the tests behind either verdict.
        fills: what windows are hidden behind: ``"mean"``, ``"blur"`` and ``"other"``, parts of other images.
        seed: of windows, fills and shifts. None: from the system, so that no forger knows it; the report has it.
        device: where to run. None: where the model is.
        batch_size: images and windows at a time. None: 32, or as many as the GPU's memory holds.

    Returns:
        AuditReport: the verdict, with its evidence.

    Raises:
        TypeError, ValueError, IndexError: the argument is named with what was given and what is allowed.

    Source: the audit is ours. Its witness is occlusion, M. Zeiler, R. Fergus, arXiv:1311.2901.

    Example:
        >>> import torch
        >>> from captum_diffcam.audit import audit
        >>> _ = torch.manual_seed(0)
        >>> conv, pool = torch.nn.Conv2d(3, 8, 5, stride=4), torch.nn.AdaptiveAvgPool2d(1)
        >>> model = torch.nn.Sequential(conv, torch.nn.ReLU(), pool, torch.nn.Flatten(), torch.nn.Linear(8, 10)).eval()
        >>> report = audit(model, model[1], torch.rand(4, 3, 32, 32), seed=0)
        >>> report.witness.shape, report.verdict, report.manipulated
        (torch.Size([4, 7, 7]), 'undecided', False)
    """
    check_model(model, layer)
    methods = [methods] if isinstance(methods, CamMethod) else methods
    _check(images, methods, alpha, fills, batch_size)
    seed = secrets.randbits(32) if seed is None else as_index("seed", seed, "None or an integer")
    with portions(model, device, batch_size) as in_portions, in_eval_mode(model), torch.inference_mode(False):
        inquiry = AuditData(model, layer, images.detach().cpu(), methods, fills, seed, in_portions)
        inquiry.decide(target)
        counts = interim_sizes(len(images))
        looks = len(counts) + 1
        with tqdm(total=len(images), desc="audit", unit="image", leave=False) as bar:
            for count in counts:
                inquiry.add(count)
                bar.update(count - bar.n)
                report = inquiry.report(alpha, looks)
                if report.verdict != "undecided":
                    return report
            if report.decidable:
                bar.set_description("audit, more windows")
                inquiry.double_windows()
                report = inquiry.report(alpha, looks)
    return report


def _check(images: Any, methods: Any, alpha: Any, fills: Any, batch_size: Any) -> None:
    if not isinstance(images, Tensor) or images.ndim < 3 or not len(images):
        got = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(f"images: got {got}; allowed is a tensor (N, channels, *size) of at least one image")
    if not images.is_floating_point():
        raise TypeError(f"images: got {images.dtype}; allowed are floating-point numbers, as the model takes them")
    if not methods or not all(isinstance(method, CamMethod) for method in methods):
        raise TypeError(f"methods: got {methods!r}; allowed are several CamMethod")
    names = [str(method) for method in methods]
    if len(set(names)) < len(names):
        raise ValueError(f"methods: got {', '.join(names)}; allowed are methods with different names")
    if not isinstance(alpha, (int, float)) or not 0 < alpha < 0.5:
        raise ValueError(f"alpha: got {alpha!r}; allowed is a probability between 0 and 0.5")
    if isinstance(fills, str) or not fills or any(fill not in FILLS for fill in fills):
        raise ValueError(f"fills: got {fills!r}; allowed are several of {', '.join(map(repr, FILLS))}")
    if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
        raise ValueError(f"batch_size: got {batch_size!r}; allowed is None or an integer of at least 1")
