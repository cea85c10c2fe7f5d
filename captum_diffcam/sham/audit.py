"""Are this model's explanations manipulated? Every map is held against a witness that is no map of the layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from captum.attr import LayerGradCam
from torch import Tensor
from torch.nn import Module

from captum_diffcam.attribution import LayerDiffGradCam
from captum_diffcam.logits import as_logits, select_target
from captum_diffcam.metrics import pearson
from captum_diffcam.sham.forgery import in_eval_mode
from captum_diffcam.sham.methods import CamMethod
from captum_diffcam.sham.report import AuditReport
from captum_diffcam.sham.witness import occlusion_witness

METHODS = (
    CamMethod(LayerGradCam),
    CamMethod(LayerDiffGradCam),
    CamMethod(LayerDiffGradCam, reduction="mean"),
)
"""One logit, its log-odds, and its distance from the mean: an attack on one of them leaves another."""

THRESHOLD = 0.54

_FEWEST = 4
"""Positions over which a correlation says something."""


def audit(
    model: Module,
    layer: Module,
    images: Tensor,
    *,
    target: int | Sequence[int] | Tensor | None = None,
    methods: Sequence[CamMethod] = METHODS,
    threshold: float = THRESHOLD,
) -> AuditReport:
    r"""Find out, without an honest model to compare with, whether the maps of a model are manipulated.

    An occlusion map :math:`W` of the log-odds, on the grid of the layer, shows what the decision depends on
    (:func:`occlusion_witness`). An image's score is how far the worst of several maps :math:`M_m` is from it,

    .. math:: 1 - \min_m \operatorname{Pearson}(M_m, W),

    0 where all agree with the witness, 1 where one tells nothing of it, 2 where one says the opposite. The model's
    score is the mean over images.

    Evidence is not proof. An honest model whose maps are poor has a high score too: an untrained one, an early layer, a
    class that was not predicted. And an attacker who knows the audit can teach a model to recognise grey windows.

    Args:
        model: returns logits (N, C). It is run in eval mode and comes back as it was.
        layer: the layer whose maps are under suspicion. The default threshold is for the last one with positions.
        images: ``(N, channels, *size)``. A few dozen tell models apart; every image takes about as many forwards as the
            layer has positions.
        target: the class to explain, one or one per image. None: the model's predictions, for which the threshold is.
        methods: the maps to hold against the witness: Grad-CAM, and DiffGradCAM with logsumexp and with mean, if not
            said. None of those that are trusted should be missing.
        threshold: of the scores. The default is midway between the highest score of an honest model and the lowest of
            an attacked one, over batches of images, among models that no published figure was made with:
            ``python -m benchmarks sham --seed 100 --seeds 1``.

    Returns:
        AuditReport: the verdict, with its evidence for each image.

    Raises:
        TypeError, ValueError, IndexError: the argument is named with what was given and what is allowed.

    Source: the audit is ours. Its witness is occlusion, M. Zeiler, R. Fergus, arXiv:1311.2901.

    Example:
        >>> import torch
        >>> from captum_diffcam.sham import audit
        >>> _ = torch.manual_seed(0)
        >>> conv, pool = torch.nn.Conv2d(3, 8, 5, stride=4), torch.nn.AdaptiveAvgPool2d(1)
        >>> model = torch.nn.Sequential(conv, torch.nn.ReLU(), pool, torch.nn.Flatten(), torch.nn.Linear(8, 10)).eval()
        >>> report = audit(model, model[1], torch.rand(4, 3, 32, 32))
        >>> report.witness.shape, report.scores.shape
        (torch.Size([4, 7, 7]), torch.Size([4]))
    """
    if not isinstance(images, Tensor) or images.ndim < 3 or not len(images):
        got = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(f"images: got {got}; allowed is a tensor (N, channels, *size) of at least one image")
    if not methods or not all(isinstance(method, CamMethod) for method in methods):
        raise TypeError(f"methods: got {methods!r}; allowed are several CamMethod")
    if not 0 <= threshold <= 2:
        raise ValueError(f"threshold: got {threshold!r}; allowed is a number from 0 to 2")
    names = [str(method) for method in methods]
    if len(set(names)) < len(names):
        raise ValueError(f"methods: got {', '.join(names)}; allowed are methods with different names")
    with in_eval_mode(model), torch.inference_mode(False):
        with torch.no_grad():
            logits = as_logits(model(images))
        wanted = logits.argmax(dim=1).tolist() if target is None else target
        _, classes = select_target(logits, list(wanted) if isinstance(wanted, Sequence) else wanted)
        maps = {str(method): method.maps(model, layer, images, classes) for method in methods}
        grid = next(iter(maps.values())).shape[1:]
        if grid.numel() < _FEWEST:
            raise ValueError(f"layer: has {grid.numel()} positions; allowed are at least {_FEWEST}")
        witness = occlusion_witness(model, images, classes, grid)
    return AuditReport(
        images=images.detach(),
        target=classes,
        witness=witness,
        maps=maps,
        # A forger can also make maps that are no numbers; they agree with nothing.
        agreement={name: pearson(each, witness).nan_to_num(nan=-1.0) for name, each in maps.items()},
        threshold=threshold,
    )
