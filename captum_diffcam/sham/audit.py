"""Are this model's explanations manipulated? Every map is held against a witness that no map can bribe."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from captum.attr import LayerGradCam
from torch import Tensor
from torch.nn import Module

from captum_diffcam.attribution import LayerDiffGradCam
from captum_diffcam.logits import as_logits, select_target
from captum_diffcam.metrics import pearson
from captum_diffcam.sham.methods import CamMethod
from captum_diffcam.sham.report import AuditReport
from captum_diffcam.sham.witness import occlusion_witness

METHODS = (
    CamMethod(LayerGradCam),
    CamMethod(LayerDiffGradCam),
    CamMethod(LayerDiffGradCam, reduction="mean"),
)
"""One logit, its log-odds, and its distance from the mean: an attack on one of them leaves another."""

THRESHOLD = 0.8


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
    score is the mean over images. Evidence is not proof: an honest model whose maps are poor has a high score too, and
    whoever moves the evidence to another position before the layer deceives the maps but not the witness.

    Args:
        model: a model in eval mode that returns logits (N, C).
        layer: the layer whose maps are under suspicion.
        images: ``(N, channels, *size)``. A few dozen tell models apart; every image takes about as many forwards as the
            layer has positions.
        target: the class to explain, one or one per image. None: the model's predictions.
        methods: the maps to hold against the witness: Grad-CAM, and DiffGradCAM with logsumexp and with mean, if not
            said. None of those that are trusted should be missing.
        threshold: of the scores. The default lies between the scores of honest and of attacked models that no
            published figure was made with; ``python -m benchmarks sham`` measures both.

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
    with torch.no_grad():
        logits = as_logits(model(images))
    wanted = logits.argmax(dim=1).tolist() if target is None else target
    _, classes = select_target(logits, list(wanted) if isinstance(wanted, Sequence) else wanted)
    maps = {str(method): method.maps(model, layer, images, classes) for method in methods}
    witness = occlusion_witness(model, images, classes, next(iter(maps.values())).shape[1:])
    return AuditReport(
        images=images.detach(),
        target=classes,
        witness=witness,
        maps=maps,
        agreement={name: pearson(each, witness) for name, each in maps.items()},
        threshold=threshold,
    )
