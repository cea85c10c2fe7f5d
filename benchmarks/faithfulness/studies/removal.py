"""Remove what a map highlights: plain deletion, ROAD, and the relative confidence drop of Finer-CAM.

ROAD replaces removed pixels by noisy linear imputation instead of a colour: Y. Rong et al., "A Consistent and Efficient
Evaluation Strategy for Attribution Methods", arXiv:2202.00449. Its libraries solve a sparse system for each image and
method, which takes seconds; here a few sweeps on every scale do. Tests compare both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, interpolate, pad

from benchmarks.common.localization import upsample
from benchmarks.faithfulness.perturbation import pixel_ranks
from benchmarks.faithfulness.studies.methods import Method, Question, baseline
from benchmarks.faithfulness.studies.networks import Network
from captum_diffcam import ContrastScore

Numbers: TypeAlias = dict[str, Tensor]
"""A number for each image, (N,), by "measure|method"."""
SHARES = (0.05, 0.1, 0.3, 0.6)
"""The shares of pixels that are removed, the highest first."""
RELATIVE = (0.05, 0.1)
"""The shares for the relative confidence drop."""
_LEAST_SHARE = 0.1
"""The least share for deletion and ROAD."""

NOISE = 0.01
"""The standard deviation of the noise of ROAD."""
_SWEEPS, _SMALLEST = 20, 4
_LEAST, _LARGEST = -0.8, 0.99
"""Between these lie the eigenvalues of the averaging. An error outside of them is damped less."""


def imputed(images: Tensor, removed: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Return images whose removed pixels are weighted means of their neighbours, plus noise with a generator.

    The four nearest neighbours have weight 1/6, the diagonal ones 1/12. Weights of neighbours outside are left out.

    Shapes: images (N, 3, H, W), removed (N, H, W) boolean -> (N, 3, H, W).
    """
    holes = removed[:, None]
    filled = _solved(images.masked_fill(holes, 0), holes)
    if generator is not None:
        noise = torch.randn(filled.shape, generator=generator).to(filled)
        filled = torch.where(holes, filled + NOISE * noise, filled)
    return filled


def _solved(known: Tensor, holes: Tensor) -> Tensor:
    """Solve on half of the resolution first, then sweep."""
    height, width = known.shape[2:]
    share = 1 - holes.to(known.dtype)
    start = (known * share).sum(dim=(2, 3), keepdim=True) / share.sum(dim=(2, 3), keepdim=True).clamp(min=1)
    if min(height, width) >= 2 * _SMALLEST:
        padding = (0, width % 2, 0, height % 2)
        total, weight = (avg_pool2d(pad(values, padding), 2) for values in (known * share, share))
        coarse = _solved(total / weight.where(weight > 0, 1), weight == 0)
        start = interpolate(coarse, (height, width), mode="bilinear")
    filled = torch.where(holes, start, known)
    kernel = known.new_tensor([[1, 2, 1], [2, 0, 2], [1, 2, 1]])[None, None] / 12
    inside = conv2d(torch.ones_like(known[:1, :1]), kernel, padding=1)
    channels = known.shape[1]
    # Chebyshev iteration, which needs a fifth of the plain sweeps.
    scale, spread = 2 / (2 - _LARGEST - _LEAST), (_LARGEST - _LEAST) / (2 - _LARGEST - _LEAST)
    before, factor = filled, 1.0
    for step in range(_SWEEPS):
        means = conv2d(filled, kernel.expand(channels, -1, -1, -1), padding=1, groups=channels) / inside
        factor = 1 / (1 - spread**2 * factor / (2 if step == 1 else 4)) if step else 1.0
        after = factor * (scale * (means - filled) + filled - before) + before
        before, filled = filled, torch.where(holes, after, known)
    return filled


def removal(network: Network, methods: Sequence[Method], question: Question, seed: int) -> Numbers:
    """Return what happens to each prediction when the pixels that a map ranks highest are removed.

    Pixels become the mean colour (deletion), or are imputed (ROAD). Measures are means over shares from 0.1: the
    "fall" of the log-odds, in nats; "kept", the share of predictions that stay, as in Quantus's ROAD; "change of the
    probability", as in pytorch-grad-cam's. The relative confidence drop is (p_c - p*_c) - (p_d - p*_d) for the target c
    and its strongest rival d, with p* after deletion: Z. Zhang et al., "Finer-CAM", arXiv:2501.11309, equation 10.
    """
    images, targets = question.images, question.targets
    with torch.no_grad():
        logits = network.tail(question.features)
    rivals = logits.scatter(1, targets[:, None], -torch.inf).argmax(dim=1)
    odds = ContrastScore(lambda values: values)
    pixels = images.shape[2] * images.shape[3]

    def of(values: Tensor, classes: Tensor) -> Tensor:
        return values.gather(1, classes[:, None]).squeeze(1)

    numbers: Numbers = {}
    for method in methods:
        ranks = pixel_ranks(upsample(method.maps(question), *images.shape[2:]), seed)
        fall: dict[str, list[Tensor]] = {"deletion": [], "ROAD": []}
        kept, change = [], []
        for share in SHARES:
            removed = ranks < round(pixels * share)
            fills = {"deletion": torch.where(removed[:, None], baseline(images), images)}
            if share >= _LEAST_SHARE:
                fills["ROAD"] = imputed(images, removed, torch.Generator().manual_seed(seed))
            for fill, left in fills.items():
                with torch.no_grad():
                    after = network.whole(left)
                before_, after_ = logits.softmax(dim=1), after.softmax(dim=1)
                if share >= _LEAST_SHARE:
                    fall[fill].append(of(odds(logits) - odds(after), targets))
                if fill == "ROAD":
                    kept.append((after.argmax(dim=1) == targets).float())
                    change.append(of(after_ - before_, targets))
                elif share in RELATIVE:
                    drops = before_ - after_
                    numbers[f"relative confidence drop at {share}|{method.name}"] = of(drops, targets) - of(
                        drops, rivals
                    )
        numbers |= {f"{fill}, fall|{method.name}": torch.stack(falls).mean(dim=0) for fill, falls in fall.items()}
        numbers[f"ROAD, kept|{method.name}"] = torch.stack(kept).mean(dim=0)
        numbers[f"ROAD, change of the probability|{method.name}"] = torch.stack(change).mean(dim=0)
    return numbers
